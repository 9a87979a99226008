"""The same of error budgets, of cost, safety and behaviour, and of monitoring itself."""

from __future__ import annotations

from berth_components.monitoring.facts import JOBS
from berth_components.monitoring.objectives import (
    AVAILABILITY,
    ERRORS,
    FIRST_TOKEN_P95,
    FIRST_TOKEN_P99,
    INTER_TOKEN,
    QUEUE_WAIT,
    SAFETY,
    SLOS,
)
from berth_components.monitoring.rules_slo import ALERT_NAMES, PAIRS, Pair

from tests.monitoring.alert_cases import PAGE, TICKET, up
from tests.monitoring.promtool import STATED, Case, gateway, series


def own(name: str, **labels: str) -> str:
    return series(name, job="prometheus", site="aws", **labels)


def decided(decision: str) -> str:
    return gateway("berth_filter_decisions_total", filter="pii", stage="output", decision=decision)


def burn(slo: str, bad: float) -> dict[str, str]:
    """A hundred events a minute for an hour and more, so many of them bad."""
    good, bad_text, all_ = f"0+{100 - bad:g}x70", f"0+{bad:g}x70", "0+100x70"
    if slo in {AVAILABILITY, ERRORS}:
        err = "overloaded" if slo == AVAILABILITY else "generation"
        return {gateway("tgi_request_success"): good, gateway("tgi_request_failure", err=err): bad_text}
    if slo == SAFETY:
        return {
            gateway("tgi_request_success"): all_,
            gateway("tgi_request_failure", err="content_filter"): "0x70",
            gateway("berth_policy_violations_total", stage="output", category="pii"): bad_text,
            gateway("berth_policy_violations_total", stage="output", category="refusal"): all_,
        }
    name, le = {
        FIRST_TOKEN_P95: ("berth_time_to_first_token_seconds", "1.0"),
        FIRST_TOKEN_P99: ("berth_time_to_first_token_seconds", "2.0"),
        INTER_TOKEN: ("gen_ai_server_time_per_output_token_seconds", "0.2"),
        QUEUE_WAIT: ("berth_queue_wait_seconds", "1.0"),
    }[slo]
    return {gateway(f"{name}_count"): all_, gateway(f"{name}_bucket", le=le): good}


def budget(slo: str, pair: Pair) -> Case:
    target = STATED.target(slo)
    assert target is not None
    most = 100 * pair.factor(STATED.window_days) * (1 - target)
    labels = {"slo": slo, "window": pair.long}
    return Case(
        ALERT_NAMES[slo], pair.severity, burn(slo, min(100, most * 1.2)), burn(slo, most * 0.8), 65, labels
    )


BUDGETS = [budget(slo, pair) for slo in SLOS for pair in PAIRS]

COST = gateway("berth_cost_dollars_total")
REPORTS = gateway("berth_user_reports_total", category="harmful", exported_variant="main")
REFUSED = gateway("berth_policy_violations_total", category="refusal", stage="output")


def answers(name: str, short: str) -> dict[str, str]:
    """Two answers a minute; how many of them are short changes."""
    whole = "0+2x340"
    return {
        gateway(f"{name}_bucket", le="16.0"): short,
        gateway(f"{name}_bucket", le="64.0"): whole,
        gateway(f"{name}_bucket", le="+Inf"): whole,
        gateway(f"{name}_count"): whole,
    }


BUSINESS = [
    Case("CostCap", TICKET, {COST: "0+0.1x180"}, {COST: "0+0.05x180"}, 120),
    Case(
        "CostPerRequestHigh",
        TICKET,
        {COST: "0+0.1x180", gateway("tgi_request_success"): "0+5x180"},
        {COST: "0+0.1x180", gateway("tgi_request_success"): "0+20x180"},
        150,
    ),
    Case(
        "FilterFindingsSpike",
        TICKET,
        {decided("flag"): "0+1x240 300+50x40", decided("allow"): "0+99x290"},
        {decided("flag"): "0+1x300", decided("allow"): "0+99x300"},
        275,
    ),
    Case(
        "FilterFailing",
        PAGE,
        {decided("error"): "0+1x60", decided("allow"): "0+20x60"},
        {decided("error"): "0+1x60", decided("allow"): "0+200x60"},
    ),
    Case("UserReportsSpike", TICKET, {REPORTS: "0+1x60"}, {REPORTS: "0+1x3 3x60"}),
    Case(
        "AnswerLengthDrift",
        TICKET,
        answers("llm_token_count", "0+2x240 480x100"),
        answers("llm_token_count", "0+1.8x240 433+1.6x100"),
        330,
    ),
    Case(
        "PerplexityDrift",
        TICKET,
        answers("berth_perplexity", "0+2x240 480x100"),
        answers("berth_perplexity", "0+1.8x240 433+1.6x100"),
        330,
    ),
    Case(
        "RefusalDrift",
        TICKET,
        answers("llm_token_count", "0+1x340") | {REFUSED: "0x240 0+1x100"},
        answers("llm_token_count", "0+1x340") | {REFUSED: "0+0.1x340"},
        330,
    ),
    Case(
        "FilterDrift",
        TICKET,
        {decided("flag"): "0+1x240 240+5x100", decided("allow"): "0+9x340"},
        {decided("flag"): "0+1x340", decided("allow"): "0+9x340"},
        330,
    ),
]

