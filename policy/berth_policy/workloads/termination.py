"""A pod gets time to end."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_stack
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Rule
from berth_policy.subject import at
from berth_policy.units import number

DEFAULT = 30
MARGIN = 5


def look(pod: Pod) -> Iterator[Said]:
    """Look at one pod."""
    grace = number(pod.spec.get("terminationGracePeriodSeconds"), DEFAULT)
    for one in pod.containers("initContainers", "containers"):
        if one.serves and pod.stays:
            pause = number(at(one.body, "lifecycle", "preStop", "sleep", "seconds"), 0)
            if grace < pause + MARGIN:
                found = (
                    f"{pod.path}.terminationGracePeriodSeconds is {grace:g}, preStop of {one.path} {pause:g}"
                )
                yield found, f"at least {pause + MARGIN:g}"


RULE = Rule(
    name="pods-termination",
    group="workloads",
    title="What runs on gets at least 5 s more than its preStop hook to end.",
    why="A pod whose time is up is killed in the middle of its requests.",
    fix="Raise terminationGracePeriodSeconds above the preStop hook and what follows it.",
    types=KUBERNETES,
    check_stack=of_stack(look, agents=True),
)
