"""What a pool of accelerator nodes is on every ground: one interface, which each ground's component fills in.

A pool of your own subclasses `NodePool`: `read_pool` checks the args that all pools share, and whoever places
pods needs nothing but the four outputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import pulumi
from berth_catalogue.accelerators import Accelerator, accelerator, accelerators
from berth_catalogue.errors import CatalogueError

from berth_components import checks
from berth_components.arguments import Arguments, Refusal

POOL_LABEL = "berth.dev/pool"
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_MAX_NODES = 1000
# No machine of any ground holds more.
_MAX_PER_NODE = 16


class TaintArgs(TypedDict):
    """A taint of a pool's nodes, in Kubernetes' own spelling; components translate it for their cloud."""

    key: str
    """The taint's key."""
    value: NotRequired[str]
    """The taint's value. Default: none."""
    effect: str
    """NoSchedule, PreferNoSchedule or NoExecute."""


class NodePoolArgs(TypedDict):
    """Args that every pool has. They decide which objects exist, so the program must know them."""

    accelerator: str
    """The accelerator's key in the catalogue, such as nvidia-l4."""
    accelerators_per_node: int
    """How many each node has."""
    max_nodes: int
    """Most nodes, 1 to 1000. This caps what the pool can cost."""
    min_nodes: NotRequired[int]
    """Fewest nodes. Default: 0, where the ground can add nodes by itself."""
    capacity_type: NotRequired[str]
    """on-demand (default), spot (cheaper, and taken away at short notice) or reserved (bought in advance)."""
    labels: NotRequired[Mapping[str, str]]
    """Further labels of the nodes."""
    taints: NotRequired[Sequence[TaintArgs]]
    """Further taints; pods placed on the pool tolerate them. The accelerator's own is always there."""


@dataclass(frozen=True)
class PoolSpec:
    """A pool's args, checked.

    Attributes:
        name: the pool's name, which is the value of the label berth.dev/pool.
        accelerator: what the catalogue knows of its accelerator.
        per_node: accelerators of each node.
        min_nodes: fewest nodes.
        max_nodes: most nodes.
        capacity_type: on-demand, spot or reserved.
        labels: all labels of its nodes that the pool sets.
        taints: the further taints that were asked for, without the accelerator's own.
        node_selector: what pods on it select.
        tolerations: what pods on it tolerate.
    """

    name: str
    accelerator: Accelerator
    per_node: int
    min_nodes: int
    max_nodes: int
    capacity_type: str
    labels: Mapping[str, str]
    taints: Sequence[TaintArgs]
    node_selector: Mapping[str, str]
    tolerations: Sequence[Mapping[str, str]]

    @property
    def resource(self) -> str:
        """The resource that pods ask for, such as nvidia.com/gpu."""
        return self.accelerator.resource

    @property
    def max_accelerators(self) -> int:
        """Accelerators at the most nodes."""
        return self.per_node * self.max_nodes


def read_pool(
    given: Arguments,
    name: str,
    *,
    capacity_types: Sequence[str] = ("on-demand", "spot", "reserved"),
    node_selector: Mapping[str, str] | None = None,
    label_nodes: bool = True,
) -> PoolSpec:
    """Check the args that all pools share.

    Args:
        given: the component's args; its TypedDict extends `NodePoolArgs`.
        name: the pool's name.
        capacity_types: those that the ground has.
        node_selector: labels that find the pool's nodes besides its own label.
        label_nodes: whether the ground puts labels on nodes; without, `node_selector` alone must find them.

    Raises:
        ArgumentError: an argument is missing, not allowed, or contradicts another one.
    """
    found = accelerator(given.plain("accelerator", _accelerator_key))
    least = given.plain("min_nodes", checks.whole_number(0, _MAX_NODES, "nodes"), 0)
    most = given.plain("max_nodes", checks.whole_number(1, _MAX_NODES, "nodes"))
    if least > most:
        raise given.refuse("min_nodes", least, f"at most max_nodes, {most}")
    none: Mapping[str, str] = {}
    labels = given.plain("labels", checks.mapping_of(checks.qualified_name, checks.label_value), none)
    if POOL_LABEL in labels:
        raise given.refuse(f"labels.{POOL_LABEL}", labels[POOL_LABEL], "other keys", "it is the pool's name")
    if not checks.DNS_LABEL.fullmatch(name):
        raise given.refuse("name", repr(name), "a DNS label: it is a label of the nodes", "rename the pool")
    own = {POOL_LABEL: name} if label_nodes else {}
    taints = [_taint(one) for one in given.groups("taints", TaintArgs)]
    return PoolSpec(
        name=name,
        accelerator=found,
        per_node=given.plain("accelerators_per_node", checks.whole_number(1, _MAX_PER_NODE, "accelerators")),
        min_nodes=least,
        max_nodes=most,
        capacity_type=given.plain("capacity_type", checks.choice(*capacity_types), "on-demand"),
        labels={**labels, **own},
        taints=taints,
        node_selector={**own, **(node_selector or {})},
        tolerations=[
            {"key": found.resource, "operator": "Exists", "effect": "NoSchedule"},
            *(_toleration(one) for one in taints),
        ],
    )


class NodePool(pulumi.ComponentResource):
    """Nodes with accelerators. Subclasses make them, or find them."""

    node_selector: pulumi.Output[Mapping[str, str]]
    """Labels that a pod selects to run here."""
    tolerations: pulumi.Output[Sequence[Mapping[str, str]]]
    """Taints that a pod tolerates to run here."""
    resource_key: pulumi.Output[str]
    """The resource that a pod asks for, such as nvidia.com/gpu."""
    max_accelerators: pulumi.Output[int]
    """Accelerators that the pool has when it is at its largest."""

    def __init__(self, kind: str, name: str, spec: PoolSpec, opts: pulumi.ResourceOptions | None) -> None:
        """Declare it; the subclass makes its nodes and then calls `finish`.

        Args:
            kind: the type token, such as berth:aws:EksNodePool.
            name: the component's name.
            spec: what `read_pool` gave.
            opts: options, with an explicit provider.
        """
        super().__init__(kind, name, {}, opts)
        self.spec = spec

    def finish(self, **further: Any) -> None:
        """Set and register the outputs that all pools have, and further ones."""
        self.node_selector = pulumi.Output.from_input(dict(self.spec.node_selector))
        self.tolerations = pulumi.Output.from_input([dict(one) for one in self.spec.tolerations])
        self.resource_key = pulumi.Output.from_input(self.spec.resource)
        self.max_accelerators = pulumi.Output.from_input(self.spec.max_accelerators)
        self.register_outputs(
            {
                "nodeSelector": self.node_selector,
                "tolerations": self.tolerations,
                "resourceKey": self.resource_key,
                "maxAccelerators": self.max_accelerators,
                **further,
            }
        )


def _accelerator_key(value: Any) -> str:
    if not isinstance(value, str):
        raise Refusal("one of " + ", ".join(accelerators()))
    try:
        return accelerator(value).key
    except CatalogueError as error:
        raise Refusal("one of " + ", ".join(accelerators()), str(error)) from None


def _taint(given: Arguments) -> TaintArgs:
    found: TaintArgs = {
        "key": given.plain("key", checks.qualified_name),
        "effect": given.plain("effect", checks.choice(*EFFECTS)),
    }
    if "value" in given:
        found["value"] = given.plain("value", checks.label_value)
    return found


def _toleration(taint: TaintArgs) -> Mapping[str, str]:
    value = taint.get("value")
    match = {"operator": "Equal", "value": value} if value else {"operator": "Exists"}
    return {"key": taint["key"], "effect": taint["effect"], **match}
