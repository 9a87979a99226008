"""Somebody, or a rollback, sees when a SageMaker endpoint fails."""

import math
from collections.abc import Iterator

from berth_policy.reading import peek, said
from berth_policy.rule import IN_PRODUCTION, Finding, Rule
from berth_policy.subject import Resource, Stack, at, survey
from berth_policy.units import number

_ALARM = "aws:cloudwatch/metricAlarm:"
_ENDPOINT = "aws:sagemaker/endpoint:"
_SPACE = "AWS/SageMaker"
_WANTED = ("Invocation5XXErrors", "ModelLatency")
_MOST = {"Invocation5XXErrors": 20, "ModelLatency": 120_000_000}
"""Highest thresholds: errors of a period, and microseconds."""
_LONGEST = 1800
"""Most seconds until an alarm fires."""


def check(stack: Stack) -> Iterator[Finding]:
    """Look at the alarms of SageMaker, and which of them each endpoint has."""
    alarms = [one for one in stack.of(_ALARM) if one.props.get("namespace") == _SPACE]
    seen: set[tuple[str, str]] = set()

    def alarm(one: Resource) -> Iterator[Finding]:
        wrong = [*_wrong(one)]
        yield from wrong
        if not wrong:
            seen.add((str(one.props.get("metricName")), str(at(one.props, "dimensions", "EndpointName"))))

    yield from survey(alarms, alarm)
    for endpoint in stack.of(_ENDPOINT):
        name = peek(endpoint.props, "name")
        for metric in _WANTED if name is not None else ():
            if (metric, name) not in seen:
                yield Finding(f"no alarm watches its {metric}", "one that fires", endpoint)


def _wrong(one: Resource) -> Iterator[Finding]:
    props = one.props
    compared = props.get("comparisonOperator")
    if compared not in ("GreaterThanThreshold", "GreaterThanOrEqualToThreshold"):
        yield Finding(f"comparisonOperator is {said(compared)}", "'GreaterThanThreshold'", one)
    most = _MOST.get(str(props.get("metricName")), math.inf)
    threshold = props.get("threshold")
    if number(threshold, math.inf) > most or threshold is None:
        yield Finding(f"threshold is {said(threshold)}", f"{most:g} at most", one)
    periods = number(props.get("evaluationPeriods"), 0)
    seconds = number(props.get("period"), 0) * periods
    if not 0 < seconds <= _LONGEST:
        yield Finding(f"it fires after {seconds:g} s", f"{_LONGEST} s at most", one)
    needed = number(props.get("datapointsToAlarm"), 0)
    if needed > periods:
        yield Finding(f"datapointsToAlarm is {needed:g}", "evaluationPeriods at most", one)
    if not props.get("statistic") and not props.get("extendedStatistic"):
        yield Finding("it has no statistic", "one", one)
    if not at(props, "dimensions", "VariantName"):
        yield Finding("dimensions.VariantName is absent", "the variant's name", one)


RULE = Rule(
    name="sagemaker-alarms",
    group="aws",
    title="Alarms watch errors and latency of each SageMaker endpoint in production, and can fire.",
    why="Nothing rolls a bad update back, and nobody is called.",
    fix="Declare alarms of Invocation5XXErrors and ModelLatency for the endpoint's variant.",
    levels=IN_PRODUCTION,
    types=(_ALARM, _ENDPOINT),
    check_stack=check,
)
