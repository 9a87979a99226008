"""Pools of nodes that a stack declares: labels, taints, accelerators, and how they grow."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from berth_catalogue.accelerators import accelerators
from berth_catalogue.errors import CatalogueError
from berth_catalogue.machines import machine

from berth_policy.kubernetes import Pod
from berth_policy.subject import Resource, Stack, at, mapping, sequence

EKS, GKE = "aws:eks/nodeGroup:NodeGroup", "gcp:container/nodePool:NodePool"
KARPENTER = ("kubernetes:karpenter.sh/", "kubernetes:eks.amazonaws.com/")
_EFFECTS = {
    "NO_SCHEDULE": "NoSchedule",
    "NO_EXECUTE": "NoExecute",
    "PREFER_NO_SCHEDULE": "PreferNoSchedule",
}
RESOURCES = frozenset(
    {*(one.resource for one in accelerators().values()), "amd.com/gpu", "gpu.intel.com/i915"}
)
"""Extended resources that are accelerators."""
_TPU = ("google.com/tpu", "present", "NoSchedule")
"""The taint that GKE itself sets on nodes with TPUs."""


@dataclass(frozen=True)
class Pool:
    """A pool of nodes.

    Attributes:
        resource: what declares it.
        ground: aws, gcp or karpenter.
        labels: of its nodes, those that a cloud adds too, as far as they are known.
        taints: key, value and effect.
        accelerator: the extended resource that its nodes have; "" for none, or where it is not known.
        count: how many a node has; None where it is not known.
        smallest: fewest nodes.
    """

    resource: Resource
    ground: str
    labels: Mapping[str, str]
    taints: Sequence[tuple[str, str, str]]
    accelerator: str = ""
    count: int | None = None
    smallest: int = 0


def pools(stack: Stack) -> list[Pool]:
    """Every pool that the stack declares."""
    if "pools" not in stack.memory:
        stack.memory["pools"] = list(_pools(stack))
    found: list[Pool] = stack.memory["pools"]
    return found


def accelerated(pod: Pod) -> Mapping[str, float]:
    """The accelerators that a pod asks for, by extended resource."""
    found: dict[str, float] = {}
    for one in pod.containers("initContainers", "containers"):
        for part in ("requests", "limits"):
            given = mapping(at(one.body, "resources", part))
            for name in given:
                if name in RESOURCES:
                    found[name] = max(found.get(name, 0.0), _number(given[name]))
    return found


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return 0.0


def _pools(stack: Stack) -> Iterator[Pool]:
    for one in stack.of(EKS):
        yield _eks(stack, one)
    for one in stack.of(GKE):
        yield _gke(one)
    for one in stack.of(*KARPENTER):
        if one.token.endswith(":NodePool"):
            yield _karpenter(one)


def _taints(given: object) -> list[tuple[str, str, str]]:
    return [
        (
            str(mapping(one).get("key")),
            str(mapping(one).get("value") or ""),
            _EFFECTS.get(str(mapping(one).get("effect")), str(mapping(one).get("effect"))),
        )
        for one in sequence(given)
    ]


def _eks(stack: Stack, one: Resource) -> Pool:
    labels = {
        str(key): str(mapping(one.props.get("labels"))[key]) for key in mapping(one.props.get("labels"))
    }
    kind = _type(stack, one)
    accelerator, count = _devices("aws", kind)
    return Pool(
        one,
        "aws",
        labels,
        _taints(one.props.get("taints")),
        accelerator,
        count,
        int(_number(at(one.props, "scalingConfig", "minSize"))),
    )


def _type(stack: Stack, one: Resource) -> str:
    """The machines' type: the pool's own, or that of its launch template."""
    types = sequence(one.props.get("instanceTypes"))
    if types:
        return str(types[0])
    urns = one.references.get("launchTemplate", one.dependencies)
    for template in stack.of("aws:ec2/launchTemplate:"):
        if template.urn in urns:
            return str(template.props.get("instanceType") or "")
    return ""


def _gke(one: Resource) -> Pool:
    config = mapping(one.props.get("nodeConfig"))
    given = mapping(config.get("labels"))
    labels = {str(key): str(given[key]) for key in given}
    kind = str(config.get("machineType") or "")
    accelerator, count = _devices("gcp", kind)
    for guest in map(mapping, sequence(config.get("guestAccelerators"))):
        accelerator, count = "nvidia.com/gpu", int(_number(guest.get("count") or 1))
        labels["cloud.google.com/gke-accelerator"] = str(guest.get("type"))
    taints = _taints(config.get("taints"))
    if accelerator == _TPU[0]:
        taints.append(_TPU)
    fewest = at(one.props, "autoscaling", "totalMinNodeCount")
    if fewest is None:
        fewest = at(one.props, "autoscaling", "minNodeCount")
    if fewest is None:
        fewest = one.props.get("nodeCount")
    return Pool(one, "gcp", labels, taints, accelerator, count, int(_number(fewest or 0)))


def _karpenter(one: Resource) -> Pool:
    template = mapping(at(one.props, "spec", "template"))
    given = mapping(at(template, "metadata", "labels"))
    labels = {str(key): str(given[key]) for key in given}
    for need in map(mapping, sequence(at(template, "spec", "requirements"))):
        values = sequence(need.get("values"))
        if need.get("operator") == "In" and len(values) == 1:
            labels[str(need.get("key"))] = str(values[0])
    return Pool(one, "karpenter", labels, _taints(at(template, "spec", "taints")))


def _devices(ground: str, kind: str) -> tuple[str, int | None]:
    """The accelerators of a type of machine, by the catalogue."""
    try:
        known = machine(ground, kind)
    except CatalogueError:
        return "", None
    return accelerators()[known.accelerator].resource, known.accelerators
