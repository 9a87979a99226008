"""Who administers an EKS cluster is named, by entries of its own."""

from collections.abc import Iterator

from berth_policy.reading import expect, off
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, sequence

_MASTERS = "system:masters"


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the cluster's way of access, at entries and at what they are given."""
    props = resource.props
    if resource.token.startswith("aws:eks/cluster:"):
        yield from expect(
            props, "accessConfig.authenticationMode", lambda value: value == "API", "'API'", "CONFIG_MAP"
        )
        yield from expect(props, "accessConfig.bootstrapClusterCreatorAdminPermissions", off, "false", "true")
        return
    if _MASTERS in [*sequence(props.get("kubernetesGroups"))]:
        yield Finding(f"kubernetesGroups names {_MASTERS}", "a group of your own, with a role")
    principal = props.get("principalArn")
    if isinstance(principal, str) and ("*" in principal or principal.endswith(":root")):
        yield Finding(f"principalArn is {principal}", "one role or user")


RULE = Rule(
    name="eks-access",
    group="aws",
    title="People and programs get into an EKS cluster by an access entry each, none by system:masters.",
    why="What is in system:masters passes every authorisation and cannot be taken away by RBAC; whoever "
    "made the cluster stays its administrator for ever.",
    fix="Set authenticationMode API without bootstrap permissions, and one access entry for each principal.",
    types=("aws:eks/cluster:", "aws:eks/accessEntry:", "aws:eks/accessPolicyAssociation:"),
    answers=("CIS EKS 5.5.1", "CIS Kubernetes 5.1.7"),
    check=check,
)
