"""Images in ECR are scanned and never change under their name."""

from collections.abc import Iterator

from berth_policy.reading import expect, on
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource

_FIXED = {"IMMUTABLE", "IMMUTABLE_WITH_EXCLUSION"}


def check(resource: Resource) -> Iterator[Finding]:
    """Look at scanning and at tags."""
    yield from expect(resource.props, "imageScanningConfiguration.scanOnPush", on, "true", "false")
    yield from expect(
        resource.props,
        "imageTagMutability",
        lambda value: isinstance(value, str) and value in _FIXED,
        "'IMMUTABLE'",
        "MUTABLE",
    )


RULE = Rule(
    name="ecr-repositories",
    group="aws",
    title="A repository of ECR scans what is pushed, and its tags cannot be moved.",
    why="Whoever can push moves a tag that production runs.",
    fix="Set imageScanningConfiguration.scanOnPush to true and imageTagMutability to IMMUTABLE.",
    types=("aws:ecr/repository:",),
    answers=("CIS EKS 5.1.1", "CKV_AWS_163", "CKV_AWS_51"),
    check=check,
)
