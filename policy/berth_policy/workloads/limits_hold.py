"""Limits are not below requests."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_each, of_stack
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.rule import Rule
from berth_policy.subject import at, mapping
from berth_policy.units import amount


def look(_pod: Pod, container: Container) -> Iterator[Said]:
    """Look at one container."""
    limits = mapping(at(container.body, "resources", "limits"))
    requests = mapping(at(container.body, "resources", "requests"))
    for key in requests:
        if key in limits:
            asked, most = amount(requests[key]), amount(limits[key])
            if asked is not None and most is not None and asked > most:
                path = f"{container.path}.resources"
                yield (
                    f"{path}.requests.{key} is {requests[key]}, its limit {limits[key]}",
                    "no more than the limit",
                )


RULE = Rule(
    name="pods-limits-hold",
    group="workloads",
    title="No limit is below its request.",
    why="The API server refuses the pod, so the controller never makes one.",
    fix="Raise the limit or lower the request.",
    types=KUBERNETES,
    check_stack=of_stack(of_each(look), agents=True),
)