MONITORING = [
    Case("TargetDown", TICKET, up("node", "0x20", node="n1"), up("node", "1x20", node="n1"), 10),
    *(Case("TargetsMissing", TICKET, {}, up(job, "0x20"), 20, {"job": job}) for job in JOBS),
    Case(
        "PrometheusRulesFailing",
        PAGE,
        {own("prometheus_rule_evaluation_failures_total", rule_group="g"): "0+1x60"},
        {own("prometheus_rule_evaluation_failures_total", rule_group="g"): "3x60"},
    ),
    Case(
        "PrometheusRulesSlow",
        TICKET,
        {
            own("prometheus_rule_group_last_duration_seconds", rule_group="g"): "20x60",
            own("prometheus_rule_group_interval_seconds", rule_group="g"): "15x60",
        },
        {
            own("prometheus_rule_group_last_duration_seconds", rule_group="g"): "1x60",
            own("prometheus_rule_group_interval_seconds", rule_group="g"): "15x60",
        },
    ),
    Case(
        "PrometheusNotDelivering",
        PAGE,
        {
            own("prometheus_notifications_errors_total", alertmanager="a"): "0+1x60",
            own("prometheus_notifications_sent_total", alertmanager="a"): "0+10x60",
            own("prometheus_notifications_alertmanagers_discovered"): "1x60",
        },
        {
            own("prometheus_notifications_errors_total", alertmanager="a"): "1x60",
            own("prometheus_notifications_sent_total", alertmanager="a"): "0+10x60",
            own("prometheus_notifications_dropped_total"): "2x60",
            own("prometheus_notifications_alertmanagers_discovered"): "1x60",
        },
    ),
    Case(
        "PrometheusConfigRefused",
        TICKET,
        {own("prometheus_config_last_reload_successful"): "0x60"},
        {own("prometheus_config_last_reload_successful"): "1x60"},
    ),
    Case(
        "PrometheusNotStoring",
        PAGE,
        {
            own("prometheus_tsdb_head_samples_appended_total", type="float"): "9x60",
            own("prometheus_tsdb_head_samples_appended_total", type="histogram"): "0x60",
        },
        {
            own("prometheus_tsdb_head_samples_appended_total", type="float"): "0+9x60",
            own("prometheus_tsdb_head_samples_appended_total", type="histogram"): "0x60",
            own("prometheus_tsdb_wal_corruptions_total"): "1x60",
            own("prometheus_tsdb_compactions_failed_total"): "1x60",
        },
    ),
    Case(
        "PrometheusRemoteWriteBehind",
        TICKET,
        {own("prometheus_remote_storage_samples_failed_total", url="u"): "0+1x60"},
        {own("prometheus_remote_storage_samples_failed_total", url="u"): "9x60"},
    ),
    Case(
        "AlertmanagerNotDelivering",
        PAGE,
        {
            series(
                "alertmanager_notifications_failed_total", integration="webhook", reason="other"
            ): "0+1x60",
            series("alertmanager_notifications_total", integration="webhook"): "0+10x60",
        },
        {
            series("alertmanager_notifications_failed_total", integration="webhook", reason="other"): "5x60",
            series("alertmanager_notifications_total", integration="webhook"): "0+10x60",
        },
    ),
    Case(
        "AlertmanagerConfigRefused",
        TICKET,
        {series("alertmanager_config_last_reload_successful"): "0x60"},
        {series("alertmanager_config_last_reload_successful"): "1x60"},
    ),
    Case(
        "CollectorNotDelivering",
        TICKET,
        {series("otelcol_exporter_send_failed_spans_total", job="collector", exporter="otlp_http"): "0+1x60"},
        {series("otelcol_exporter_send_failed_spans_total", job="collector", exporter="otlp_http"): "9x60"},
    ),
]
