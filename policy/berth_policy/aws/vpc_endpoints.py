"""Calls to AWS from a VPC take the VPC's own way, where there is one."""

from collections.abc import Iterator

from berth_policy.reading import expect, on
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource


def check(resource: Resource) -> Iterator[Finding]:
    """Look whether the service's name leads to the endpoint."""
    if resource.props.get("vpcEndpointType") == "Interface":
        yield from expect(resource.props, "privateDnsEnabled", on, "true", "false")


RULE = Rule(
    name="aws-vpc-endpoints",
    group="aws",
    title="An interface endpoint answers for its service's own name.",
    why="Without private DNS every call still goes out through NAT, and the endpoint is only paid for.",
    fix="Set privateDnsEnabled to true.",
    types=("aws:ec2/vpcEndpoint:",),
    answers=("CIS AWS 6.8",),
    check=check,
)
