"""A SageMaker endpoint in production has two instances at least."""

from collections.abc import Iterator
from typing import Any

from berth_policy.reading import items, said
from berth_policy.rule import IN_PRODUCTION, Finding, Rule
from berth_policy.subject import Resource, at, survey
from berth_policy.units import number

_LEAST = 2


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the fewest instances, at first and later."""
    if resource.token.startswith("aws:appautoscaling/"):
        if resource.props.get("serviceNamespace") == "sagemaker":
            yield from _at_least("minCapacity", resource.props.get("minCapacity"))
        return
    yield from survey(
        items(resource.props, "productionVariants"),
        lambda place: (
            _at_least(
                f"productionVariants[{place[0]}].initialInstanceCount", at(place[1], "initialInstanceCount")
            )
            if not at(place[1], "serverlessConfig")
            else []
        ),
    )


def _at_least(path: str, value: Any) -> Iterator[Finding]:
    if number(value, 0) < _LEAST:
        yield Finding(f"{path} is {said(value)}", f"{_LEAST} at least")


RULE = Rule(
    name="sagemaker-instances",
    group="aws",
    title="A SageMaker endpoint in production runs on two instances at least.",
    why="SageMaker spreads instances over zones; one instance is down with its zone.",
    fix="Set initialInstanceCount and minCapacity to 2.",
    levels=IN_PRODUCTION,
    types=("aws:sagemaker/endpointConfiguration:", "aws:appautoscaling/target:"),
    check=check,
)
