"""Every alert fires on what it is for, and is silent on what comes near; asked of promtool."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from berth_components.monitoring.alerts_monitoring import WATCHDOG

from tests.monitoring.alert_cases import KUBE, MACHINES, SERVING, adapter
from tests.monitoring.alert_cases_more import BUDGETS, BUSINESS, MONITORING
from tests.monitoring.alert_cases_router import ROUTERS, UP, envoy, hybrid
from tests.monitoring.promtool import Case, gateway, groups, rule_key, run, series

if TYPE_CHECKING:
    from pathlib import Path

CASES = [*SERVING, *KUBE, *MACHINES, *BUDGETS, *BUSINESS, *MONITORING, *ROUTERS]


def test_each_alert_has_one_case() -> None:
    made = {rule_key(rule) for group in groups() for rule in group["rules"] if "alert" in rule}
    made = {key for key in made if key[0] != WATCHDOG}  # it always fires
    counted = Counter(case.key for case in CASES)
    assert {key for key in made if counted[key] != 1} == set(), "no case, or two"
    assert set(counted) - made == set(), "a case of no alert"
    assert len(made) > 90


def test_each_alert_fires_and_is_silent(tmp_path: Path) -> None:
    done = run(CASES, tmp_path)
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    assert done.stdout.count("SUCCESS") == len(CASES)


def test_an_autoscaler_is_blind_in_several_ways(tmp_path: Path) -> None:
    well = adapter("0x20", "0+1x20")
    ways = [
        {},
        well | {key: "0x20" for key in well if "adapter_ready" in key},
        well | {key: "0x20" for key in well if "adapter_asked" in key},
    ]
    done = run([Case("AutoscalerBlind", "page", way, well, 10) for way in ways], tmp_path)
    assert done.returncode == 0, done.stdout


def test_a_collector_does_not_deliver_in_several_ways(tmp_path: Path) -> None:
    ways = (
        ("send_failed_log_records_total", "0+1x60", "9x60"),
        ("enqueue_failed_spans_total", "0+1x60", "9x60"),
        ("enqueue_failed_log_records_total", "0+1x60", "9x60"),
        # A busy one has something on its way at many a look, and nothing at others.
        ("queue_size", "700x60", "700 700 700 0 700 700 0 0 700 700 0 700 700 0x48"),
    )
    cases = [
        Case(
            "CollectorNotDelivering",
            "ticket",
            {series(f"otelcol_exporter_{name}", job="collector", exporter="otlp_http"): bad},
            {series(f"otelcol_exporter_{name}", job="collector", exporter="otlp_http"): good},
        )
        for name, bad, good in ways
    ]
    done = run(cases, tmp_path)
    assert done.returncode == 0, done.stdout


def test_promtool_notices_an_alert_that_does_not_fire(tmp_path: Path) -> None:
    case = CASES[0]
    done = run([Case(case.alert, case.severity, case.silent, case.silent, case.minutes)], tmp_path)
    assert done.returncode != 0


def test_a_budget_that_no_longer_burns_and_few_failures_wake_nobody(tmp_path: Path) -> None:
    labels = {"slo": "availability", "window": "1h"}
    over = {
        gateway("tgi_request_success"): "0+100x180",
        gateway("tgi_request_failure", err="overloaded"): "0+90x160 14400x20",
    }
    burning = {gateway("tgi_request_failure", err="overloaded"): "0+90x180"}
    few = {
        gateway("tgi_request_success"): "0x180",
        gateway("tgi_request_failure", err="overloaded"): "0x170 1 2 3 4 4 4 4 4 4",
    }
    enough = {
        gateway("tgi_request_success"): "0x180",
        gateway("tgi_request_failure", err="overloaded"): "0x170 2 4 6 8 8 8 8 8 8",
    }
    cases = [
        Case("AvailabilityBudgetBurn", "page", {**over, **burning}, over, 170, labels),
        Case("AvailabilityBudgetBurn", "page", enough, few, 176, labels),
    ]
    done = run(cases, tmp_path)
    assert done.returncode == 0, done.stdout


def test_a_router_and_what_divides_its_requests_can_be_gone_in_two_ways(tmp_path: Path) -> None:
    there = {envoy("up"): "1x20", UP: "1x20", hybrid("written_timestamp_seconds"): "0+60x20"}
    down = {key: "0x20" for key in there if key.startswith("up")}
    cases = [
        Case(name, "page", gone, there, 12)
        for name in ("RouterDown", "HybridWeightsStale")
        for gone in ({}, down)
    ]
    # It is there and has never written.
    cases.append(Case("HybridWeightsStale", "page", {UP: "1x20"}, there, 12))
    done = run(cases, tmp_path)
    assert done.returncode == 0, done.stdout


def test_what_the_controller_refuses_is_told_as_what_envoy_refuses(tmp_path: Path) -> None:
    said = {
        what: envoy("berth_router_refused", job="berth-router-controller", what=what)
        for what in ("document", "weights")
    }
    well = dict.fromkeys(said.values(), "0x20")
    cases = [Case("RouterConfigRefused", "ticket", {**well, one: "1x20"}, well, 10) for one in said.values()]
    done = run(cases, tmp_path)
    assert done.returncode == 0, done.stdout
