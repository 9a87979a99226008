"""EKS replaces nodes that are broken."""

from collections.abc import Iterator

from berth_policy.reading import expect, on
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource


def check(resource: Resource) -> Iterator[Finding]:
    """Look whether repair is on."""
    yield from expect(resource.props, "nodeRepairConfig.enabled", on, "true", "false")


RULE = Rule(
    name="eks-node-repair",
    group="aws",
    title="EKS repairs nodes whose accelerator or kubelet has failed.",
    why="A node with a dead GPU stays, is paid for, and takes pods that never get ready.",
    fix="Set nodeRepairConfig.enabled to true.",
    levels={"local": "disabled", "development": "advisory", "production": "mandatory"},
    types=("aws:eks/nodeGroup:",),
    check=check,
)
