"""Nobody asks GKE's API server anything without saying who they are."""

from collections.abc import Iterator

from berth_policy.google._nodes import CLUSTER
from berth_policy.reading import expect
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the mode of anonymous requests."""
    yield from expect(
        resource.props,
        "anonymousAuthenticationConfig.mode",
        lambda value: value == "LIMITED",
        "'LIMITED'",
        "ENABLED",
    )


RULE = Rule(
    name="gke-anonymous-access",
    group="google",
    title="Anonymous requests to a GKE cluster reach the health checks only.",
    why="One role binding to system:anonymous or system:unauthenticated opens the cluster to everybody.",
    fix="Set anonymousAuthenticationConfig.mode to LIMITED.",
    types=(CLUSTER,),
    check=check,
)
