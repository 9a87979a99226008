"""Network policies say whom they let in and out."""

from collections.abc import Iterator

from berth_policy.kubernetes import objects
from berth_policy.reading import has
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at, sequence, survey

_WAYS = (("ingress", "from"), ("egress", "to"))


def check(resource: Resource) -> Iterator[Finding]:
    """Look at each peer that is chosen by its namespace."""
    for one in objects(resource):
        if one.kind == "NetworkPolicy":
            yield from survey(
                [
                    (f"{one.path}spec.{way}[{number}].{peers}[{place}]", peer)
                    for way, peers in _WAYS
                    if has(one.spec, way)
                    for number, entry in enumerate(sequence(one.spec.get(way)))
                    for place, peer in enumerate(sequence(at(entry, peers)))
                ],
                _peer,
            )


def _peer(place: tuple[str, object]) -> Iterator[Finding]:
    path, peer = place
    chosen = has(peer, "namespaceSelector")
    if chosen and not _selects(peer, "namespaceSelector") and not _selects(peer, "podSelector"):
        yield Finding(f"{path} selects every pod of every namespace", "a namespace or pods, by labels")


def _selects(peer: object, key: str) -> bool:
    return bool(at(peer, key, "matchLabels") or at(peer, key, "matchExpressions"))


RULE = Rule(
    name="network-peers-named",
    group="network",
    title="Network policies choose namespaces or pods by labels, not all of them.",
    why="An empty selector is the whole cluster: every tenant, and every pod that is taken over.",
    fix="Select by labels, such as kubernetes.io/metadata.name.",
    types=("kubernetes:networking.k8s.io/",),
    check=check,
)
