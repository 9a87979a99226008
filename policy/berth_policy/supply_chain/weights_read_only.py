"""Weights that were checked are not changed afterwards."""

from collections.abc import Iterator

from berth_policy.checks import all_pods
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.reading import on
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, at, mapping, sequence, survey

_GIVEN = ("secret", "configMap")
_FILLED = ("ephemeral", "emptyDir", "persistentVolumeClaim")


def check(stack: Stack) -> Iterator[Finding]:
    """Look at volumes that an init container fills for others."""
    yield from survey(all_pods(stack), _pod)


def _pod(pod: Pod) -> Iterator[Finding]:
    kinds = {at(one, "name"): [*mapping(one)] for one in sequence(pod.spec.get("volumes")) if at(one, "name")}
    first = [one for one in pod.containers("initContainers") if one.body.get("restartPolicy") != "Always"]
    filled = {
        name
        for one in first
        for name, kept in _mounts(one)
        if not kept and any(kind in _FILLED for kind in kinds.get(name, ()))
    }
    for one in pod.containers():
        if one.path in {init.path for init in first}:
            continue
        for name, kept in _mounts(one):
            if name in filled and not kept:
                found = f"{one.path} may write to {name}, which an init container has filled"
                yield Finding(found, "readOnly true", pod.object.resource)
    for one in pod.containers():
        for name, kept in _mounts(one):
            if not kept and any(kind in _GIVEN for kind in kinds.get(name, ())):
                found = f"{one.path} mounts {name} without readOnly"
                yield Finding(found, "readOnly true", pod.object.resource)


def _mounts(one: Container) -> Iterator[tuple[str, bool]]:
    for mount in sequence(one.body.get("volumeMounts")):
        yield str(at(mount, "name")), on(at(mount, "readOnly"))


RULE = Rule(
    name="weights-read-only",
    group="supply_chain",
    title="What an init container has fetched is mounted read-only by all others, as are Secrets.",
    why="An engine that is taken over could leave changed weights for the next one.",
    fix="Set readOnly on the mount.",
    types=KUBERNETES,
    check_stack=check,
)
