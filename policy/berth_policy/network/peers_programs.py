"""A network policy names the pods that it means, wherever the stack itself declares them."""

from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.checks import all_pods, declared
from berth_policy.kubernetes import KUBERNETES, Object
from berth_policy.reading import has, said
from berth_policy.rule import Finding, Rule
from berth_policy.scaling import selects
from berth_policy.subject import Stack, at, mapping, sequence, survey

NAMESPACE = "kubernetes.io/metadata.name"
PROGRAM = ("app.kubernetes.io/name", "app.kubernetes.io/instance")
_WAYS = (("ingress", "from"), ("egress", "to"))
_SYSTEM = frozenset({"kube-system", "kube-public", "kube-node-lease"})
"""Where DNS and what speaks for API servers is, under labels that differ by cluster."""


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each peer of each network policy."""
    yield from survey(
        [
            (policy, f"{policy.path}spec.{way}[{number}].{peers}[{place}]", mapping(peer))
            for policy in declared(stack, "NetworkPolicy")
            for way, peers in _WAYS
            if has(policy.spec, way)
            for number, entry in enumerate(sequence(policy.spec.get(way)))
            for place, peer in enumerate(sequence(at(entry, peers)))
        ],
        lambda place: _look(stack, *place),
    )


def _look(stack: Stack, policy: Object, path: str, peer: Mapping[str, Any]) -> Iterator[Finding]:
    if has(peer, "ipBlock"):
        return
    own = not has(peer, "namespaceSelector")
    where = policy.namespace if own else at(peer, "namespaceSelector", "matchLabels", NAMESPACE)
    if where is None or where in _SYSTEM:
        return
    selector = mapping(peer.get("podSelector"))
    labels = mapping(selector.get("matchLabels"))
    there = [pod for pod in all_pods(stack) if pod.namespace == where]
    if not labels and not sequence(selector.get("matchExpressions")):
        if there or own:
            found = f"{path} is every pod of namespace {where}, whose pods the stack declares"
            yield Finding(found, "a podSelector with the labels of those that are meant", policy.resource)
        return
    if not own or not any(key in labels for key in PROGRAM) or not _instanced(policy):
        return
    meant = [pod for pod in there if selects(selector, pod.labels)]
    for key in PROGRAM:
        if key not in labels and meant and all(key in pod.labels for pod in meant):
            found = f"{path}.podSelector lacks {key}, by which it means {_names(key, meant)}"
            yield Finding(found, "both name and instance: either is of several programs", policy.resource)


def _instanced(policy: Object) -> bool:
    """Whether a policy says which instance of a program it belongs to, so that there may be several."""
    return bool(at(policy.metadata, "labels", PROGRAM[1]))


def _names(key: str, meant: list[Any]) -> str:
    return ", ".join(sorted({said(pod.labels[key]) for pod in meant}))


RULE = Rule(
    name="network-peers-programs",
    group="network",
    title="Network policies name the pods that they mean, wherever the stack declares them.",
    why="A peer that is a whole namespace lets in, or reaches, whatever is put there next.",
    fix="Add a podSelector with app.kubernetes.io/name and app.kubernetes.io/instance.",
    types=KUBERNETES,
    check_stack=check,
)
