"""A GKE cluster is in a network that was made for it."""

from collections.abc import Iterator

from berth_policy.google._nodes import CLUSTER
from berth_policy.reading import has, peek
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource


def check(resource: Resource) -> Iterator[Finding]:
    """Look at both names."""
    for key in ("network", "subnetwork"):
        name = peek(resource.props, key)
        if not has(resource.props, key):
            yield Finding(f"{key} is absent, so the project's default", "one of its own")
        elif name is not None and str(name).rpartition("/")[2] in {"default", ""}:
            yield Finding(f"{key} is {name!r}", "one of its own")


RULE = Rule(
    name="gke-own-network",
    group="google",
    title="A GKE cluster is not in the project's default network.",
    why="The default network lets SSH and RDP in from everywhere, and everything in it talk to everything.",
    fix="Make a network and a subnet, and name both.",
    types=(CLUSTER,),
    answers=("CIS GCP 3.1",),
    check=check,
)
