"""Pods share no namespace of their node."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_stack
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Rule


def look(pod: Pod) -> Iterator[Said]:
    """Look at one pod."""
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(key):
            yield f"{pod.path}.{key} is {pod.spec[key]!r}", "false or absent"


RULE = Rule(
    name="pods-host-namespaces",
    group="workloads",
    title="Pods share no network, process or IPC namespace of their node.",
    why="A pod there sees the traffic and processes of everybody on the node, the kubelet's too.",
    fix="Remove the switch; a node agent that needs it has a namespace that says why.",
    types=KUBERNETES,
    answers=(
        "CIS Kubernetes 2.0.1 5.2.3",
        "CIS Kubernetes 2.0.1 5.2.4",
        "CIS Kubernetes 2.0.1 5.2.5",
        "CKV_K8S_17",
        "CKV_K8S_18",
        "CKV_K8S_19",
    ),
    check_stack=of_stack(look),
)
