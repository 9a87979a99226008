"""A SageMaker endpoint in production goes back by itself, and shifts its load in parts."""

from collections.abc import Iterator

from berth_policy.reading import has, said
from berth_policy.rule import IN_PRODUCTION, Finding, Rule
from berth_policy.subject import Resource, at, sequence

_ALARMS = ("deploymentConfig", "autoRollbackConfiguration", "alarms")


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the alarms, and how an update goes on."""
    alarms = sequence(at(resource.props, *_ALARMS))
    if not [one for one in alarms if has(one, "alarmName")]:
        yield Finding(f"{'.'.join(_ALARMS)} is {said(alarms or None)}", "one that sees errors of clients")
    config = at(resource.props, "deploymentConfig")
    if not has(config, "rollingUpdatePolicy") and not has(config, "blueGreenUpdatePolicy"):
        yield Finding("deploymentConfig names no policy, so all traffic moves at once", "a policy in parts")
    size = at(config, "rollingUpdatePolicy", "maximumBatchSize")
    if size is not None:
        value = size.get("value")
        whole = size.get("type") != "CAPACITY_PERCENT"
        if not isinstance(value, int | float) or value <= 0 or (not whole and value > 50):  # noqa: PLR2004
            yield Finding(
                f"rollingUpdatePolicy.maximumBatchSize.value is {said(value)}", "50 per cent at most"
            )
    wait = at(config, "rollingUpdatePolicy", "waitIntervalInSeconds")
    if size is not None and not wait:
        yield Finding("rollingUpdatePolicy.waitIntervalInSeconds is 0", "long enough for an alarm to fire")


RULE = Rule(
    name="sagemaker-rollback",
    group="aws",
    title="An update of a SageMaker endpoint in production shifts load in parts and goes back on an alarm.",
    why="A model that answers wrongly takes all clients at once otherwise, until somebody looks.",
    fix="Give deploymentConfig a policy, and autoRollbackConfiguration the alarms.",
    levels=IN_PRODUCTION,
    types=("aws:sagemaker/endpoint:",),
    check=check,
)
