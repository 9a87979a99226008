"""Containers drop all capabilities."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_each, of_stack
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.rule import Rule
from berth_policy.subject import at, mapping, sequence


def look(pod: Pod, container: Container) -> Iterator[Said]:
    """Look at one container."""
    if pod.windows:
        return
    capabilities = mapping(at(container.body, "securityContext", "capabilities"))
    path = f"{container.path}.securityContext.capabilities"
    if "ALL" not in sequence(capabilities.get("drop")):
        yield f"{path}.drop lacks ALL", '["ALL"]'
    added = sorted(set(map(str, sequence(capabilities.get("add")))) - {"NET_BIND_SERVICE"})
    if added:
        yield f"{path}.add has {', '.join(added)}", "NET_BIND_SERVICE at the most"


RULE = Rule(
    name="pods-capabilities",
    group="workloads",
    title="Containers drop all capabilities and add none but NET_BIND_SERVICE.",
    why="Default capabilities let a process forge packets, change owners and chroot.",
    fix='Set securityContext.capabilities.drop to ["ALL"] and remove what is added.',
    types=KUBERNETES,
    answers=(
        "CIS Kubernetes 2.0.1 5.2.8",
        "CIS Kubernetes 2.0.1 5.2.9",
        "CKV_K8S_25",
        "CKV_K8S_28",
        "CKV_K8S_37",
    ),
    check_stack=of_stack(of_each(look), agents=True),
)
