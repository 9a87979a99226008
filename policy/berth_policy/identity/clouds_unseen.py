"""Nothing passes because nobody looks at it."""

from collections.abc import Iterator

from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource

_UNSEEN = ("aws-native:", "google-native:", "azure:", "azure-native:", "oci:", "alicloud:", "ibm:")


def check(resource: Resource) -> Iterator[Finding]:
    """Report what no rule of this pack knows."""
    package = resource.token.partition(":")[0]
    yield Finding(
        f"no rule here knows resources of {package}", "the same of aws or gcp, or another pack beside"
    )


RULE = Rule(
    name="clouds-unseen",
    group="identity",
    title="Resources of clouds are of the packages aws and gcp, which rules here know.",
    why="A role or a disk of another package would pass, since nobody looks at it.",
    fix="Use pulumi-aws or pulumi-gcp; or except the object, and run a pack that judges it.",
    levels={"local": "disabled", "development": "advisory", "production": "mandatory"},
    types=_UNSEEN,
    check=check,
)
