"""A model server that goes to the internet goes there only."""

import ipaddress
from collections.abc import Iterator

from berth_policy.kubernetes import Object, objects
from berth_policy.reading import has
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at, sequence, survey

_PRIVATE = {
    4: ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"),
    6: ("fc00::/7", "fe80::/10"),
}
"""What is nobody's in the internet (RFC 1918, 6598, 1122, 3927, 4193, 4291)."""
_NAME = "app.kubernetes.io/name"
_SERVER = "model-server"


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the widest destinations of model servers' policies."""
    for one in objects(resource):
        selects = at(one.spec, "podSelector", "matchLabels", _NAME)
        ours = selects == _SERVER or at(one.metadata, "labels", _NAME) == _SERVER
        if one.kind == "NetworkPolicy" and ours and has(one.spec, "egress"):
            yield from survey(
                [
                    (one, f"{one.path}spec.egress[{number}].to[{place}].ipBlock", at(peer, "ipBlock"))
                    for number, entry in enumerate(sequence(one.spec.get("egress")))
                    for place, peer in enumerate(sequence(at(entry, "to")))
                ],
                _block,
            )


def _block(place: tuple[Object, str, object]) -> Iterator[Finding]:
    _, path, block = place
    cidr = at(block, "cidr")
    try:
        network = ipaddress.ip_network(str(cidr))
        spared = [ipaddress.ip_network(str(one)) for one in sequence(at(block, "except"))]
    except ValueError:
        return
    if network.prefixlen:
        return
    for text in _PRIVATE[network.version]:
        private = ipaddress.ip_network(text)
        if not any(
            private.version == one.version and private.subnet_of(one)  # type: ignore[arg-type]
            for one in spared
        ):
            yield Finding(f"{path} lets a model server reach {text}", f"{text} in except")


RULE = Rule(
    name="network-model-egress",
    group="network",
    title="A model server that fetches weights from the internet reaches no private network.",
    why="A server that is taken over is inside: databases, dashboards and other tenants are one hop away.",
    fix="Except private ranges in ipBlock, or name the one destination.",
    types=("kubernetes:networking.k8s.io/",),
    check=check,
)
