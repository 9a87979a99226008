"""Alerts on what a model costs, on what filters find in it, and on how its behaviour drifts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth_components.monitoring.alert import (
    BY,
    PAGE,
    TICKET,
    WHICH,
    Alert,
    Unwatched,
    of,
    quoted,
    recorded_of,
    title,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from berth_components.monitoring.facts import Server
    from berth_components.monitoring.objectives import Objectives

_KS, _Z = 1.95, 3.29
"""Critical values for one false alarm in a thousand: Kolmogorov and Smirnov's, and the normal one."""
_NOT_PRICED = "the gateway is not told what a replica costs (gateway.costPerHour)"
_NOT_FILTERED = "the gateway has no filters (gateway.filters)"


def cost_alerts(server: Server, objectives: Objectives) -> Iterable[Alert | Unwatched]:
    """Of a model's cost."""
    own, name = recorded_of(server), title(server)
    cap, each = objectives.cost_per_day_dollars, objectives.cost_per_request_dollars
    if not server.priced or cap is None:
        reason = _NOT_PRICED if not server.priced else "objective cost_per_day_dollars is not stated"
        yield Unwatched("CostCap", name, reason)
    else:
        yield Alert(
            name="CostCap",
            expr=f"server:cost_dollars:rate5m{own} * 24 > {cap:g}",
            severity=TICKET,
            hold=900,
            summary=f"{WHICH} costs {{{{ $value | humanize }}}} dollars a day; its cap is {cap:g}",
            description="At the present rate. Nothing is switched off by itself.",
        )
    if not server.priced or each is None:
        reason = _NOT_PRICED if not server.priced else "objective cost_per_request_dollars is not stated"
        yield Unwatched("CostPerRequestHigh", name, reason)
    else:
        yield Alert(
            name="CostPerRequestHigh",
            expr=f"server:cost_per_request_dollars:rate1d{own} > {each:g}",
            severity=TICKET,
            hold=3600,
            summary=f"A request to {WHICH} costs {{{{ $value | humanize }}}} dollars, not {each:g}",
            description="Over a day, idle time included: too many replicas for the load, or longer answers.",
        )


def safety_alerts(server: Server) -> Iterable[Alert | Unwatched]:
    """Of what filters find, and of filters that fail."""
    name = title(server)
    if not server.filtered:
        yield Unwatched("FilterFindingsSpike", name, _NOT_FILTERED)
        yield Unwatched("FilterFailing", name, _NOT_FILTERED)
    else:
        found = f"berth_filter_decisions_total{of(server, 'decision=~' + quoted('flag|redact|block'))}"
        texts = f"berth_filter_decisions_total{of(server)}"
        by = f"{BY}, filter"

        def share(window: str, offset: str = "") -> str:
            return (
                f"sum by ({by}) (increase({found}[{window}]{offset}))\n"
                f"/ sum by ({by}) (increase({texts}[{window}]{offset}))"
            )

        yield Alert(
            name="FilterFindingsSpike",
            expr=(
                f"{share('30m')}\n> 3 * ({share('1d', ' offset 30m')})\n"
                f"and sum by ({by}) (increase({found}[30m])) > 20"
            ),
            severity=TICKET,
            hold=300,
            summary=f"Filter {{{{ $labels.filter }}}} of {WHICH} finds three times as much as usual",
            description=(
                "In {{ $value | humanizePercentage }} of the texts of half an hour, compared with the day "
                "before: an attack, a new kind of client, or a filter that is wrong."
            ),
        )
        failing = f"berth_filter_decisions_total{of(server, 'decision=' + quoted('error'))}"
        yield Alert(
            name="FilterFailing",
            expr=(
                f"sum by ({by}) (increase({failing}[10m])) / sum by ({by}) (increase({texts}[10m])) > 0.01"
            ),
            severity=PAGE,
            hold=300,
            summary=f"Filter {{{{ $labels.filter }}}} of {WHICH} cannot tell",
            description=(
                "In {{ $value | humanizePercentage }} of texts it failed or was too slow. Where it fails "
                "closed, requests are refused; where open, nothing is checked."
            ),
        )
    yield Alert(
        name="UserReportsSpike",
        expr=f"sum by ({BY}) (increase(berth_user_reports_total{of(server)}[1h])) > 5",
        severity=TICKET,
        hold=0,
        summary=f"Users reported {{{{ $value | humanize }}}} answers of {WHICH} in an hour",
        description="People found answers harmful, wrong or otherwise not to be shown.",
    )


