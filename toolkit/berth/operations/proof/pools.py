"""Node pools of every ground, read from a plan into one shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from berth_catalogue.accelerators import accelerators
from berth_catalogue.errors import CatalogueError
from berth_catalogue.machines import Machine, machine

from berth.operations.quantities import amount

from .facts import UNKNOWN, NotKnown, Resource

EKS, GKE, KARPENTER = "aws:eks/nodeGroup:NodeGroup", "gcp:container/nodePool:NodePool", "NodePool"
TAG = "aws:autoscaling/tag:Tag"
TEMPLATE = "k8s.io/cluster-autoscaler/node-template"
_EFFECTS = {
    "NO_SCHEDULE": "NoSchedule",
    "PREFER_NO_SCHEDULE": "PreferNoSchedule",
    "NO_EXECUTE": "NoExecute",
}
_TPU, _NEURON, _NVIDIA = "google.com/tpu", "aws.amazon.com/neuron", "nvidia.com/gpu"


@dataclass(frozen=True)
class Pool:
    """One node pool.

    Attributes:
        resource: what declares it.
        ground: eks, gke or karpenter (Auto Mode).
        name: the value of its label berth.dev/pool, else its name in the program.
        labels: its nodes' labels, as far as the plan says; the cloud adds more.
        taints: its nodes' taints, the cloud's own among them.
        accelerator: the resource that its nodes offer, such as nvidia.com/gpu; None where they have none.
        per_node: how many of it each node has; None where the machine is not in the catalogue.
        minimum: fewest nodes, `UNKNOWN` where that is not known.
        maximum: most nodes, None where it does not grow by itself, `UNKNOWN` where that is not known.
        machine: the machine's name, "" where it is not known.
        facts: what the catalogue says of the machine.
        spot: whether its nodes are taken away at short notice.
        tags: on EKS, the tags that Cluster Autoscaler reads, with the resource that sets each.
    """

    resource: Resource
    ground: str
    name: str
    labels: Mapping[str, Any]
    taints: Sequence[Mapping[str, Any]]
    accelerator: str | None
    per_node: int | None
    minimum: Any
    maximum: Any
    machine: str = ""
    facts: Machine | None = None
    spot: bool = False
    tags: Mapping[str, Any] | None = None

    @property
    def title(self) -> str:
        """How messages name it."""
        return f"{self.resource.title} (pool {self.name})"


def read_pools(resources: Iterable[Resource]) -> list[Pool]:
    """Every node pool of a plan, those without accelerators among them."""
    listed = list(resources)
    by_urn = {one.urn: one for one in listed}
    found = []
    for one in listed:
        if one.type == EKS:
            found.append(_eks(one, by_urn, listed))
        elif one.type == GKE:
            found.append(_gke(one))
        elif one.kind == KARPENTER:
            found.append(_karpenter(one))
    return found


def _name(resource: Resource, labels: Mapping[str, Any]) -> str:
    return str(labels.get("berth.dev/pool") or resource.name)


def _catalogue(ground: str, name: object) -> Machine | None:
    try:
        return machine(ground, str(name))
    except CatalogueError:
        return None


def _resource_of(facts: Machine | None) -> str | None:
    return accelerators()[facts.accelerator].resource if facts else None


def _eks(one: Resource, by_urn: Mapping[str, Resource], listed: list[Resource]) -> Pool:
    labels = dict(one.properties.get("labels") or {})
    template = next((by_urn[urn] for urn in one.references.get("launchTemplate", ()) if urn in by_urn), None)
    types = one.properties.get("instanceTypes") or [None]
    named = template.properties.get("instanceType") if template else types[0]
    facts = _catalogue("aws", named)
    tags = {}
    for tag in listed:
        if tag.type == TAG and one.urn in tag.references.get("autoscalingGroupName", ()):
            tags[str((tag.properties.get("tag") or {}).get("key"))] = (tag.properties.get("tag") or {}).get(
                "value"
            )
    scaling = one.properties.get("scalingConfig")
    sizes = scaling if isinstance(scaling, Mapping) else {"minSize": UNKNOWN, "maxSize": UNKNOWN}
    return Pool(
        one, "eks", _name(one, labels), labels,
        [_taint(taint) for taint in one.properties.get("taints") or []],
        _resource_of(facts), facts.accelerators if facts else None,
        sizes.get("minSize"), sizes.get("maxSize"),
        "" if named is UNKNOWN or named is None else str(named), facts,
        one.properties.get("capacityType") == "SPOT", tags,
    )  # fmt: skip


def _taint(taint: Mapping[str, Any]) -> dict[str, Any]:
    effect = taint.get("effect")
    return {
        "key": taint.get("key"),
        "value": taint.get("value") or "",
        "effect": _EFFECTS.get(str(effect), effect),
    }


def _gke(one: Resource) -> Pool:
    config = one.properties.get("nodeConfig") or {}
    labels = dict(config.get("labels") or {})
    taints = [_taint(taint) for taint in config.get("taints") or []]
    named = config.get("machineType")
    facts = _catalogue("gcp", named)
    gpus = config.get("guestAccelerators") or []
    accelerator, per_node = _resource_of(facts), facts.accelerators if facts else None
    if gpus:
        accelerator, per_node = _NVIDIA, int(gpus[0].get("count") or 0)
        labels.setdefault("cloud.google.com/gke-accelerator", gpus[0].get("type"))
    if accelerator == _TPU and facts:
        # GKE's own, on every node with TPUs.
        taints.append({"key": _TPU, "value": "present", "effect": "NoSchedule"})
        labels.setdefault("cloud.google.com/gke-tpu-topology", facts.tpu_topology)
        labels.setdefault("cloud.google.com/gke-tpu-accelerator", accelerators()[facts.accelerator].gke_tpu)
    return Pool(
        one, "gke", _name(one, labels), labels, taints, accelerator, per_node, *_gke_sizes(one),
        "" if named is UNKNOWN or named is None else str(named), facts, bool(config.get("spot")),
    )  # fmt: skip


def _gke_sizes(one: Resource) -> tuple[Any, Any]:
    """Fewest and most nodes over all zones; None as most where the pool has no autoscaling."""
    scaling = one.properties.get("autoscaling")
    zones = len(one.properties.get("nodeLocations") or [None])
    if scaling is UNKNOWN:
        return UNKNOWN, UNKNOWN
    if not scaling:
        count = one.properties.get("nodeCount", one.properties.get("initialNodeCount", 0))
        return (count if count is UNKNOWN else int(count or 0) * zones), None
    if "totalMaxNodeCount" in scaling:
        return scaling.get("totalMinNodeCount", 0), scaling["totalMaxNodeCount"]
    least, most = scaling.get("minNodeCount", 0), scaling.get("maxNodeCount", 0)
    return (least if least is UNKNOWN else least * zones), (most if most is UNKNOWN else most * zones)


def _karpenter(one: Resource) -> Pool:
    """A NodePool of Karpenter; its limits count accelerators, and so say how many nodes there may be."""
    spec = one.properties.get("spec") or {}
    template = spec.get("template") or {}
    labels = dict((template.get("metadata") or {}).get("labels") or {})
    labels["karpenter.sh/nodepool"] = (one.properties.get("metadata") or {}).get("name")
    wanted = {
        str(asked.get("key")): asked.get("values") or []
        for asked in (template.get("spec") or {}).get("requirements") or []
        if asked.get("operator") == "In"
    }
    for key, values in wanted.items():
        if len(values) == 1:
            labels.setdefault(key, values[0])
    named = (wanted.get("node.kubernetes.io/instance-type") or [None])[0]
    facts = _catalogue("aws", named)
    accelerator, per_node = _resource_of(facts), facts.accelerators if facts else None
    limit = (spec.get("limits") or {}).get(accelerator) if accelerator else None
    most: Any = limit if limit is UNKNOWN else None
    if limit is not None and limit is not UNKNOWN and per_node:
        most = int((amount(limit) or 0) // per_node)
    return Pool(
        one, "karpenter", _name(one, labels), labels,
        [_taint(taint) for taint in (template.get("spec") or {}).get("taints") or []],
        accelerator, per_node, 0, most, str(named or ""), facts,
        "spot" in wanted.get("karpenter.sh/capacity-type", []),
    )  # fmt: skip


def sized(pool: Pool) -> tuple[int, int | None]:
    """The pool's fewest and most nodes.

    Raises:
        NotKnown: one of them is not known.
    """
    for what, value in (("the fewest nodes", pool.minimum), ("the most nodes", pool.maximum)):
        if value is UNKNOWN:
            raise NotKnown(f"{pool.title}: {what} are not known yet")
    return int(pool.minimum or 0), None if pool.maximum is None else int(pool.maximum)
