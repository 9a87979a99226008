"""Pods are not told of every Service by environment."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_stack
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Rule


def look(pod: Pod) -> Iterator[Said]:
    """Look at one pod."""
    if pod.spec.get("enableServiceLinks") is not False:
        yield f"{pod.path}.enableServiceLinks is not false", "false"


RULE = Rule(
    name="pods-service-links",
    group="workloads",
    title="Pods get no environment variables of Services.",
    why="Every Service of the namespace becomes variables, which leak names and may overwrite a setting.",
    fix="Set enableServiceLinks to false.",
    types=KUBERNETES,
    check_stack=of_stack(look, agents=True),
)
