"""No container takes a port of its node."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_each, of_stack
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.rule import Rule
from berth_policy.subject import mapping, sequence


def look(_pod: Pod, container: Container) -> Iterator[Said]:
    """Look at one container."""
    for number, port in enumerate(sequence(container.body.get("ports"))):
        if mapping(port).get("hostPort"):
            yield f"{container.path}.ports[{number}].hostPort is set", "absent"


RULE = Rule(
    name="pods-host-ports",
    group="workloads",
    title="Containers take no port of their node.",
    why="A port of the node bypasses network policies and lets one pod per node run.",
    fix="Remove hostPort; let a Service reach the pod.",
    types=KUBERNETES,
    answers=("CIS Kubernetes 2.0.1 5.2.12", "CKV_K8S_26"),
    check_stack=of_stack(of_each(look)),
)