def drift_alerts(server: Server, objectives: Objectives) -> Iterable[Alert | Unwatched]:
    """Of behaviour that is not what it was."""
    known, name = objectives.baseline, title(server)
    for alert, series, words in (
        ("AnswerLengthDrift", "answer_tokens", "the lengths of its answers"),
        ("PerplexityDrift", "perplexity", "the perplexity of its answers"),
    ):
        if known is not None and not getattr(known, series):
            yield Unwatched(alert, name, f"the baseline says nothing of {series}")
        else:
            yield _distance(server, objectives, alert, series, words)
    if not server.refusals:
        reason = "no filter of category `refusal` looks at answers (gateway.filters)"
        yield Unwatched("RefusalDrift", name, reason)
    elif known is not None and known.refusals is None:
        yield Unwatched("RefusalDrift", name, "the baseline says nothing of refusals")
    else:
        yield _share(server, objectives, "RefusalDrift", "refusals", "server:answer_tokens_bucket:increase1h")
    if not server.filtered:
        yield Unwatched("FilterDrift", name, _NOT_FILTERED)
    elif known is not None and not known.filters:
        yield Unwatched("FilterDrift", name, "the baseline says nothing of filters")
    else:
        yield _share(server, objectives, "FilterDrift", "filter_decisions", "server:filter_texts:increase1h")


def _since(objectives: Objectives) -> str:
    return "the baseline release" if objectives.baseline else f"the past {objectives.baseline_days} days"


def _distance(server: Server, objectives: Objectives, alert: str, series: str, words: str) -> Alert:
    own = recorded_of(server)
    answers = (
        f"sum by ({BY}) (server:{series}_bucket:increase1h{recorded_of(server, 'le=' + quoted('+Inf'))})"
    )
    before = f"server:{series}_baseline:count{own}"
    return Alert(
        name=alert,
        expr=(
            f"server:{series}:distance{own}\n"
            f"> clamp_min({_KS} * sqrt(1 / {answers} + 1 / {before}), {objectives.drift_distance:g})\n"
            f"and {answers} >= {objectives.least_answers}\n"
            f"and {before} >= {objectives.least_answers}"
        ),
        severity=TICKET,
        hold=1800,
        summary=f"{WHICH} does not answer as it did: {words}",
        description=(
            f"The last hour and {_since(objectives)} are {{{{ $value | humanize }}}} apart (0 is alike, 1 is "
            "wholly different). Another model, prompt, engine or crowd of clients."
        ),
    )


def _share(server: Server, objectives: Objectives, alert: str, series: str, counted: str) -> Alert:
    own = recorded_of(server)
    now, before = f"server:{series}:share1h{own}", f"server:{series}:share_baseline{own}"
    if series == "refusals":
        texts = f"sum by ({BY}) ({counted}{recorded_of(server, 'le=' + quoted('+Inf'))})"
        joined, what = "", "refusals"
    else:
        texts = f"{counted}{own}"
        joined = f"on ({BY}, filter, stage) group_left () "
        what = "decision {{ $labels.decision }} of filter {{ $labels.filter }}"
    noise = f"{_Z} * sqrt({before} * (1 - {before}) / {joined}{texts})"
    return Alert(
        name=alert,
        expr=(
            f"abs({now} - {before})\n"
            f"> clamp_min({noise}, {objectives.drift_share:g})\n"
            f"and {f'on ({BY}, filter, stage) ' if joined else ''}{texts} >= {objectives.least_answers}"
        ),
        severity=TICKET,
        hold=1800,
        summary=f"{WHICH} does not answer as it did: {what}",
        description=(
            f"The share moved by {{{{ $value | humanizePercentage }}}} from {_since(objectives)}. Another "
            "model, prompt, filter or crowd of clients."
        ),
    )
