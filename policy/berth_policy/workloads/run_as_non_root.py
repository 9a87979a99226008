"""Nothing runs as root."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_stack
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Rule
from berth_policy.subject import at


def look(pod: Pod) -> Iterator[Said]:
    """Look at one pod."""
    of_pod = at(pod.spec, "securityContext", "runAsNonRoot")
    if of_pod is not None and of_pod is not True:
        yield f"{pod.path}.securityContext.runAsNonRoot is {of_pod!r}", "true"
    for one in pod.containers():
        own = at(one.body, "securityContext", "runAsNonRoot")
        if own is not None and own is not True:
            yield f"{one.path}.securityContext.runAsNonRoot is {own!r}", "true"
        elif own is None and of_pod is None:
            yield f"{one.path} and its pod have no runAsNonRoot", "true"


RULE = Rule(
    name="pods-run-as-non-root",
    group="workloads",
    title="Containers are refused if they would run as root.",
    why="Root in a container is root on the node wherever a boundary fails.",
    fix="Set securityContext.runAsNonRoot of the pod to true.",
    types=KUBERNETES,
    answers=("CIS Kubernetes 2.0.1 5.2.7", "CKV_K8S_23"),
    check_stack=of_stack(look),
)
