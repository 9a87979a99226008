"""/proc is masked."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_each, of_stack
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.rule import Rule
from berth_policy.subject import at


def look(_pod: Pod, container: Container) -> Iterator[Said]:
    """Look at one container."""
    kind = at(container.body, "securityContext", "procMount")
    if kind not in (None, "Default"):
        yield f"{container.path}.securityContext.procMount is {kind}", "Default or absent"


RULE = Rule(
    name="pods-proc-mount",
    group="workloads",
    title="Containers see a masked /proc.",
    why="An unmasked /proc shows and changes settings of the node's kernel.",
    fix="Remove securityContext.procMount.",
    types=KUBERNETES,
    check_stack=of_stack(of_each(look), agents=True),
)
