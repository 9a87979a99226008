"""Pieces that checks of pods are made from.

A look yields pairs: what was found, and what is wanted.
"""

from collections.abc import Callable, Iterable, Iterator

from pulumi_policy.proxy import UnknownValueError

from berth_policy.kubernetes import KUBERNETES, Container, Object, Place, Pod, objects, pods
from berth_policy.rule import Finding
from berth_policy.subject import Resource, Stack, at, survey, title_of

Said = tuple[str, str]
Look = Callable[[Pod], Iterable[Said]]
LookInside = Callable[[Pod, Container], Iterable[Said]]
REASON = "berth.dev/pod-security-reason"
"""Annotation of a namespace that admits privileged pods: why."""
ENFORCE = "pod-security.kubernetes.io/enforce"
PUBLIC = "berth.dev/public-reason"
"""Annotation of what everybody may reach: why."""


def of_each(look: LookInside, *places: Place) -> Look:
    """A look at a pod that looks at each of its containers, or at those of some of its lists."""

    def inside(pod: Pod) -> Iterator[Said]:
        return survey(pod.containers(*places), lambda container: look(pod, container))

    return inside


def of_resource(look: Look) -> Callable[[Resource], Iterator[Finding]]:
    """A check of one resource's pods."""

    def check(resource: Resource) -> Iterator[Finding]:
        for found, wanted in survey(pods(resource), look):
            yield Finding(found, wanted)

    return check


def of_stack(look: Look, *, agents: bool = False) -> Callable[[Stack], Iterator[Finding]]:
    """A check of all pods of a stack; node agents are left out, unless `agents`.

    Node agents are pods of a DaemonSet in a namespace of their own, declared by the same stack, that admits
    privileged pods and says why.
    """

    def check(stack: Stack) -> Iterator[Finding]:
        return survey(stack.of(*KUBERNETES), lambda resource: _look(stack, resource), title_of)

    def _look(stack: Stack, resource: Resource) -> Iterator[Finding]:
        for pod in pods(resource):
            if agents or not is_agent(stack, pod):
                for found, wanted in look(pod):
                    yield Finding(found, wanted, resource)

    # A trial of mutants looks at the changed resource only, which saves it nine parts of ten.
    check.each = _look  # type: ignore[attr-defined]
    return check


def is_agent(stack: Stack, pod: Pod) -> bool:
    """Whether it is an agent of its node, in a namespace that says why it may be."""
    return pod.kind == "DaemonSet" and pod.namespace in agent_namespaces(stack)


def agent_namespaces(stack: Stack) -> frozenset[str]:
    """Namespaces that admit privileged pods and say why."""
    if "agents" not in stack.memory:
        stack.memory["agents"] = frozenset(
            one.name for one in declared(stack, "Namespace") if admits_privileged(one)
        )
    found: frozenset[str] = stack.memory["agents"]
    return found


def admits_privileged(namespace: Object) -> bool:
    """Whether a namespace admits privileged pods, and says why."""
    level = at(namespace.metadata, "labels", ENFORCE)
    return bool(level == "privileged" and said(namespace, REASON))


def said(thing: Object, annotation: str) -> str:
    """The reason that an object's annotation gives, or ""."""
    return str(at(thing.metadata, "annotations", annotation) or "").strip()


_GROUPS = {
    **dict.fromkeys(("ConfigMap", "Namespace", "Service", "ServiceAccount"), "kubernetes:core/"),
    "HorizontalPodAutoscaler": "kubernetes:autoscaling/",
    "NetworkPolicy": "kubernetes:networking.k8s.io/",
    "PodDisruptionBudget": "kubernetes:policy/",
    "RoleBinding": "kubernetes:rbac.authorization.k8s.io/",
    "ClusterRoleBinding": "kubernetes:rbac.authorization.k8s.io/",
    "ScaledObject": "kubernetes:keda.sh/",
}
"""Where kinds are Kubernetes' own: others have a Service, too."""


def declared(stack: Stack, kind: str) -> list[Object]:
    """Every object of a kind that the stack declares."""
    key = f"declared {kind}"
    if key not in stack.memory:
        resources = stack.of(_GROUPS[kind])
        stack.memory[key] = [one for resource in resources for one in objects(resource) if one.kind == kind]
    found: list[Object] = stack.memory[key]
    return found


def all_pods(stack: Stack) -> list[Pod]:
    """Every pod that the stack declares; where a preview does not know one, that is an error at the end."""
    if "pods" not in stack.memory:
        known: list[Pod] = []
        try:
            known.extend(survey(stack.of(*KUBERNETES), pods, title_of))
        except UnknownValueError as error:
            stack.memory["unknown pods"] = error
        stack.memory["pods"] = known
    stack.pending = stack.pending or stack.memory.get("unknown pods")
    found: list[Pod] = stack.memory["pods"]
    return found
