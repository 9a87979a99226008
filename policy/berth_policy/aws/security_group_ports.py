"""A security group names the ports that it opens."""

from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.reading import items, on
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, mapping, survey
from berth_policy.units import number

_MOST = 100
"""Most ports that one entry may open."""
_ALL_PORTS = 65535
_ALL = {"-1", "all"}


def check(resource: Resource) -> Iterator[Finding]:
    """Look at protocols and ranges of ports."""
    if resource.token.startswith("aws:ec2/securityGroup:"):
        yield from survey(
            [(f"ingress[{number}]", mapping(one)) for number, one in items(resource.props, "ingress")], _entry
        )
    elif resource.props.get("type", "ingress") == "ingress":
        yield from _entry(("the rule", resource.props))


def _entry(place: tuple[str, Mapping[str, Any]]) -> Iterator[Finding]:
    where, entry = place
    if on(entry.get("self")):
        return
    protocol = str(entry.get("protocol", entry.get("ipProtocol", ""))).lower()
    if protocol in _ALL:
        yield Finding(f"{where} opens all protocols", "the protocol that is needed")
        return
    if protocol not in {"tcp", "udp", "6", "17"}:
        return
    first, last = number(entry.get("fromPort"), 0), number(entry.get("toPort"), _ALL_PORTS)
    if last - first >= _MOST or first <= 0:
        yield Finding(f"{where} opens ports {first:g} to {last:g}", "the port that is needed")


RULE = Rule(
    name="aws-security-group-ports",
    group="aws",
    title="A security group names the protocol and the ports that it opens.",
    why="What is added to a machine later is open from its first minute.",
    fix="Name one port, or a short range.",
    types=("aws:ec2/securityGroup:", "aws:ec2/securityGroupRule:", "aws:vpc/securityGroupIngressRule:"),
    answers=("CKV_AWS_277",),
    check=check,
)
