"""Images are not written to."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_each, of_stack
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.rule import Rule
from berth_policy.subject import at


def look(pod: Pod, container: Container) -> Iterator[Said]:
    """Look at one container."""
    if pod.windows:
        return
    kept = at(container.body, "securityContext", "readOnlyRootFilesystem")
    if kept is not True:
        found = "absent" if kept is None else repr(kept)
        yield f"{container.path}.securityContext.readOnlyRootFilesystem is {found}", "true"


RULE = Rule(
    name="pods-read-only-root",
    group="workloads",
    title="Containers cannot write to their image.",
    why="Whoever breaks in leaves programs there, and what is written there fills the node's disk unseen.",
    fix="Set securityContext.readOnlyRootFilesystem to true; mount an emptyDir where something is written.",
    types=KUBERNETES,
    answers=("CKV_K8S_22",),
    check_stack=of_stack(of_each(look)),
)
