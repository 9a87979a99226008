"""Ports of nodes are for the local cluster."""

from collections.abc import Iterator

from berth_policy.kubernetes import objects
from berth_policy.rule import IN_CLOUDS, Finding, Rule
from berth_policy.subject import Resource


def check(resource: Resource) -> Iterator[Finding]:
    """Look at each Service."""
    for one in objects(resource):
        if one.kind == "Service" and one.spec.get("type") == "NodePort":
            yield Finding(f"{one.path}spec.type is NodePort", "ClusterIP, or an internal LoadBalancer")


RULE = Rule(
    name="services-node-ports",
    group="network",
    title="Services take ports of nodes on the local cluster only.",
    why="Every node answers on the port, whoever may reach a node, and no load balancer checks who asks.",
    fix="Use ClusterIP behind a gateway, or an internal LoadBalancer.",
    levels=IN_CLOUDS,
    types=("kubernetes:core/",),
    check=check,
)
