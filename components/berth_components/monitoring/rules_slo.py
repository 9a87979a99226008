"""Burn rates of error budgets, and the alerts on them.

How fast a budget burns is the share of bad events over the share that the objective allows. Each alert looks
at two windows: the long one says that it matters, the short one that it still goes on. The pairs are those of
Google's Site Reliability Workbook, chapter 5 ("Alerting on SLOs"): what is spent of the budget by then.

    page    2 % in 1 h (and 5 m), 5 % in 6 h (and 30 m)
    ticket  10 % in 1 d (and 2 h), 10 % in 3 d (and 6 h)

With little traffic one failure is a large share: an alert also needs some bad events in its long window
(`Objectives.least_failures`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from berth_components.monitoring.alert import (
    BY,
    PAGE,
    TICKET,
    WHICH,
    Alert,
    Record,
    Unwatched,
    of,
    quoted,
    recorded_of,
    title,
)
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

if TYPE_CHECKING:
    from collections.abc import Iterable

    from berth_components.monitoring.facts import Parts, Server
    from berth_components.monitoring.objectives import Objectives

WINDOWS = ("5m", "30m", "1h", "2h", "6h")
"""Windows that are read from the servers' own series; longer ones from what is recorded."""
LONG_WINDOWS = ("1d", "3d")
_FAILED = "generation|drained|internal"
_UNAVAILABLE = f"{_FAILED}|overloaded|not_ready"
_HISTOGRAMS = {
    FIRST_TOKEN_P95: "berth_time_to_first_token_seconds",
    FIRST_TOKEN_P99: "berth_time_to_first_token_seconds",
    INTER_TOKEN: "gen_ai_server_time_per_output_token_seconds",
    QUEUE_WAIT: "berth_queue_wait_seconds",
}
ALERT_NAMES = {
    AVAILABILITY: "AvailabilityBudgetBurn",
    ERRORS: "ErrorBudgetBurn",
    FIRST_TOKEN_P95: "FirstTokenBudgetBurn",
    FIRST_TOKEN_P99: "FirstTokenBudgetBurn",
    INTER_TOKEN: "InterTokenBudgetBurn",
    QUEUE_WAIT: "QueueWaitBudgetBurn",
    SAFETY: "SafetyBudgetBurn",
}
_MEANS = {
    AVAILABILITY: "requests were refused or failed",
    ERRORS: "admitted requests failed",
    FIRST_TOKEN_P95: "first tokens came late",
    FIRST_TOKEN_P99: "first tokens came late",
    INTER_TOKEN: "answers came too slowly, token by token",
    QUEUE_WAIT: "requests waited too long for a slot of the engine",
    SAFETY: "answers had something that a filter found",
}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two windows, and the share of the budget that is spent when the alert fires."""

    severity: str
    long: str
    short: str
    hours: int
    spent: float

    def factor(self, window_days: int) -> float:
        """How many times as fast as allowed the budget burns."""
        return self.spent * window_days * 24 / self.hours


PAIRS = (
    Pair(PAGE, "1h", "5m", 1, 0.02),
    Pair(PAGE, "6h", "30m", 6, 0.05),
    Pair(TICKET, "1d", "2h", 24, 0.10),
    Pair(TICKET, "3d", "6h", 72, 0.10),
)


def _events(server: Server, slo: str, window: str, threshold: float | None) -> tuple[str, str]:
    """Rates of bad events and of all that count."""

    def rate(metric: str, *matchers: str) -> str:
        return f"sum by ({BY}) (rate({metric}{of(server, *matchers)}[{window}]))"

    if slo in {AVAILABILITY, ERRORS}:
        bad = rate("tgi_request_failure", f"err=~{quoted(_UNAVAILABLE if slo == AVAILABILITY else _FAILED)}")
        return bad, f"({rate('tgi_request_success')} + {bad})"
    if slo == SAFETY:
        blocked = rate("tgi_request_failure", 'err="content_filter"')
        answers = f"({rate('tgi_request_success')} + {blocked})"
        # A refusal is counted by a filter, too, and is no harm.
        found = rate("berth_policy_violations_total", 'stage="output"', 'category!="refusal"')
        return f"({found} or {answers} * 0)", answers
    metric = _HISTOGRAMS[slo]
    count = rate(f"{metric}_count")
    within = rate(f"{metric}_bucket", f"le={quoted(repr(float(threshold or 0)))}")
    return f"({count} - {within})", count


def records(server: Server, objectives: Objectives) -> tuple[list[Record], list[Record]]:
    """What is recorded of a server's objectives: often, and seldom (long windows)."""
    often: list[Record] = []
    seldom: list[Record] = []
    for slo in stated(server, objectives):
        target, threshold = objectives.target(slo), objectives.threshold(slo)
        if target is None:
            raise AssertionError(slo)
        labels = {"slo": slo}
        for window in WINDOWS:
            bad, events = _events(server, slo, window, threshold)
            if window == WINDOWS[0]:
                often.append(Record("server:slo_bad:rate5m", bad, labels))
                often.append(Record("server:slo_events:rate5m", events, labels))
            often.append(Record(f"server:slo_errors:ratio_rate{window}", f"{bad} / ({events} > 0)", labels))
        own = recorded_of(server, f"slo={quoted(slo)}")

        def over(days: str, own: str = own) -> str:
            spent = f"sum_over_time(server:slo_bad:rate5m{own}[{days}])"
            return f"{spent} / (sum_over_time(server:slo_events:rate5m{own}[{days}]) > 0)"

        seldom += [Record(f"server:slo_errors:ratio_rate{one}", over(one), labels) for one in LONG_WINDOWS]
        budget = 1 - target
        seldom.append(
            Record(
                "server:slo_error_budget_remaining:ratio",
                f"1 - ({over(f'{objectives.window_days}d')}) / {budget:g}",
                labels,
            )
        )
        often.append(Record("server:slo_objective:ratio", f"vector({target:g})", labels))
        often.append(Record("server:slo_error_budget:ratio", f"vector({budget:g})", labels))
        if threshold is not None:
            often.append(Record("server:slo_threshold:seconds", f"vector({threshold:g})", labels))
    return often, seldom


