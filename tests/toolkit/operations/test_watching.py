"""Where a stack's monitoring is, as its outputs say it."""

from __future__ import annotations

from typing import Any

import pytest
from berth.operations.watching import alertmanager_of, prometheus_of


def outputs(**parts: Any) -> dict[str, Any]:
    return {"monitoring": {"here": {"namespace": "berth-monitoring", **parts}}}


def test_a_part_is_found_with_its_address() -> None:
    # Numbers of outputs are floats.
    found = prometheus_of(outputs(prometheus={"service": "p", "port": 9090.0, "url": "http://a:1/"}), "here")
    assert found is not None
    assert found.url == "http://a:1"
    assert found.proxy_path == "/api/v1/namespaces/berth-monitoring/services/p:9090/proxy"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"monitoring": None},
        {"monitoring": {"there": {}}},
        outputs(),
        outputs(prometheus=None, alertmanager=None),
        outputs(prometheus={"service": ""}, alertmanager={}),
    ],
)
def test_what_is_not_there_is_none(given: dict[str, Any]) -> None:
    assert prometheus_of(given, "here") is None
    assert alertmanager_of(given, "here") is None
