"""What was found in a cluster. `None` stands for what could not be read; `Inventory.not_read` says why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

RESOURCES = ("nvidia.com/gpu", "aws.amazon.com/neuron", "google.com/tpu", "amd.com/gpu", "gpu.intel.com/i915")
"""Resources of device plugins that are looked at; slices of NVIDIA's cards (nvidia.com/mig-…) are too."""
SIMULATED_LABEL = "berth.dev/simulated-gpu"
"""Nodes whose accelerators exist for the scheduler only; Berth's local cluster sets it."""


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint of a node."""

    key: str
    value: str
    effect: str

    def __str__(self) -> str:
        value = f"={self.value}" if self.value else ""
        return f"{self.key}{value}:{self.effect}"


@dataclass(frozen=True, slots=True)
class Node:
    """A node.

    Attributes:
        name: its name.
        ready: whether its kubelet says so.
        schedulable: False where it is cordoned.
        kubelet: version of its kubelet, such as v1.35.0.
        labels: all of them.
        taints: without those that Kubernetes sets for the states above.
        allocatable: accelerators that pods may ask for, by resource; whole numbers.
        product: model of its GPUs, by NVIDIA's feature discovery; None where nobody said.
        gpu_count: how many GPUs that discovery saw.
        memory_mib: memory of each of them, MiB.
        driver: version of the driver, such as 580.95.05.
        cuda: newest CUDA that the driver runs, such as 13.0.
        simulated: whether its accelerators exist for the scheduler only.
    """

    name: str
    ready: bool
    schedulable: bool
    kubelet: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    allocatable: Mapping[str, int]
    product: str | None = None
    gpu_count: int | None = None
    memory_mib: int | None = None
    driver: str | None = None
    cuda: str | None = None
    simulated: bool = False

    @property
    def usable(self) -> bool:
        """Whether a pod could be placed on it."""
        return self.ready and self.schedulable


@dataclass(frozen=True, slots=True)
class Holder:
    """A pod that holds accelerators.

    Attributes:
        node: where it runs; "" where it waits for a place.
        namespace: its namespace.
        pod: its name.
        requested: accelerators by resource.
    """

    node: str
    namespace: str
    pod: str
    requested: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class DevicePluginFound:
    """A DaemonSet that offers accelerators.

    Attributes:
        kind: nvidia, neuron, tpu or amd.
        origin: who installed it, such as "the NVIDIA GPU operator".
        namespace: its namespace.
        name: its name.
        image: its first image.
        desired: nodes that it should run on.
        ready: nodes that it runs on.
        ours: whether a stack of Berth's made it.
    """

    kind: str
    origin: str
    namespace: str
    name: str
    image: str
    desired: int
    ready: int
    ours: bool

    @property
    def where(self) -> str:
        """Namespace and name."""
        return f"DaemonSet {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class StorageClass:
    """A storage class."""

    name: str
    provisioner: str
    default: bool


@dataclass(frozen=True, slots=True)
class NotRead:
    """A part of the cluster that could not be read, and why."""

    what: str
    reason: str


@dataclass(frozen=True)
class Inventory:
    """A cluster as it was at one moment.

    Attributes:
        server: its address, or where the kubeconfig is if the cluster was not reached.
        version: of the API server, such as (1, 35).
        nodes: by name.
        holders: pods that hold accelerators, or wait for some.
        device_plugins: those that were recognised.
        storage_classes: by name.
        runtime_classes: their names.
        priority_classes: their names.
        policy_engine: what enforces network policies; "" where what is there enforces none, None where the
            network plugin was not recognised.
        load_balancers: what was recognised that gives Services of type LoadBalancer an address.
        restricted_namespaces: Pod Security level that each labelled namespace enforces.
        external_metrics: "namespace/service" that answers external.metrics.k8s.io; "" where nobody does.
        external_metrics_ours: whether that is Berth's adapter.
        extensions: what was recognised by its CRDs, such as KEDA.
        not_read: parts that could not be read.
    """

    server: str
    version: tuple[int, int] | None = None
    nodes: tuple[Node, ...] | None = None
    holders: tuple[Holder, ...] | None = None
    device_plugins: tuple[DevicePluginFound, ...] | None = None
    storage_classes: tuple[StorageClass, ...] | None = None
    runtime_classes: tuple[str, ...] | None = None
    priority_classes: tuple[str, ...] | None = None
    policy_engine: str | None = None
    load_balancers: tuple[str, ...] | None = None
    restricted_namespaces: Mapping[str, str] | None = None
    external_metrics: str | None = None
    external_metrics_ours: bool = False
    extensions: tuple[str, ...] | None = None
    not_read: tuple[NotRead, ...] = field(default_factory=tuple)

    @property
    def reached(self) -> bool:
        """Whether the API server answered at all."""
        return self.version is not None

    def why_not(self, what: str) -> str:
        """Return why a part could not be read."""
        return next((one.reason for one in self.not_read if one.what in {what, "cluster"}), "it was not read")

    def held(self, node: str, resource: str, *, but: frozenset[str] = frozenset()) -> int:
        """Return how many accelerators of a node pods hold, those in the namespaces `but` not counted."""
        return sum(
            one.requested.get(resource, 0)
            for one in self.holders or ()
            if one.node == node and one.namespace not in but
        )
