"""Percentiles are exact, and failures are not mixed with answers."""

from __future__ import annotations

import random
import statistics

import pytest
from berth.operations.load.outcomes import Distribution, Outcome, Tally, percentile


def test_percentiles_are_those_of_the_statistics_module() -> None:
    draw = random.Random(1)  # noqa: S311 - values to sort, no secret
    for size in (2, 3, 10, 101, 1000):
        values = sorted(draw.expovariate(1) for _ in range(size))
        cuts = statistics.quantiles(values, n=100, method="inclusive")
        for q in (50, 90, 95, 99):
            assert percentile(values, q) == pytest.approx(cuts[q - 1])


def test_percentiles_of_one_value_and_of_none() -> None:
    one = Distribution()
    one.add(3.5)
    assert one.to_json() == {
        "count": 1,
        "mean": 3.5,
        "p50": 3.5,
        "p90": 3.5,
        "p95": 3.5,
        "p99": 3.5,
        "max": 3.5,
    }
    assert Distribution().to_json() == {"count": 0}


def test_one_outlier_in_two_hundred_moves_the_maximum_not_the_99th() -> None:
    values = Distribution()
    for _ in range(199):
        values.add(1.0)
    values.add(60.0)
    found = values.to_json()
    assert found["p99"] == 1.0
    assert found["max"] == 60.0


def test_the_tally_adds_up() -> None:
    tally = Tally()
    tally.sent, tally.unsent = 5, 2
    tally.add(Outcome(status=200, latency=2.0, first_token=0.5, gaps=[0.1, 0.2], tokens=3, backend="home"))
    tally.add(Outcome(status=200, error="incomplete stream", latency=9.0, first_token=0.4, tokens=1))
    tally.add(Outcome(status=429, error="status 429", latency=0.01))
    tally.add(Outcome(error="connect", latency=0.02))
    assert (tally.scheduled, tally.ok, tally.failed, tally.outstanding) == (7, 1, 3, 1)
    assert tally.by_backend == {"home": 1}
    assert tally.by_status == {"200": 2, "429": 1, "none": 1}
    assert tally.errors == {"incomplete stream": 1, "status 429": 1, "connect": 1}
    assert tally.tokens == 4
    assert len(tally.latency) == len(tally.first_token) == 1
    assert len(tally.gaps) == 2
    assert tally.refused_latency.to_json()["max"] == 0.01
