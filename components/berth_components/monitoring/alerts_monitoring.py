"""Alerts on monitoring itself: not scraped, not evaluated, not delivered; and the dead-man's switch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth_components.monitoring.alert import NONE, PAGE, TICKET, Alert, quoted
from berth_components.monitoring.facts import ALERTMANAGER, COLLECTOR, ENGINE, GATEWAY, JOBS, PROMETHEUS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from berth_components.monitoring.facts import Parts

WATCHDOG = "Watchdog"
_TARGET = "{{ $labels.instance }} of job {{ $labels.job }}"


def monitoring_alerts(parts: Parts, *, asleep: bool = False) -> Iterable[Alert]:
    """Of everything that is deployed to watch; `asleep` is whether every model may have no replica."""
    yield Alert(
        name=WATCHDOG,
        expr="vector(1)",
        severity=NONE,
        hold=0,
        summary="Alerts are evaluated and delivered",
        description="It always fires. What gets it raises an alarm when it stops: the dead-man's switch.",
        needs=(),
    )
    yield Alert(
        name="TargetDown",
        expr="up == 0",
        severity=TICKET,
        hold=180,
        summary=f"{_TARGET} at {{{{ $labels.site }}}} cannot be scraped",
        description="Prometheus knows it and gets no answer: alerts on what it tells are blind.",
        needs=(),
    )
    for job in JOBS:
        if parts.has(job) and not (asleep and job in {GATEWAY, ENGINE}):
            yield Alert(
                name="TargetsMissing",
                expr=f"absent(up{{job={quoted(job)}}})",
                severity=TICKET,
                hold=600,
                summary="Prometheus finds no target of job {{ $labels.job }}",
                description="It is deployed, and discovery does not see it: labels, permissions or ports.",
                needs=(job,),
                labels={"job": job},
            )
    yield from _prometheus(parts)
    yield Alert(
        name="AlertmanagerNotDelivering",
        expr=(
            "sum by (integration) (increase(alertmanager_notifications_failed_total[15m]))\n"
            "/ sum by (integration) (increase(alertmanager_notifications_total[15m])) > 0.01"
        ),
        severity=PAGE,
        hold=300,
        summary="{{ $value | humanizePercentage }} of messages by {{ $labels.integration }} fail",
        description="Alerts fire and people do not hear of them. Another receiver may carry this one.",
        needs=(ALERTMANAGER,),
    )
    yield Alert(
        name="AlertmanagerConfigRefused",
        expr="alertmanager_config_last_reload_successful == 0",
        severity=TICKET,
        hold=300,
        summary="Alertmanager runs with an old configuration",
        description="It refused the new one. Routes and receivers are those of before.",
        needs=(ALERTMANAGER,),
    )
    yield Alert(
        name="CollectorNotDelivering",
        # Refused for good; no room to wait; or something waits all the time, since its backend is away.
        expr=(
            "increase(otelcol_exporter_send_failed_spans_total[5m]) > 0\n"
            "or increase(otelcol_exporter_send_failed_log_records_total[5m]) > 0\n"
            "or increase(otelcol_exporter_enqueue_failed_spans_total[5m]) > 0\n"
            "or increase(otelcol_exporter_enqueue_failed_log_records_total[5m]) > 0\n"
            "or min_over_time(otelcol_exporter_queue_size[5m]) > 0"
        ),
        severity=TICKET,
        hold=900,
        summary="The collector cannot send traces or logs on ({{ $labels.exporter }})",
        description=(
            "Slow and failed requests, and the newest lines of logs, cannot be looked up while this lasts. "
            "What waits is on its volume, until that is full."
        ),
        needs=(COLLECTOR,),
    )


def _prometheus(parts: Parts) -> Iterable[Alert]:
    needs = (PROMETHEUS,)
    yield Alert(
        name="PrometheusRulesFailing",
        expr="increase(prometheus_rule_evaluation_failures_total[10m]) > 0",
        severity=PAGE,
        hold=600,
        summary="Rules of {{ $labels.rule_group }} fail",
        description="Alerts of that group do not fire, whatever happens.",
        needs=needs,
    )
    yield Alert(
        name="PrometheusRulesSlow",
        expr="prometheus_rule_group_last_duration_seconds > prometheus_rule_group_interval_seconds",
        severity=TICKET,
        hold=900,
        summary="Rules of {{ $labels.rule_group }} take longer than their interval",
        description="Evaluations are skipped, so alerts come late.",
        needs=needs,
    )
    yield Alert(
        name="PrometheusNotDelivering",
        expr=(
            "rate(prometheus_notifications_errors_total[10m])\n"
            "/ rate(prometheus_notifications_sent_total[10m]) > 0.01\n"
            "or increase(prometheus_notifications_dropped_total[10m]) > 0\n"
            "or prometheus_notifications_alertmanagers_discovered == 0"
        ),
        severity=PAGE,
        hold=300,
        summary="Prometheus does not get its alerts to Alertmanager",
        description="Alerts fire and nobody hears of them; the dead-man's switch goes off, too.",
        needs=(PROMETHEUS, ALERTMANAGER),
    )
    yield Alert(
        name="PrometheusConfigRefused",
        expr="prometheus_config_last_reload_successful == 0",
        severity=TICKET,
        hold=300,
        summary="Prometheus runs with an old configuration",
        description="It refused the new one. Targets and rules are those of before.",
        needs=needs,
    )
    yield Alert(
        name="PrometheusNotStoring",
        expr=(
            "sum without (type) (rate(prometheus_tsdb_head_samples_appended_total[5m])) <= 0\n"
            "or increase(prometheus_tsdb_wal_corruptions_total[1h]) > 0\n"
            "or increase(prometheus_tsdb_compactions_failed_total[3h]) > 0"
        ),
        severity=PAGE,
        hold=600,
        summary="Prometheus stores nothing, or cannot tidy up what it stored",
        description="Mostly its disk is full. Alerts are blind from now on.",
        needs=needs,
    )
    if parts.remote_write:
        yield Alert(
            name="PrometheusRemoteWriteBehind",
            expr=(
                "rate(prometheus_remote_storage_samples_failed_total[5m]) > 0\n"
                "or rate(prometheus_remote_storage_samples_dropped_total[5m]) > 0"
            ),
            severity=TICKET,
            hold=900,
            summary="Series do not reach {{ $labels.url }}",
            description="What is kept elsewhere has a hole; what is kept here is whole.",
            needs=needs,
        )
