"""Scratch space has a limit."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_stack
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Rule
from berth_policy.subject import mapping, sequence


def look(pod: Pod) -> Iterator[Said]:
    """Look at one pod."""
    for number, volume in enumerate(sequence(pod.spec.get("volumes"))):
        body = mapping(volume)
        scratch = body.get("emptyDir")
        # The API makes an emptyDir of a volume that names no source.
        is_scratch = scratch is not None or set(body) <= {"name", "emptyDir"}
        if is_scratch and mapping(scratch).get("sizeLimit") in (None, "", "0", 0):
            yield f"{pod.path}.volumes[{number}].emptyDir.sizeLimit is absent", "a size"


RULE = Rule(
    name="pods-scratch-limits",
    group="workloads",
    title="Volumes of type emptyDir, or of no type, have a size limit.",
    why="A full emptyDir fills the node's disk, or its memory, and evicts its neighbours.",
    fix="Set emptyDir.sizeLimit.",
    types=KUBERNETES,
    check_stack=of_stack(look, agents=True),
)
