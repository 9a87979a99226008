"""Network policies name ports, and whom they let in or out by more than an empty selector."""

from collections.abc import Iterator
from typing import Any

from berth_policy.kubernetes import KUBERNETES, Object, objects
from berth_policy.reading import has
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at, sequence, survey

_WAYS = (("ingress", "from"), ("egress", "to"))


def check(resource: Resource) -> Iterator[Finding]:
    """Look at each entry of each policy."""
    for one in objects(resource):
        if one.kind == "NetworkPolicy":
            yield from survey(
                [
                    (one, f"{one.path}spec.{way}[{number}]", peers, entry)
                    for way, peers in _WAYS
                    if has(one.spec, way)
                    for number, entry in enumerate(sequence(one.spec.get(way)))
                ],
                _entry,
            )


def _entry(place: tuple[Object, str, str, Any]) -> Iterator[Finding]:
    _, path, peers, entry = place
    ports = [*sequence(at(entry, "ports"))]
    if not ports or any(at(one, "port") is None for one in ports):
        yield Finding(f"{path} names no port, so every one", "the ports that are needed")
    for number, peer in enumerate(sequence(at(entry, peers))):
        if not has(peer, "namespaceSelector"):
            continue
        if not _selects(at(peer, "namespaceSelector")) and not _selects(at(peer, "podSelector")):
            found = f"{path}.{peers}[{number}] selects every pod of every namespace"
            yield Finding(found, "a namespace or pods, by labels")


def _selects(selector: object) -> bool:
    return bool(at(selector, "matchLabels") or at(selector, "matchExpressions"))


RULE = Rule(
    name="network-ports-named",
    group="network",
    title="Entries of network policies name their ports, and pods or namespaces by labels.",
    why="What a container opens later, such as a debugger, is reached from its first minute.",
    fix="Name the ports; select by labels.",
    types=KUBERNETES,
    check=check,
)
