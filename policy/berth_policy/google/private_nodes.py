"""Nodes of GKE have no public address."""

from collections.abc import Iterator

from berth_policy.google._nodes import CLUSTER, POOL
from berth_policy.reading import expect, has, off, on
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the cluster, and at pools that say otherwise."""
    if resource.token.startswith(CLUSTER):
        default = at(resource.props, "networkConfig", "defaultEnablePrivateNodes")
        if not on(default):
            yield from expect(resource.props, "privateClusterConfig.enablePrivateNodes", on, "true", "false")
    elif has(resource.props, "networkConfig", "enablePrivateNodes") and off(
        at(resource.props, "networkConfig", "enablePrivateNodes")
    ):
        yield Finding("networkConfig.enablePrivateNodes is false", "true, or absent for the cluster's")


RULE = Rule(
    name="gke-private-nodes",
    group="google",
    title="Nodes of GKE are private.",
    why="A node that the internet reaches is attacked on every port that anything on it opens.",
    fix="Set privateClusterConfig.enablePrivateNodes to true; what must go out goes by Cloud NAT.",
    types=(CLUSTER, POOL),
    answers=("CIS GKE 5.6.5", "CIS GCP 4.9", "CKV_GCP_25", "CKV_GCP_64"),
    check=check,
)
