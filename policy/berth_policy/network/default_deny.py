"""In a namespace, nothing talks unless a policy says so."""

from collections.abc import Iterator

from berth_policy.checks import all_pods, declared
from berth_policy.kubernetes import KUBERNETES, Object, Pod
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, mapping, sequence, survey

DIRECTIONS = ("Ingress", "Egress")
_SYSTEM = ("kube-system", "kube-public", "kube-node-lease")
"""Namespaces of the cluster itself: who denies everything there ends it."""


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each namespace that the stack declares pods in, and at each one that it declares."""
    spaces = {one.name: one for one in declared(stack, "Namespace") if one.name}
    used: dict[str, Object] = {}
    yield from survey(all_pods(stack), lambda pod: _use(pod, used))
    closed: dict[str, set[str]] = {}
    for policy in declared(stack, "NetworkPolicy"):
        closed.setdefault(policy.namespace, set()).update(_closes(policy))
    for name, pod in used.items():
        missing = [one for one in DIRECTIONS if one not in closed.get(name, set())]
        if missing:
            found = f"namespace {name} has no policy that denies all {' and '.join(missing).lower()}"
            wanted = "a NetworkPolicy with an empty podSelector, both policyTypes and no rules"
            yield Finding(found, wanted, (spaces.get(name) or pod).resource)


def _use(pod: Pod, used: dict[str, Object]) -> Iterator[Finding]:
    if not pod.spec.get("hostNetwork") and pod.namespace not in _SYSTEM:
        used.setdefault(pod.namespace, pod.object)
    yield from ()


def _closes(policy: Object) -> set[str]:
    """The directions that a policy denies to every pod of its namespace."""
    selector = policy.spec.get("podSelector")
    if selector is None or mapping(mapping(selector).get("matchLabels")):
        return set()
    if sequence(mapping(selector).get("matchExpressions")):
        return set()
    types = sequence(policy.spec.get("policyTypes"))
    return {one for one in DIRECTIONS if one in types and not sequence(policy.spec.get(one.lower()))}


RULE = Rule(
    name="network-default-deny",
    group="network",
    title="In every namespace, what no policy allows is denied, both ways.",
    why="Pods that no policy selects take connections from everybody and may call anybody.",
    fix="Declare a NetworkPolicy for all pods of the namespace, with both policyTypes and no rules.",
    types=KUBERNETES,
    answers=("CIS Kubernetes 2.0.1 5.3.2",),
    check_stack=check,
)
