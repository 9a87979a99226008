"""No pod mounts a path of its node."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_stack
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Rule
from berth_policy.subject import mapping, sequence


def look(pod: Pod) -> Iterator[Said]:
    """Look at one pod."""
    for number, volume in enumerate(sequence(pod.spec.get("volumes"))):
        if mapping(volume).get("hostPath") is not None:
            yield f"{pod.path}.volumes[{number}] is a hostPath", "another type of volume"


RULE = Rule(
    name="pods-host-path",
    group="workloads",
    title="Pods mount no path of their node.",
    why="A path of the node gives its files, sockets and the kubelet's secrets away, and outlives the pod.",
    fix="Use an emptyDir, a volume claim or a ConfigMap; a node agent has a namespace that says why.",
    types=KUBERNETES,
    answers=("CIS Kubernetes 2.0.1 5.2.11",),
    check_stack=of_stack(look),
)
