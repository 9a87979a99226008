"""A cluster's Kubernetes is one that is still mended."""

from collections.abc import Iterator

from berth_policy.reading import expect
from berth_policy.rule import IN_CLOUDS, Finding, Rule
from berth_policy.subject import Resource


def check(resource: Resource) -> Iterator[Finding]:
    """Look at what happens when standard support ends."""
    yield from expect(
        resource.props,
        "upgradePolicy.supportType",
        lambda value: value == "STANDARD",
        "'STANDARD'",
        "EXTENDED",
    )


RULE = Rule(
    name="eks-support",
    group="aws",
    title="An EKS cluster leaves a version of Kubernetes when its standard support ends.",
    why=(
        "With extended support, which is the default, it stays on a version that Kubernetes itself no longer "
        "mends, at a higher price an hour."
    ),
    fix="Set upgradePolicy.supportType to STANDARD.",
    levels=IN_CLOUDS,
    types=("aws:eks/cluster:",),
    check=check,
)
