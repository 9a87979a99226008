"""Machines have no public address."""

from collections.abc import Iterator

from berth_policy.aws._machines import TYPES
from berth_policy.reading import items, on
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at, survey


def check(resource: Resource) -> Iterator[Finding]:
    """Look at subnets and at interfaces of machines."""
    if on(resource.props.get("mapPublicIpOnLaunch")):
        yield Finding("mapPublicIpOnLaunch is true", "false")
    if on(resource.props.get("associatePublicIpAddress")):
        yield Finding("associatePublicIpAddress is true", "false")
    if resource.token.startswith("aws:ec2/launchTemplate:"):
        yield from survey(
            items(resource.props, "networkInterfaces"),
            lambda place: (
                [Finding(f"networkInterfaces[{place[0]}].associatePublicIpAddress is true", "false")]
                if on(at(place[1], "associatePublicIpAddress"))
                else []
            ),
        )


RULE = Rule(
    name="aws-public-addresses",
    group="aws",
    title="Machines get no public address.",
    why="A node that the internet reaches is attacked on every port that anything on it opens.",
    fix="Leave the switch off; what must be reached comes in through a load balancer.",
    types=(*TYPES, "aws:ec2/subnet:", "aws:ec2/defaultSubnet:"),
    answers=("CKV_AWS_88", "CKV_AWS_130", "CKV_AWS_389", "CIS EKS 5.4.3"),
    check=check,
)
