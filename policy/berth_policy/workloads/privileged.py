"""No container is privileged."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_each, of_stack
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.rule import Rule
from berth_policy.subject import at


def look(_pod: Pod, container: Container) -> Iterator[Said]:
    """Look at one container."""
    if at(container.body, "securityContext", "privileged"):
        yield f"{container.path}.securityContext.privileged is true", "false or absent"


RULE = Rule(
    name="pods-privileged",
    group="workloads",
    title="No container is privileged.",
    why="A privileged container is root on its node.",
    fix="Remove securityContext.privileged; ask for a device by its device plugin instead.",
    types=KUBERNETES,
    answers=("CIS Kubernetes 2.0.1 5.2.2", "CKV_K8S_16"),
    check_stack=of_stack(of_each(look), agents=True),
)
