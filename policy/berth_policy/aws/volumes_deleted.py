"""Volumes of machines go with their machines."""

from collections.abc import Iterator

from berth_policy.reading import items, on, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at


def check(resource: Resource) -> Iterator[Finding]:
    """Look at each volume of a template."""
    for number, one in items(resource.props, "blockDeviceMappings"):
        deleted = at(one, "ebs", "deleteOnTermination")
        if at(one, "ebs") is not None and not on(deleted):
            path = f"blockDeviceMappings[{number}].ebs.deleteOnTermination"
            yield Finding(f"{path} is {said(deleted)}", "true")


RULE = Rule(
    name="aws-volumes-deleted",
    group="aws",
    title="A node's volumes are deleted with it.",
    why="Each node that comes and goes leaves a disk that is paid for, and that holds what it cached.",
    fix="Set deleteOnTermination to true.",
    types=("aws:ec2/launchTemplate:",),
    check=check,
)
