"""A VPC's default security group lets nothing through."""

from collections.abc import Iterator

from berth_policy.reading import has, made_from
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, Stack, sequence, survey

_DEFAULT = "aws:ec2/defaultSecurityGroup:"


def check(stack: Stack) -> Iterator[Finding]:
    """Look for the group of each VPC, and for what it lets through."""
    closed = stack.of(_DEFAULT)
    yield from survey(closed, _empty)
    vpcs = stack.of("aws:ec2/vpc:")
    taken = {urn for one in closed if has(one.props, "vpcId") for urn in one.references.get("vpcId", ())}
    for vpc in vpcs:
        by_id = (
            len(vpcs) == len(closed) == 1
            and has(closed[0].props, "vpcId")
            and not made_from(closed[0], "vpcId", "aws:ec2/vpc:")
        )
        if vpc.urn not in taken and not by_id:
            yield Finding("its default security group is not declared", "one without ingress and egress", vpc)


def _empty(group: Resource) -> Iterator[Finding]:
    for key in ("ingress", "egress"):
        if has(group.props, key) and sequence(group.props.get(key)):
            yield Finding(f"{key} is not empty", "none", group)


RULE = Rule(
    name="aws-default-security-group",
    group="aws",
    title="The default security group of a VPC lets nothing through.",
    why="Whatever is started without a group of its own is in it, and may talk to all others there.",
    fix="Declare aws.ec2.DefaultSecurityGroup with the VPC's id and no rules.",
    types=("aws:ec2/vpc:", _DEFAULT),
    answers=("CIS AWS 6.5", "CKV2_AWS_12"),
    check_stack=check,
)
