"""Containers say what they need, and what they may take."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_each, of_stack
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.rule import Rule
from berth_policy.subject import mapping


def look(_pod: Pod, container: Container) -> Iterator[Said]:
    """Look at one container."""
    resources = mapping(container.body.get("resources"))
    for part, key in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
        given = mapping(resources.get(part)).get(key)
        if given is None and part == "requests":
            given = mapping(resources.get("limits")).get(key)  # Kubernetes takes the limit for it
        if given in (None, "", "0", 0):
            yield (
                f"{container.path}.resources.{part}.{key} is {'absent' if given is None else 'empty'}",
                "set",
            )


RULE = Rule(
    name="pods-resources",
    group="workloads",
    title="Containers have requests of CPU and memory and a limit of memory.",
    why="Without requests the scheduler overbooks nodes; without a limit one leak takes its neighbours down.",
    fix="Set resources.requests.cpu, resources.requests.memory and resources.limits.memory.",
    types=KUBERNETES,
    answers=("CKV_K8S_10", "CKV_K8S_12", "CKV_K8S_13"),
    check_stack=of_stack(of_each(look, "initContainers", "containers"), agents=True),
)
