"""Replicas for a planned load, beside a calculation by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from berth_catalogue.planning import Range
from berth_planner.asked import Load
from berth_planner.measurements import Measurement, Point
from berth_planner.service import service

from tests.planner.test_fit import CHAT

TOKENS = 100
MEASURED = Measurement(
    model=CHAT.name,
    quantisation=CHAT.quantised_as,
    engine=CHAT.engine,
    version="",
    accelerator=CHAT.accelerator,
    count=1.0,
    machine="g6.2xlarge",
    input_tokens=500.0,
    output_tokens=float(TOKENS),
    points=(
        Point(
            concurrency=CHAT.slots,
            repeats=3,
            requests_per_second=Range(9.0, 10.0, 11.0),
            tokens_per_second=Range(900.0, 1000.0, 1100.0),
            first_token_p50=Range(0.2, 0.2, 0.2),
            first_token_p95=Range(0.4, 0.5, 0.6),
        ),
    ),
    memory_gib=None,
    load_seconds=None,
    day=date(2026, 11, 28),
    source="worked example",
)


@pytest.mark.parametrize(
    ("rate", "needed", "fewest"),
    [
        # 20 / (1100, 1000, 900 / 100 * 0.8) = 2.27, 2.5, 2.78; without reserve 1.82, 2, 2.22
        (20.0, Range(3, 3, 3), Range(2, 2, 3)),
        # 8 / … = 0.91, 1, 1.11; without reserve 0.73, 0.8, 0.89
        (8.0, Range(1, 1, 2), Range(1, 1, 1)),
    ],
)
def test_replicas_with_and_without_reserve(rate: float, needed: Range, fewest: Range) -> None:
    load = Load(
        requests_per_second=rate,
        input_tokens=500,
        output_tokens=TOKENS,
        first_token_seconds=0.5,
        utilisation=0.8,
    )
    found = service(replace(CHAT, load=load, most_replicas=3), [MEASURED])
    assert (found.replicas, found.fewest) == (needed, fewest)
    assert found.tokens_per_second == rate * TOKENS
    shown = {figure.name: (figure.low, figure.value, figure.high) for figure in found.section.figures}
    assert shown["replicas needed"] == (needed.low, needed.expected, needed.high)
    assert shown["replicas, no reserve"] == (fewest.low, fewest.expected, fewest.high)
    # 0.5 s is what was expected; in the slowest repeat it was more, so nobody knows.
    assert {check.name: check.status for check in found.section.checks} == {
        "replicas": "passed", "first token": "unknown"
    }  # fmt: skip
