"""Node agents have what they need of their node, and nothing more."""

from collections.abc import Iterator

from berth_policy.checks import all_pods, is_agent
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.reading import off, on, peek, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, at, mapping, sequence, survey

_PATHS = (
    *("/var/lib/kubelet/device-plugins", "/dev", "/run", "/opt/aws", "/sys", "/proc", "/var/log"),
    *("/var/lib/kubelet/pod-resources", "/etc/machine-id", "/home/kubernetes/bin/nvidia"),
)
"""Parts of a node that agents are known to need, and what is below them."""


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each agent of the stack."""
    yield from survey([pod for pod in all_pods(stack) if is_agent(stack, pod)], _pod)


def _pod(pod: Pod) -> Iterator[Finding]:
    resource = pod.object.resource
    seccomp = at(pod.spec, "securityContext", "seccompProfile", "type")
    for one in pod.containers():
        own = at(one.body, "securityContext", "seccompProfile", "type")
        if (own or seccomp) not in {"RuntimeDefault", "Localhost"}:
            yield Finding(
                f"{one.path} has seccompProfile {said(own or seccomp)}", "'RuntimeDefault'", resource
            )
        for found, wanted in _container(one):
            yield Finding(found, wanted, resource)
    terms = at(
        pod.spec,
        *("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"),
    )
    chosen = [one for one in sequence(terms) if at(one, "matchExpressions") or at(one, "matchFields")]
    if not pod.spec.get("nodeSelector") and (not chosen or len(chosen) < len([*sequence(terms)])):
        yield Finding(f"{pod.path} says no nodes, so all of them", "the pool's label", resource)
    for number, volume in enumerate(sequence(pod.spec.get("volumes"))):
        path = peek(volume, "hostPath", "path")
        if path is not None and not _known(str(path)):
            yield Finding(
                f"{pod.path}.volumes[{number}].hostPath.path is {said(path)}",
                f"in {', '.join(_PATHS)}",
                resource,
            )


def _container(one: Container) -> Iterator[tuple[str, str]]:
    context = mapping(one.body.get("securityContext"))
    if on(context.get("privileged")):
        yield f"{one.path}.securityContext.privileged is true", "false: its devices come by hostPath"
    escalates = context.get("allowPrivilegeEscalation")
    if not off(escalates):
        yield f"{one.path}.securityContext.allowPrivilegeEscalation is {said(escalates)}", "false"
    if "ALL" not in [*sequence(at(context, "capabilities", "drop"))]:
        yield f"{one.path}.securityContext.capabilities.drop lacks ALL", "ALL"
    if context.get("readOnlyRootFilesystem") is None:
        yield f"{one.path}.securityContext.readOnlyRootFilesystem is absent", "true, or false on purpose"
    if not at(one.body, "resources", "limits", "memory"):
        yield f"{one.path}.resources.limits.memory is absent", "a limit: the node is everybody's"


def _known(path: str) -> bool:
    return ".." not in path and any(path == one or path.startswith(f"{one}/") for one in _PATHS)


RULE = Rule(
    name="agents-least",
    group="workloads",
    title="A node agent is not privileged, drops capabilities, and mounts only what agents need of a node.",
    why="It runs on every node, outside of the restricted standard: whoever takes it over has the node.",
    fix="Drop ALL, forbid escalation, set seccomp RuntimeDefault and a limit; mount the one folder it needs.",
    types=KUBERNETES,
    answers=("CIS Kubernetes 2.0.1 5.2.2", "CIS Kubernetes 2.0.1 5.2.6", "CIS Kubernetes 2.0.1 5.2.11"),
    check_stack=check,
)
