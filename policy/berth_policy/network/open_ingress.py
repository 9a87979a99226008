"""Who may come in is named."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from berth_policy.checks import PUBLIC, said
from berth_policy.kubernetes import Object, objects
from berth_policy.network._addresses import is_everybody
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, mapping, sequence, survey

WANTED = f"named ranges or namespaces, or the annotation {PUBLIC} that says why everybody"


def check(resource: Resource) -> Iterator[Finding]:
    """Look at whom each policy lets in."""
    for policy in objects(resource):
        if policy.kind != "NetworkPolicy":
            continue
        rules = list(enumerate(sequence(policy.spec.get("ingress"))))
        if said(policy, PUBLIC):
            rules = _open(rules)[1:]
        yield from survey(rules, lambda rule, policy=policy: _look(policy, *rule))  # type: ignore[misc]


def _open(rules: Sequence[tuple[int, object]]) -> list[tuple[int, object]]:
    """The rules that let everybody in: a reason for it is for one of them."""
    return [rule for rule in rules if _lets_everybody_in(mapping(rule[1]))]


def _lets_everybody_in(rule: Mapping[str, Any]) -> bool:
    peers = sequence(rule.get("from"))
    return not peers or any(
        cidr is not None and is_everybody(cidr)
        for cidr in (mapping(mapping(peer).get("ipBlock")).get("cidr") for peer in peers)
    )


def _look(policy: Object, number: int, rule: object) -> Iterator[Finding]:
    path = f"{policy.path}spec.ingress[{number}]"
    body = mapping(rule)
    peers = sequence(body.get("from"))
    if not mapping(policy.spec.get("podSelector")):
        yield Finding(f"{path} opens every pod of the namespace", "a podSelector of the pods that are meant")
    if not peers:
        yield Finding(f"{path} lets everybody in", WANTED)
    for place, peer in enumerate(peers):
        cidr = mapping(mapping(peer).get("ipBlock")).get("cidr")
        if cidr is not None and is_everybody(cidr):
            yield Finding(f"{path}.from[{place}] lets {cidr} in", WANTED)
        selectors = [mapping(peer).get(key) for key in ("namespaceSelector", "podSelector")]
        if cidr is None and not any(mapping(one) for one in selectors):
            yield Finding(f"{path}.from[{place}] lets every pod of its namespaces in", WANTED)


RULE = Rule(
    name="network-open-ingress",
    group="network",
    title="Network policies let in whom they name, not everybody.",
    why="A model server that everybody reaches is used by everybody.",
    fix=(
        "Name address ranges or namespaces; where everybody is meant, say why in the annotation, which is "
        "for one rule of the policy."
    ),
    types=("kubernetes:networking.k8s.io/", "kubernetes:extensions/"),
    check=check,
)
