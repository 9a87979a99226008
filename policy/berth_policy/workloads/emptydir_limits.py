"""Scratch space has a limit."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_stack
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Rule
from berth_policy.subject import mapping, sequence


def look(pod: Pod) -> Iterator[Said]:
    """Look at one pod."""
    for number, volume in enumerate(sequence(pod.spec.get("volumes"))):
        scratch = mapping(volume).get("emptyDir")
        if scratch is not None and mapping(scratch).get("sizeLimit") in (None, "", "0", 0):
            yield f"{pod.path}.volumes[{number}].emptyDir.sizeLimit is absent", "a size"


RULE = Rule(
    name="pods-scratch-limits",
    group="workloads",
    title="Volumes of type emptyDir have a size limit.",
    why="A full emptyDir fills the node's disk, or its memory, and evicts its neighbours.",
    fix="Set emptyDir.sizeLimit.",
    types=KUBERNETES,
    check_stack=of_stack(look, agents=True),
)
