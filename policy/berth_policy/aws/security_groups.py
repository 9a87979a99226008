"""Nothing lets the internet in."""

from collections.abc import Iterator
from typing import Any

from berth_policy.reading import anywhere, items, one_or_many, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, mapping, survey

_KEYS = ("cidrBlocks", "ipv6CidrBlocks", "cidrBlock", "ipv6CidrBlock", "cidrIpv4", "cidrIpv6", "cidr")
_GROUPS = ("aws:ec2/securityGroup:", "aws:ec2/defaultSecurityGroup:", "aws:ec2/networkAcl:")
_RULES = ("aws:ec2/securityGroupRule:", "aws:ec2/networkAclRule:", "aws:vpc/securityGroupIngressRule:")
_LISTS = ("aws:ec2/managedPrefixList:", "aws:ec2/managedPrefixListEntry:")


def check(resource: Resource) -> Iterator[Finding]:
    """Look at everything that comes in: groups, rules of their own, lists of addresses that both may name."""
    props = resource.props
    if resource.token.startswith(_GROUPS):
        yield from survey([(f"ingress[{number}].", one) for number, one in items(props, "ingress")], _entry)
    elif resource.token.startswith(_LISTS):
        entries = [(f"entries[{number}].", one) for number, one in items(props, "entries")]
        yield from survey(entries or [("", props)], _entry)
    elif not _goes_out(resource):
        yield from _entry(("", props))


def _goes_out(resource: Resource) -> bool:
    if resource.token.startswith("aws:ec2/securityGroupRule:"):
        return bool(resource.props.get("type") == "egress")
    return resource.token.startswith("aws:ec2/networkAclRule:") and bool(resource.props.get("egress"))


def _entry(place: tuple[str, Any]) -> Iterator[Finding]:
    where, entry = place
    entry = mapping(entry)
    if "deny" in {entry.get(key) for key in ("action", "ruleAction") if key in [*entry]}:
        return
    yield from survey(
        [(f"{where}{key}", value) for key in _KEYS if key in [*entry] for value in one_or_many(entry[key])],
        lambda one: (
            [Finding(f"{one[0]} is {said(one[1])}", "addresses of your own networks, or a security group")]
            if anywhere(one[1])
            else []
        ),
    )


RULE = Rule(
    name="aws-open-security-groups",
    group="aws",
    title="No security group, network ACL or prefix list lets the internet in.",
    why="Engines, exporters and the API server answer whoever reaches their port.",
    fix="Name the addresses or the security group that need it; clients come in through a load balancer.",
    types=(*_GROUPS, *_RULES, *_LISTS),
    answers=(
        "CIS AWS 6.2",
        "CIS AWS 6.3",
        "CIS AWS 6.4",
        "CKV_AWS_24",
        "CKV_AWS_25",
        "CKV_AWS_260",
        "CKV_AWS_277",
    ),
    check=check,
)
