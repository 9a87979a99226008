"""What is silenced while something else fires; asked of a real Alertmanager."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from berth_components.monitoring.routes import Receiver, alertmanager_config

from tests.monitoring.faulty import until
from tests.toolkit.operations.monitoring import alertmanager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HERE = {"site": "aws", "namespace": "berth-prod", "model": "chat", "variant": "main"}
THERE = {**HERE, "site": "gcp"}
NODE = {"site": "aws", "node": "n1"}
FRONT = {"site": "aws", "namespace": "berth-prod", "router": "front"}
PAIRS: dict[str, tuple[dict[str, str], dict[str, str], dict[str, str]]] = {
    "a site that is down silences everything at it": (
        {"alertname": "SiteDown", "severity": "page", "site": "aws"},
        {"alertname": "NodeDiskFull", "severity": "page", **NODE},
        {"alertname": "NodeDiskFull", "severity": "page", **NODE, "site": "gcp"},
    ),
    "what a router says is told though its own site is down": (
        {"alertname": "SiteDown", "severity": "page", "site": "aws"},
        {"alertname": "NodeDiskFull", "severity": "page", **NODE},
        {"alertname": "RouterBackendDown", "severity": "ticket", **FRONT},
    ),
    "a router that has nobody to ask says no more": (
        {"alertname": "RouterNoBackend", "severity": "page", **FRONT},
        {"alertname": "RouterErrors", "severity": "page", **FRONT},
        {"alertname": "RouterErrors", "severity": "page", **FRONT, "router": "other"},
    ),
    "a model that does not answer silences its budgets": (
        {"alertname": "ModelUnavailable", "severity": "page", **HERE},
        {"alertname": "AvailabilityBudgetBurn", "severity": "page", "slo": "availability", **HERE},
        {"alertname": "AvailabilityBudgetBurn", "severity": "page", "slo": "availability", **THERE},
    ),
    "a page silences the ticket on the same thing": (
        {"alertname": "FirstTokenBudgetBurn", "severity": "page", "slo": "first_token_p99", **HERE},
        {"alertname": "FirstTokenBudgetBurn", "severity": "ticket", "slo": "first_token_p99", **HERE},
        {"alertname": "FirstTokenBudgetBurn", "severity": "ticket", "slo": "first_token_p95", **HERE},
    ),
    "an engine that keeps being lost is told once": (
        {"alertname": "EngineCrashLooping", "severity": "page", **HERE, "pod": "chat-1"},
        {"alertname": "EngineLost", "severity": "ticket", **HERE, "pod": "chat-1"},
        {"alertname": "EngineLost", "severity": "ticket", **HERE, "pod": "chat-2"},
    ),
    "a disk that is full fills no more": (
        {"alertname": "NodeDiskFull", "severity": "page", **NODE, "mountpoint": "/"},
        {"alertname": "NodeDiskFilling", "severity": "ticket", **NODE, "mountpoint": "/"},
        {"alertname": "NodeDiskFilling", "severity": "ticket", **NODE, "mountpoint": "/data"},
    ),
    "of a node that is not ready nothing else is told": (
        {"alertname": "NodeNotReady", "severity": "ticket", **NODE},
        {"alertname": "TargetDown", "severity": "ticket", **NODE, "job": "node"},
        {"alertname": "TargetDown", "severity": "ticket", "site": "aws", "node": "n2", "job": "node"},
    ),
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("alertmanager")
    config = alertmanager_config([Receiver(name="hook", kind="webhook")], secrets=str(folder))
    (folder / "hook").write_text("http://127.0.0.1:9/")
    with alertmanager(folder, config) as url:
        yield url


def states(url: str) -> dict[str, str]:
    """State by labels: active, or suppressed."""
    with httpx.Client(trust_env=False) as client:
        found = client.get(f"{url}/api/v2/alerts").raise_for_status().json()
    return {json.dumps(one["labels"], sort_keys=True): one["status"]["state"] for one in found}


@pytest.mark.parametrize("what", PAIRS)
def test_what_follows_is_silenced_and_the_rest_is_not(asked: str, what: str) -> None:
    cause, silenced, other = ({**one, "case": what} for one in PAIRS[what])
    # One at a time, so that no case silences another's.
    ends = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()

    def post(*alerts: dict[str, str], until: str = ends) -> None:
        body: list[dict[str, Any]] = [{"labels": one, "endsAt": until} for one in alerts]
        with httpx.Client(trust_env=False) as client:
            client.post(f"{asked}/api/v2/alerts", json=body).raise_for_status()

    def state(one: dict[str, str]) -> str:
        return states(asked).get(json.dumps(one, sort_keys=True), "absent")

    post(silenced, other)
    until(lambda: state(silenced) == "active" and state(other) == "active", "both active", 60)
    post(cause)
    until(lambda: state(silenced) == "suppressed", "silenced", 60)
    assert state(other) == "active"
    assert state(cause) == "active", "what silences is told"
    post(cause, silenced, other, until=datetime.now(UTC).isoformat())
    until(lambda: not states(asked), "over", 60)


def test_every_inhibition_has_a_case() -> None:
    # The one of sites that are down has two.
    assert len(alertmanager_config([])["inhibit_rules"]) == len(PAIRS) - 1
