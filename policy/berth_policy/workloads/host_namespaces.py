"""Pods share no namespace of their node."""

from collections.abc import Iterator

from berth_policy.kubernetes import KUBERNETES, pods
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, survey

KEYS = ("hostNetwork", "hostPID", "hostIPC")


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the three switches of each pod."""
    places = [(pod, key) for pod in pods(resource) for key in KEYS]
    yield from survey(
        places,
        lambda place: (
            [Finding(f"{place[0].path}.{place[1]} is true", "false or absent")]
            if place[0].spec.get(place[1])
            else []
        ),
    )


RULE = Rule(
    name="pods-host-namespaces",
    group="workloads",
    title="Pods share no network, process or IPC namespace of their node.",
    why="A pod there sees the traffic and processes of everybody on the node, the kubelet's too.",
    fix="Remove the switch; a node agent that needs it has a namespace labelled with the reason.",
    types=KUBERNETES,
    answers=(
        "CIS Kubernetes 5.2.3",
        "CIS Kubernetes 5.2.4",
        "CIS Kubernetes 5.2.5",
        "CKV_K8S_17",
        "CKV_K8S_18",
        "CKV_K8S_19",
    ),
    check=check,
)
