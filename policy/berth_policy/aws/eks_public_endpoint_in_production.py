"""In production EKS' API server has no public endpoint at all."""

from collections.abc import Iterator

from berth_policy.reading import expect, off
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource


def check(resource: Resource) -> Iterator[Finding]:
    """Look whether the public endpoint is there."""
    yield from expect(resource.props, "vpcConfig.endpointPublicAccess", off, "false", "true")


RULE = Rule(
    name="eks-public-endpoint-in-production",
    group="aws",
    title="In production the API server of an EKS cluster has no public endpoint.",
    why="Addresses change owners, and a list of them is never shortened.",
    fix="Set vpcConfig.endpointPublicAccess to false and come in through the VPC.",
    levels={"local": "disabled", "development": "disabled", "production": "advisory"},
    types=("aws:eks/cluster:",),
    answers=("CIS EKS 5.4.2", "CKV_AWS_39"),
    check=check,
)
