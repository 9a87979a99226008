"""A node's credentials stay on the node."""

from collections.abc import Iterator

from berth_policy.aws._machines import TYPES
from berth_policy.reading import expect
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource


def check(resource: Resource) -> Iterator[Finding]:
    """Look at how far answers of the metadata service go."""
    yield from expect(
        resource.props,
        "metadataOptions.httpPutResponseHopLimit",
        lambda value: value == 1,
        "1",
        "the image or the account decides, 2 for images of EKS",
    )


RULE = Rule(
    name="aws-imds-hop-limit",
    group="aws",
    title="A machine's metadata service answers over one hop, so not to pods.",
    why="A pod's packets take a second hop: with a limit of 2 every pod can act as the node.",
    fix="Set metadataOptions.httpPutResponseHopLimit to 1; give pods that call AWS an identity of their own.",
    types=TYPES,
    answers=("CKV_AWS_341",),
    check=check,
)
