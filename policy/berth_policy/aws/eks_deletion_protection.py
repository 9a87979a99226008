"""A production cluster is not deleted by a slip."""

from collections.abc import Iterator

from berth_policy.reading import expect, on
from berth_policy.rule import IN_PRODUCTION, Finding, Rule
from berth_policy.subject import Resource


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the protection."""
    yield from expect(resource.props, "deletionProtection", on, "true", "false")


RULE = Rule(
    name="eks-deletion-protection",
    group="aws",
    title="An EKS cluster in production is protected from deletion.",
    why="A change of its name or subnets replaces it, and everything in it goes with it.",
    fix="Set deletionProtection to true.",
    levels=IN_PRODUCTION,
    types=("aws:eks/cluster:",),
    check=check,
)
