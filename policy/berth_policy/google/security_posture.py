"""Google looks at what runs in production."""

from collections.abc import Iterator

from berth_policy.google._nodes import CLUSTER
from berth_policy.reading import said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the mode."""
    mode = at(resource.props, "securityPostureConfig", "mode")
    if mode not in ("BASIC", "ENTERPRISE"):
        yield Finding(f"securityPostureConfig.mode is {said(mode)}", "'BASIC' or 'ENTERPRISE'")


RULE = Rule(
    name="gke-security-posture",
    group="google",
    title="GKE's security posture is on in production.",
    why="What becomes wrong after the deployment, such as a hole that is found in an image, shows there.",
    fix="Set securityPostureConfig.mode to BASIC, which costs nothing.",
    levels={"local": "disabled", "development": "advisory", "production": "mandatory"},
    types=(CLUSTER,),
    answers=("CIS GKE 5.10.4",),
    check=check,
)
