"""No pod reaches the node's credentials."""

from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.kubernetes import Object, objects
from berth_policy.network._addresses import METADATA, holds_metadata, network
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, mapping, sequence, survey

DNS = 53
WANTED = "169.254.169.254 and fd00:ec2::254 excluded"


def check(resource: Resource) -> Iterator[Finding]:
    """Look at where each policy lets pods go."""
    for policy in objects(resource):
        if policy.kind == "NetworkPolicy":
            rules = list(enumerate(sequence(policy.spec.get("egress"))))
            yield from survey(rules, lambda rule, policy=policy: _look(policy, *rule))  # type: ignore[misc]


def _look(policy: Object, number: int, rule: object) -> Iterator[Finding]:
    body = mapping(rule)
    path = f"{policy.path}spec.egress[{number}]"
    peers = sequence(body.get("to"))
    if not peers:
        yield Finding(f"{path} allows every address", WANTED)
    for place, peer in enumerate(peers):
        block = mapping(mapping(peer).get("ipBlock"))
        cidr = block.get("cidr")
        if cidr is None or _is_dns(cidr, body):
            continue
        if holds_metadata(cidr, sequence(block.get("except"))):
            yield Finding(f"{path}.to[{place}].ipBlock allows a metadata server within {cidr}", WANTED)


def _is_dns(cidr: object, rule: Mapping[str, Any]) -> bool:
    """Whether it is the metadata server's own DNS, which GKE's nodes use, and nothing else of it."""
    ports = [mapping(one).get("port") for one in sequence(rule.get("ports"))]
    return network(cidr) in METADATA and bool(ports) and all(port == DNS for port in ports)


RULE = Rule(
    name="network-metadata",
    group="network",
    title="No policy lets pods reach a cloud's metadata server.",
    why="It hands the node's credentials to whoever asks, and a prompt or a model file may make a pod ask.",
    fix="Exclude 169.254.169.254/32 and fd00:ec2::254/128 in ipBlock.except, or name the destinations.",
    types=("kubernetes:networking.k8s.io/", "kubernetes:extensions/"),
    check=check,
)
