"""A production cluster on GKE is not deleted by a slip."""

from collections.abc import Iterator

from berth_policy.google._nodes import CLUSTER
from berth_policy.reading import off
from berth_policy.rule import IN_PRODUCTION, Finding, Rule
from berth_policy.subject import Resource


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the protection, which is on by default."""
    if off(resource.props.get("deletionProtection")):
        yield Finding("deletionProtection is false", "true, or absent")


RULE = Rule(
    name="gke-deletion-protection",
    group="google",
    title="A GKE cluster in production is protected from deletion.",
    why="A change of its location or network replaces it, and everything in it goes with it.",
    fix="Leave deletionProtection on.",
    levels=IN_PRODUCTION,
    types=(CLUSTER,),
    check=check,
)
