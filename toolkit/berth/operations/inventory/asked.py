"""What a stack asks of a cluster: plain values, so that this room needs to know no stack."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

MIN_KUBERNETES = (1, 30)
"""Routers use native sidecars (by default from 1.29), model servers the kubelet's sleep hook (from 1.30)."""

PluginMode = Literal["managed", "existing"]


@dataclass(frozen=True, slots=True)
class AskedPool:
    """A pool of nodes that should be there.

    Attributes:
        name: its name in the stack.
        accelerator: the accelerator's name for people.
        kind: whose device plugin offers it: nvidia, neuron or tpu.
        resource: what pods ask for, such as nvidia.com/gpu.
        products: values of nvidia.com/gpu.product that are this accelerator; empty where there are none.
        per_node: accelerators of each node.
        nodes: how many nodes.
        node_selector: labels that find them.
        tolerations: keys, values, effects and operators, as a pod's.
    """

    name: str
    accelerator: str
    kind: str
    resource: str
    products: tuple[str, ...]
    per_node: int
    nodes: int
    node_selector: Mapping[str, str]
    tolerations: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class AskedModel:
    """A model server that should run.

    Attributes:
        name: its name in the stack.
        pool: the pool it runs on; None for any node.
        accelerators: of each replica.
        resource: what it asks for where it is on no pool, such as nvidia.com/gpu.
        replicas: most replicas.
        surge: pods above that number while an update goes on.
        storage_class: of its weights; "" for the cluster's default one, None where it needs no volume.
        runtime_class: a RuntimeClass that it names.
        priority_class: a PriorityClass that it names.
        load_balancer: whether its Service is of type LoadBalancer.
    """

    name: str
    pool: str | None = None
    accelerators: int = 0
    resource: str = "nvidia.com/gpu"
    replicas: int = 1
    surge: int = 1
    storage_class: str | None = None
    runtime_class: str | None = None
    priority_class: str | None = None
    load_balancer: bool = False


@dataclass(frozen=True, slots=True)
class AskedSite:
    """What a stack asks of one cluster.

    Attributes:
        site: the site's name in the stack.
        pools: its pools.
        models: its model servers.
        namespace: where they run; what holds accelerators there is the stack's own.
        device_plugins: by kind (nvidia, neuron): managed (the stack makes it) or existing (it is there).
        plugin_runtime_class: a RuntimeClass that a managed plugin names.
        metrics_adapter: owned, existing, keda or none.
        enforce_policies: whether a network plugin that ignores network policies is a mismatch.
        min_kubernetes: lowest version of Kubernetes.
    """

    site: str
    pools: tuple[AskedPool, ...] = ()
    models: tuple[AskedModel, ...] = ()
    namespace: str = ""
    device_plugins: Mapping[str, PluginMode] = field(default_factory=dict)
    plugin_runtime_class: str | None = None
    metrics_adapter: Literal["owned", "existing", "keda", "none"] = "none"
    enforce_policies: bool = False
    min_kubernetes: tuple[int, int] = field(default=MIN_KUBERNETES)
