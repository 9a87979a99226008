"""What a stack rents at most: pools of machines, and how many accelerators are in each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from berth_catalogue.machines import machines

from berth_policy.reading import has, items, on
from berth_policy.subject import Resource, Stack, at, mapping, sequence
from berth_policy.units import number

NODE_GROUP = "aws:eks/nodeGroup:"
TEMPLATE = "aws:ec2/launchTemplate:"
NODE_POOL = "gcp:container/nodePool:"
TARGET = "aws:appautoscaling/target:"
ENDPOINT = "aws:sagemaker/endpointConfiguration:"
KARPENTER = "kubernetes:karpenter.sh/"
RENTED = (NODE_GROUP, TEMPLATE, NODE_POOL, TARGET, ENDPOINT, KARPENTER)
"""Types of all resources that say what is rented."""
_ACCELERATED = ("p", "g", "inf", "trn", "dl", "vt")
_ACCELERATED_GCP = ("a2-", "a3-", "a4", "g2-", "g4-", "ct")
_KEYS = ("nvidia.com/gpu", "aws.amazon.com/neuron", "aws.amazon.com/neurondevice", "google.com/tpu")
_ZONES = 3
"""Zones of a regional pool that names none (GKE's default)."""


@dataclass(frozen=True)
class Rented:
    """Machines of one kind.

    Attributes:
        resource: what says how many.
        path: which of its inputs.
        most: how many there may be; None where nothing says.
        machine: their type; "" where it is not one.
        each: accelerators in one; None where the catalogue does not know the type.
    """

    resource: Resource
    path: str
    most: float | None
    machine: str
    each: float | None


Look = Callable[[Resource, Stack], Iterator[Rented]]


def rented(stack: Stack) -> Iterator[tuple[Resource, Look]]:
    """What says how many machines there are, with how to read it."""
    looks: Sequence[tuple[str, Look]] = (
        (NODE_GROUP, _node_group),
        (NODE_POOL, _node_pool),
        (ENDPOINT, _endpoint),
        (KARPENTER, _karpenter),
    )
    for token, look in looks:
        yield from ((one, look) for one in stack.of(token))


def _node_group(group: Resource, stack: Stack) -> Iterator[Rented]:
    machine = _machine_of(group, stack)
    most = _number(at(group.props, "scalingConfig", "maxSize"))
    yield Rented(group, "scalingConfig.maxSize", most, machine, _each("aws", machine, _ACCELERATED))


def _machine_of(group: Resource, stack: Stack) -> str:
    if has(group.props, "instanceTypes"):
        types = sequence(group.props.get("instanceTypes"))
        return str(types[0]) if types else ""
    templates = group.references.get("launchTemplate", ())
    for one in stack.of(TEMPLATE):
        if one.urn in templates and has(one.props, "instanceType"):
            return str(one.props.get("instanceType"))
    return ""


def _node_pool(pool: Resource, _: Stack) -> Iterator[Rented]:
    scaling = mapping(pool.props.get("autoscaling")) if has(pool.props, "autoscaling") else {}
    config = mapping(pool.props.get("nodeConfig"))
    machine = str(config.get("machineType") or "e2-medium")
    counts = [
        number(at(one, "count"), 0)
        for _, one in (items(config, "guestAccelerators") if has(config, "guestAccelerators") else [])
    ]
    each = sum(counts) if counts else _each("gcp", machine, _ACCELERATED_GCP)
    if "totalMaxNodeCount" in [*scaling]:
        yield Rented(
            pool, "autoscaling.totalMaxNodeCount", _number(scaling["totalMaxNodeCount"]), machine, each
        )
        return
    path, most = "autoscaling.maxNodeCount", _number(scaling.get("maxNodeCount"))
    if not scaling:
        path, most = "nodeCount", _number(pool.props.get("nodeCount") or pool.props.get("initialNodeCount"))
    zones = len(sequence(pool.props.get("nodeLocations"))) or _ZONES
    yield Rented(pool, path, None if most is None else most * zones, machine, each)


def _endpoint(configuration: Resource, stack: Stack) -> Iterator[Rented]:
    for place, one in items(configuration.props, "productionVariants"):
        if not has(one, "instanceType"):
            continue
        machine = str(at(one, "instanceType"))
        each = _each("aws", machine.removeprefix("ml."), _ACCELERATED)
        path = f"productionVariants[{place}].initialInstanceCount"
        most: float | None = number(at(one, "initialInstanceCount"), 1)
        resource = configuration
        ending = f"/variant/{at(one, 'variantName')}"
        for target in stack.of(TARGET):
            if str(target.props.get("resourceId")).endswith(ending):
                resource, path = target, "maxCapacity"
                scaled = _number(target.props.get("maxCapacity"))
                most = None if scaled is None or most is None else max(most, scaled)
        yield Rented(resource, path, most, machine, each)


def _karpenter(pool: Resource, _: Stack) -> Iterator[Rented]:
    if pool.token.rpartition(":")[2] != "NodePool":
        return
    limits = mapping(at(pool.props, "spec", "limits"))
    counted = [key for key in _KEYS if key in [*limits]]
    for key in counted:
        yield Rented(pool, f"spec.limits[{key}]", _number(limits[key]), "", 1)
    if not counted:
        yield Rented(pool, "spec.limits", 1 if limits else None, "", 0)


def _each(ground: str, machine: str, accelerated: tuple[str, ...]) -> float | None:
    known = _catalogue(ground).get(machine)
    if known is not None:
        return known
    family = machine.partition(".")[0]
    if ground == "aws" and not any(
        family.startswith(one) and family[len(one) :][:1].isdigit() for one in accelerated
    ):
        return 0
    if ground == "gcp" and not machine.startswith(accelerated):
        return 0
    return None


def _catalogue(ground: str) -> Mapping[str, float]:
    return {name: one.accelerators for name, one in machines(ground).items()}


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def is_spot(pool: Resource) -> bool:
    """Whether a pool's machines may be taken away at any time."""
    if pool.token.startswith(NODE_GROUP):
        return bool(pool.props.get("capacityType") == "SPOT")
    config = pool.props.get("nodeConfig")
    return any(on(at(config, key)) for key in ("spot", "preemptible"))