def stated(server: Server, objectives: Objectives) -> list[str]:
    """Objectives that are stated and can be counted."""
    return [slo for slo in SLOS if objectives.target(slo) is not None and (slo != SAFETY or server.filtered)]


def alerts(server: Server, objectives: Objectives, parts: Parts) -> Iterable[Alert | Unwatched]:
    """The alerts on a server's objectives; what is not stated, and what cannot fire."""
    for slo in SLOS:
        name, target = ALERT_NAMES[slo], objectives.target(slo)
        if target is None:
            yield Unwatched(name, title(server), f"objective {slo} is not stated")
            continue
        if slo == SAFETY and not server.filtered:
            yield Unwatched(name, title(server), "the gateway has no filters (gateway.filters)")
            continue
        for pair in PAIRS:
            most = pair.factor(objectives.window_days) * (1 - target)
            if most >= 1:
                reason = f"a target of {target:g} allows more in {pair.long} than could be bad"
                yield Unwatched(f"{name} ({slo}, {pair.long})", title(server), reason)
                continue
            yield _burn(server, slo, pair, objectives, parts)


def _burn(server: Server, slo: str, pair: Pair, objectives: Objectives, parts: Parts) -> Alert:
    own = recorded_of(server, f"slo={quoted(slo)}")
    factor = pair.factor(objectives.window_days)
    most = factor * (1 - (objectives.target(slo) or 0))
    failures = f"sum_over_time(server:slo_bad:rate5m{own}[{pair.long}]) * {parts.evaluation_seconds}"
    days = objectives.window_days
    return Alert(
        name=ALERT_NAMES[slo],
        expr=(
            f"server:slo_errors:ratio_rate{pair.long}{own} > {most:g}\n"
            f"and server:slo_errors:ratio_rate{pair.short}{own} > {most:g}\n"
            # Sums of rates come out a hair below whole numbers.
            f"and {failures} >= {objectives.least_failures - 0.1:g}"
        ),
        severity=pair.severity,
        hold=0,
        summary=f"{WHICH} spends its error budget ({slo}) {factor:.3g} times as fast as it may",
        description=(
            f"{{{{ $value | humanizePercentage }}}} of events in {pair.long} were bad: {_MEANS[slo]}. "
            f"At this rate the budget of {days} days is gone in {days / factor:.2g} days."
        ),
        labels={"slo": slo, "window": pair.long},
    )
