"""Network policies say whom they let in and out."""

from collections.abc import Iterator, Mapping

from berth_policy.kubernetes import objects
from berth_policy.reading import has
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at, sequence, survey

_EVERYBODYS = ("app.kubernetes.io/", "helm.sh/", "kubernetes.io/")
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
    if not has(peer, "namespaceSelector"):
        return
    namespace, pods = _selects(peer, "namespaceSelector"), _selects(peer, "podSelector")
    if not namespace and not pods:
        yield Finding(f"{path} selects every pod of every namespace", "a namespace or pods, by labels")
    elif not namespace and ("spec.ingress" in path or not _is_particular(peer)):
        # Whoever may make a pod somewhere gives it the labels. To go to pods by a label of one's own is
        # another thing: so a controller finds what it serves.
        yield Finding(
            f"{path} lets pods of every namespace in, by labels that anybody gives", "a namespace, too"
        )
    elif has(peer, "podSelector") and not pods:
        whole = "pods by labels, or no podSelector where a whole namespace is meant"
        yield Finding(f"{path} selects pods, and then every one", whole)


def _is_particular(peer: object) -> bool:
    """Whether pods are chosen by a label that not every program carries."""
    labels = at(peer, "podSelector", "matchLabels")
    keys = [str(key) for key in labels] if isinstance(labels, Mapping) else []
    return any("/" in key and not key.startswith(_EVERYBODYS) for key in keys)


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
