"""Who may come in is named."""

from collections.abc import Iterator

from berth_policy.checks import PUBLIC, said
from berth_policy.kubernetes import Object, objects
from berth_policy.network._addresses import is_everybody
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, mapping, sequence, survey

WANTED = f"named ranges or namespaces, or the annotation {PUBLIC} that says why everybody"


def check(resource: Resource) -> Iterator[Finding]:
    """Look at whom each policy lets in."""
    for policy in objects(resource):
        if policy.kind == "NetworkPolicy" and not said(policy, PUBLIC):
            rules = list(enumerate(sequence(policy.spec.get("ingress"))))
            yield from survey(rules, lambda rule, policy=policy: _look(policy, *rule))  # type: ignore[misc]


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
    fix="Name address ranges or namespaces; where everybody is meant, say why in the annotation.",
    types=("kubernetes:networking.k8s.io/", "kubernetes:extensions/"),
    check=check,
)
