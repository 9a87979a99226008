"""What a chart makes is not seen."""

from collections.abc import Iterator

from berth_policy.rule import ADVICE, Finding, Rule
from berth_policy.subject import Resource


def check(resource: Resource) -> Iterator[Finding]:
    """Say that a Helm release is there: its objects are made by Helm, and no policy sees them."""
    if resource.token.endswith(":Release"):
        found = "Helm makes its objects when it is installed, so no rule has seen them"
        yield Finding(found, "a chart that the program renders (kubernetes.helm.v4.Chart), or a review of it")


RULE = Rule(
    name="charts-unseen",
    group="supply_chain",
    title="What a Helm release makes is not judged.",
    why="Its pods, roles and Services are as free as the chart's author made them.",
    fix="Render the chart in the program, so that each object is a resource, or judge the chart by itself.",
    levels=ADVICE,
    types=("kubernetes:helm.sh/",),
    check=check,
)
