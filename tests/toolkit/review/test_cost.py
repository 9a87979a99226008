"""The review's cost line: from what each stack's plan says, with the difference."""

from __future__ import annotations

from typing import Any

import pytest
from berth.deployer import Report, Step
from berth.review import Review, live, new_stack, plan_against_plan


def report(cost: Any = None, environment: str = "production", stack: str = "dev") -> Report:
    more = {} if cost is None else {"cost": cost}
    inputs = {"environment": environment, "findings": [], **more}
    kind = "berth:stacks:Environment"
    urn = f"urn:pulumi:{stack}::demo::{kind}::environment"
    return Report(
        "preview", "demo", stack, [Step(urn, kind, "environment", custom=False, inputs=inputs)], ok=True
    )


def figures(fewest: float, most: float, planned: float | None = None) -> dict[str, float]:
    found = {"usdPerHourFewest": fewest, "usdPerHourMost": most}
    return found if planned is None else {**found, "usdPerHourPlanned": planned}


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (figures(1, 3), figures(1, 3), "1.00 to 3.00 USD/h, as before"),
        (figures(1, 3), figures(1, 4.5), "1.00 to 4.50 USD/h, +1.50 at the most"),
        (figures(2, 3), figures(1, 2.5), "1.00 to 2.50 USD/h, -1.00 at the fewest and -0.50 at the most"),
        (figures(2, 2), figures(2, 2), "2.00 USD/h, as before"),
        (None, figures(1, 1200, 2.5), "1.00 to 1,200.00 USD/h (planned 2.50), was unknown"),
        (figures(1, 3), None, "unknown, was 1.00 to 3.00 USD/h"),
        (None, None, "unknown"),
    ],
)
def test_it_says_what_it_costs_and_by_how_much_that_differs(before: Any, after: Any, words: str) -> None:
    assert plan_against_plan(report(after), report(before)).cost == words


def test_new_and_live_stacks_have_no_difference() -> None:
    assert new_stack(report(figures(1, 3))).cost == "1.00 to 3.00 USD/h"
    assert live(report(figures(1, 3))).cost == "1.00 to 3.00 USD/h"


def test_all_stacks_are_one_line() -> None:
    stacks = (
        new_stack(report(figures(1, 3))),
        new_stack(report(environment="local", stack="local")),
        new_stack(report(stack="prod")),
    )
    assert Review("a", "b", stacks).cost == "dev 1.00 to 3.00 USD/h; prod unknown"
    assert Review("a", "b", ()).cost == "no stack says what it costs"
