"""Where configurations of GKE's nodes are: in pools, and in clusters that have nodes of their own."""

from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.reading import has, items, on
from berth_policy.subject import Resource, at, mapping

CLUSTER = "gcp:container/cluster:"
POOL = "gcp:container/nodePool:"


def node_configs(resource: Resource) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each configuration of nodes with its place, also where it says nothing."""
    if resource.token.startswith(POOL):
        yield "nodeConfig", mapping(resource.props.get("nodeConfig"))
        return
    if on(resource.props.get("enableAutopilot")):
        return
    pools = items(resource.props, "nodePools") if has(resource.props, "nodePools") else []
    for number, one in pools:
        yield f"nodePools[{number}].nodeConfig", mapping(at(one, "nodeConfig"))
    # A default pool that is removed again has run for minutes, with the rights it was given.
    if not pools:
        yield "nodeConfig", mapping(resource.props.get("nodeConfig"))
