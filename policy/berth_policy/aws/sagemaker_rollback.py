"""A SageMaker endpoint in production goes back by itself, and shifts its load in parts."""

from collections.abc import Iterator

from berth_policy.reading import has, said
from berth_policy.rule import IN_PRODUCTION, Finding, Rule
from berth_policy.subject import Resource, at, sequence
from berth_policy.units import number

_LEAST_WAIT = 60
_ALARMS = ("deploymentConfig", "autoRollbackConfiguration", "alarms")


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the alarms, and how an update goes on."""
    alarms = sequence(at(resource.props, *_ALARMS))
    if not [one for one in alarms if has(one, "alarmName")]:
        yield Finding(f"{'.'.join(_ALARMS)} is {said(alarms or None)}", "one that sees errors of clients")
    config = at(resource.props, "deploymentConfig")
    if not has(config, "rollingUpdatePolicy") and not has(config, "blueGreenUpdatePolicy"):
        yield Finding("deploymentConfig names no policy, so all traffic moves at once", "a policy in parts")
    if has(config, "rollingUpdatePolicy") and not has(config, "rollingUpdatePolicy", "maximumBatchSize"):
        yield Finding("rollingUpdatePolicy.maximumBatchSize is absent", "50 per cent at most")
    size = at(config, "rollingUpdatePolicy", "maximumBatchSize")
    if size is not None:
        value = at(size, "value")
        whole = at(size, "type") != "CAPACITY_PERCENT"
        if not isinstance(value, int | float) or value <= 0 or (not whole and value > 50):  # noqa: PLR2004
            yield Finding(
                f"rollingUpdatePolicy.maximumBatchSize.value is {said(value)}", "50 per cent at most"
            )
    wait = at(config, "rollingUpdatePolicy", "waitIntervalInSeconds")
    if size is not None and number(wait, 0) < _LEAST_WAIT:
        path = "rollingUpdatePolicy.waitIntervalInSeconds"
        yield Finding(f"{path} is {said(wait)}", f"{_LEAST_WAIT} at least: an alarm must have time to fire")


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
