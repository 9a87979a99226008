"""System calls are filtered."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_stack
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Rule
from berth_policy.subject import at

ALLOWED = ("RuntimeDefault", "Localhost")


def look(pod: Pod) -> Iterator[Said]:
    """Look at one pod."""
    if pod.windows:
        return
    of_pod = at(pod.spec, "securityContext", "seccompProfile", "type")
    if of_pod not in (None, *ALLOWED):
        yield f"{pod.path}.securityContext.seccompProfile.type is {of_pod}", "RuntimeDefault or Localhost"
    for one in pod.containers():
        kind = at(one.body, "securityContext", "seccompProfile", "type")
        if kind not in (None, *ALLOWED):
            yield f"{one.path}.securityContext.seccompProfile.type is {kind}", "RuntimeDefault or Localhost"
        elif kind is None and of_pod is None:
            yield f"{one.path} and its pod have no seccompProfile", "RuntimeDefault or Localhost"


RULE = Rule(
    name="pods-seccomp",
    group="workloads",
    title="Containers run under a seccomp profile.",
    why="Without a profile every system call of the kernel is open to attack.",
    fix="Set securityContext.seccompProfile.type of the pod to RuntimeDefault.",
    types=KUBERNETES,
    answers=("CIS Kubernetes 2.0.1 5.6.2", "CKV_K8S_31"),
    check_stack=of_stack(look, agents=True),
)
