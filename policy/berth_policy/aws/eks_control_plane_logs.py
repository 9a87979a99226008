"""EKS' control plane writes all its logs."""

from collections.abc import Iterator

from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, sequence

LOGS = ("api", "audit", "authenticator", "controllerManager", "scheduler")
"""Every log there is (LogType in EKS' API, botocore 1.44.5)."""


def check(resource: Resource) -> Iterator[Finding]:
    """Look for each of the five."""
    written = [*sequence(resource.props.get("enabledClusterLogTypes"))]
    missing = [one for one in LOGS if one not in written]
    if missing:
        yield Finding(f"enabledClusterLogTypes lacks {', '.join(missing)}", f"all of {', '.join(LOGS)}")


RULE = Rule(
    name="eks-control-plane-logs",
    group="aws",
    title="An EKS cluster writes all logs of its control plane.",
    why="Without the audit log nobody can say afterwards who did what.",
    fix="Name all five in enabledClusterLogTypes.",
    types=("aws:eks/cluster:",),
    answers=("CIS EKS 2.1.1", "CKV_AWS_37"),
    check=check,
)
