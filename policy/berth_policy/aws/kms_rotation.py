"""Keys of KMS are rotated, and not gone at once."""

from collections.abc import Iterator

from berth_policy.reading import expect, has, off, on, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource

_SYMMETRIC = "SYMMETRIC_DEFAULT"
_LEAST_DAYS = 14


def check(resource: Resource) -> Iterator[Finding]:
    """Look at rotation, at the days before a deletion, and whether the key is on."""
    props = resource.props
    spec = props.get("customerMasterKeySpec") or _SYMMETRIC
    usage = props.get("keyUsage") or "ENCRYPT_DECRYPT"
    if spec == _SYMMETRIC and usage == "ENCRYPT_DECRYPT":
        yield from expect(props, "enableKeyRotation", on, "true", "false")
    if off(props.get("isEnabled")):
        yield Finding("isEnabled is false", "true, or no key")
    if has(props, "deletionWindowInDays"):
        days = props.get("deletionWindowInDays")
        if not isinstance(days, int | float) or days < _LEAST_DAYS:
            yield Finding(f"deletionWindowInDays is {said(days)}", f"{_LEAST_DAYS} to 30")


RULE = Rule(
    name="kms-rotation",
    group="aws",
    title="A key of KMS is rotated every year, and its deletion can be taken back for two weeks.",
    why="What one key has encrypted is lost with it, or open with it.",
    fix="Set enableKeyRotation to true and deletionWindowInDays to 30.",
    types=("aws:kms/key:",),
    answers=("CIS AWS 4.6", "CKV_AWS_7", "CKV_AWS_227"),
    check=check,
)
