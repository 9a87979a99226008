"""Nodes reach EKS' API server inside their VPC."""

from collections.abc import Iterator

from berth_policy.reading import expect, on
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource


def check(resource: Resource) -> Iterator[Finding]:
    """Look whether the private endpoint is there."""
    yield from expect(resource.props, "vpcConfig.endpointPrivateAccess", on, "true", "false")


RULE = Rule(
    name="eks-private-endpoint",
    group="aws",
    title="The API server of an EKS cluster has a private endpoint.",
    why="Nodes go out to the internet to reach their own control plane otherwise.",
    fix="Set vpcConfig.endpointPrivateAccess to true.",
    types=("aws:eks/cluster:",),
    answers=("CIS EKS 5.4.2",),
    check=check,
)
