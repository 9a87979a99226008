"""Node groups start from a template of ours, and nobody logs in to them."""

from collections.abc import Iterator

from berth_policy.reading import has
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the template and at remote access."""
    if has(resource.props, "remoteAccess"):
        yield Finding("remoteAccess is given", "nothing: nodes are replaced, not logged in to")
    template = ("launchTemplate", "id"), ("launchTemplate", "name")
    if not any(has(resource.props, *path) for path in template):
        yield Finding("launchTemplate is absent, so EKS' own is taken", "one that says how machines start")


RULE = Rule(
    name="eks-nodes",
    group="aws",
    title="Node groups of EKS start from a launch template, without SSH.",
    why="EKS' own template lets pods reach the node's credentials; SSH without a security group is open "
    "to 0.0.0.0/0.",
    fix="Name a launch template; look at a node by Session Manager or kubectl debug.",
    types=("aws:eks/nodeGroup:",),
    answers=("CKV_AWS_100",),
    check=check,
)
