"""No process gains more privileges than its parent."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_each, of_stack
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.rule import Rule
from berth_policy.subject import at


def look(pod: Pod, container: Container) -> Iterator[Said]:
    """Look at one container."""
    if pod.windows:
        return
    allowed = at(container.body, "securityContext", "allowPrivilegeEscalation")
    if allowed is not False:
        found = "absent" if allowed is None else repr(allowed)
        yield f"{container.path}.securityContext.allowPrivilegeEscalation is {found}", "false"


RULE = Rule(
    name="pods-privilege-escalation",
    group="workloads",
    title="Containers forbid privilege escalation.",
    why="Without it a set-user-id program in the image makes any process root.",
    fix="Set securityContext.allowPrivilegeEscalation to false.",
    types=KUBERNETES,
    answers=("CIS Kubernetes 2.0.1 5.2.6", "CKV_K8S_20"),
    check_stack=of_stack(of_each(look), agents=True),
)
