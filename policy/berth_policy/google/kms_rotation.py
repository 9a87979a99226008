"""Keys of Cloud KMS are rotated every 90 days."""

from collections.abc import Iterator

from berth_policy.reading import has, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource

_MOST = 90 * 24 * 3600
_LEAST_HOLD = 24 * 3600


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the period of keys that encrypt; others have none."""
    props = resource.props
    if has(props, "destroyScheduledDuration"):
        hold = props.get("destroyScheduledDuration")
        if _seconds(hold) < _LEAST_HOLD:
            yield Finding(f"destroyScheduledDuration is {said(hold)}", "a day at least")
    if props.get("purpose") not in {None, "ENCRYPT_DECRYPT"}:
        return
    if not has(props, "rotationPeriod"):
        yield Finding("rotationPeriod is absent, so never", "7776000s (90 days) at most")
        return
    period = props.get("rotationPeriod")
    if not 0 < _seconds(period) <= _MOST:
        yield Finding(f"rotationPeriod is {said(period)}", "7776000s (90 days) at most")


def _seconds(value: object) -> float:
    try:
        return float(str(value).removesuffix("s"))
    except ValueError:
        return -1.0


RULE = Rule(
    name="google-kms-rotation",
    group="google",
    title="A key of Cloud KMS is rotated within 90 days.",
    why="What one version of a key has encrypted is open with it.",
    fix='Set rotationPeriod to "7776000s".',
    types=("gcp:kms/cryptoKey:",),
    answers=("CIS GCP 1.11", "CKV_GCP_43"),
    check=check,
)
