"""An update of EKS' nodes leaves what serves in place."""

from collections.abc import Iterator

from berth_policy.reading import said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at
from berth_policy.units import number

_MOST = 1
_MOST_PERCENT = 34


def check(resource: Resource) -> Iterator[Finding]:
    """Look at how many nodes go at a time."""
    for key, most in (("maxUnavailable", _MOST), ("maxUnavailablePercentage", _MOST_PERCENT)):
        away = at(resource.props, "updateConfig", key)
        if number(away, 0) > most:
            yield Finding(f"updateConfig.{key} is {said(away)}", f"{most} at most")


RULE = Rule(
    name="eks-node-updates",
    group="aws",
    title="An update of EKS' nodes takes one at a time, or a third.",
    why="Replicas that share an update's batch are all gone at once.",
    fix="Set updateConfig.maxUnavailable to 1.",
    levels={"local": "disabled", "development": "advisory", "production": "mandatory"},
    types=("aws:eks/nodeGroup:",),
    check=check,
)
