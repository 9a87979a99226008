"""Whoever may come in comes to a port."""

from collections.abc import Iterator

from berth_policy.kubernetes import objects
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, mapping, sequence


def check(resource: Resource) -> Iterator[Finding]:
    """Look at each rule of each policy."""
    for policy in objects(resource):
        if policy.kind != "NetworkPolicy":
            continue
        for key in ("ingress", "egress"):
            for number, rule in enumerate(sequence(policy.spec.get(key))):
                ports = [mapping(one).get("port") for one in sequence(mapping(rule).get("ports"))]
                if not ports or not all(ports):
                    yield Finding(f"{policy.path}spec.{key}[{number}] allows every port", "ports by number")


RULE = Rule(
    name="network-ports",
    group="network",
    title="Network policies name ports.",
    why="A rule without ports also opens what listens for the pod's own use: an engine, metrics, a debugger.",
    fix="Name the ports that the peers need.",
    types=("kubernetes:networking.k8s.io/", "kubernetes:extensions/"),
    check=check,
)
