"""Nodes answer for their credentials by IMDSv2 only."""

from collections.abc import Iterator

from berth_policy.aws._machines import TYPES
from berth_policy.reading import expect
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource


def check(resource: Resource) -> Iterator[Finding]:
    """Look at how the metadata service is reached."""
    yield from expect(
        resource.props,
        "metadataOptions.httpTokens",
        lambda value: value == "required",
        "'required'",
        "the image or the account decides",
    )


RULE = Rule(
    name="aws-imdsv2",
    group="aws",
    title="Machines give their credentials to IMDSv2 only.",
    why="IMDSv1 hands the node's role to whoever can make a process on it fetch a URL.",
    fix="Set metadataOptions.httpTokens to required.",
    types=TYPES,
    answers=("CIS AWS 6.7", "CKV_AWS_79"),
    check=check,
)
