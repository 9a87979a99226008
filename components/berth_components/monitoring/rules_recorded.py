"""What is recorded of every server: rates, quantiles and fills that alerts and dashboards share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth_catalogue.engines import engines

from berth_components.monitoring.alert import BY, Record, of, quoted, recorded_of
from berth_components.monitoring.facts import ENGINE, GATEWAY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth_components.monitoring.facts import Server
    from berth_components.monitoring.objectives import Objectives

_ALL = f"{{job={quoted(GATEWAY)}}}"
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_SECONDS = {
    "server:first_token_seconds": "berth_time_to_first_token_seconds",
    "server:inter_token_seconds": "berth_inter_token_latency_seconds",
    "server:queue_wait_seconds": "berth_queue_wait_seconds",
    "server:request_seconds": "llm_request_latency_seconds",
}


def serving() -> list[Record]:
    """Of all servers at once."""
    success = f"sum by ({BY}) (rate(tgi_request_success{_ALL}[5m]))"
    failures = f"sum by ({BY}, err) (rate(tgi_request_failure{_ALL}[5m]))"
    by_outcome = (
        f'label_replace({success}, "outcome", "ok", "", "") or '
        f'sum by ({BY}, outcome) (label_replace({failures}, "outcome", "$1", "err", "(.*)"))'
    )
    return [
        Record("server:requests:rate5m", f"sum by ({BY}) (rate(tgi_request_count{_ALL}[5m]))"),
        Record("server:requests_by_outcome:rate5m", by_outcome),
        Record(
            "server:request_errors:ratio_rate5m",
            f"sum by ({BY}) (rate(tgi_request_failure{_ALL}[5m])) / "
            f"(sum by ({BY}) (rate(tgi_request_count{_ALL}[5m])) > 0)",
        ),
        *(
            Record(
                f"{name}:{label}_rate5m",
                f"histogram_quantile({share}, sum by ({BY}, le) (rate({metric}_bucket{_ALL}[5m])))",
            )
            for name, metric in _SECONDS.items()
            for label, share in _QUANTILES.items()
        ),
        Record("server:queue_depth:sum", f"sum by ({BY}) (berth_queue_depth{_ALL})"),
        Record(
            "server:queue_fill:ratio",
            f"sum by ({BY}) (llm_active_requests{_ALL}) / "
            f"sum by ({BY}) (berth_max_concurrent_requests{_ALL})",
        ),
        Record(
            "server:slot_use:ratio",
            f"sum by ({BY}) (berth_running_requests{_ALL}) / sum by ({BY}) (berth_engine_slots{_ALL})",
        ),
        Record("server:ready_replicas:sum", f"sum by ({BY}) (berth_engine_ready{_ALL})"),
        Record("server:prompt_tokens:rate5m", f"sum by ({BY}) (rate(berth_prompt_tokens_total{_ALL}[5m]))"),
        Record(
            "server:generated_tokens:rate5m",
            f"sum by ({BY}) (rate(berth_generated_tokens_total{_ALL}[5m]))",
        ),
    ]


def kv_cache(server: Server) -> list[Record]:
    """Of an engine that tells it, under one name for all engines."""
    name = engines()[server.engine].metrics.get("kv_cache")
    if not name:
        return []
    expr = f"max by ({BY}) ({name}{of(server, job=ENGINE)})"
    return [Record("server:kv_cache_use:max", expr, needs=(ENGINE,))]


def cost(server: Server) -> list[Record]:
    """Of a server whose price is known."""
    if not server.priced:
        return []
    spent = f"berth_cost_dollars_total{of(server)}"
    answered = f"sum by ({BY}) (increase(tgi_request_success{of(server)}[1d]))"
    return [
        # Dollars per hour. A rate over an hour would tell too little until the server is an hour old.
        Record("server:cost_dollars:rate5m", f"sum by ({BY}) (rate({spent}[5m])) * 3600"),
        Record(
            "server:cost_per_request_dollars:rate1d",
            f"sum by ({BY}) (increase({spent}[1d])) / ({answered} > 0)",
        ),
    ]


def behaviour(server: Server, objectives: Objectives) -> list[Record]:
    """How a server answers, this hour and before: lengths, perplexity, refusals, filters' decisions."""
    records = [
        *_distribution(server, objectives, "answer_tokens", "llm_token_count"),
        *_distribution(server, objectives, "perplexity", "berth_perplexity"),
    ]
    if server.refusals:
        records += _refusals(server, objectives)
    if server.filtered:
        records += _filters(server, objectives)
    return records


def _as_scraped(le: str) -> str:
    """A bound as the gateway's own series have it: 16 is 16.0."""
    return le if le == "+Inf" else repr(float(le))


def _distribution(server: Server, objectives: Objectives, name: str, metric: str) -> list[Record]:
    own, total = recorded_of(server), recorded_of(server, 'le="+Inf"')
    hour, days = f"server:{name}_bucket:increase1h", f"{objectives.baseline_days}d"
    if objectives.baseline is not None:
        release: Mapping[str, float] = getattr(objectives.baseline, name)
        baseline = [
            Record(f"server:{name}:share_baseline", f"vector({value})", {"le": _as_scraped(le)})
            for le, value in release.items()
        ]
        # A release was measured beforehand: its shares are taken as they are.
        if release:
            baseline.append(Record(f"server:{name}_baseline:count", "vector(+Inf)"))
    else:
        past = f"sum_over_time({hour}{{}}[{days}] offset 1h)"
        baseline = [
            Record(
                f"server:{name}:share_baseline",
                f"{past.replace('{}', own)} / ignoring (le) group_left () ({past.replace('{}', total)} > 0)",
            ),
            # Every answer is in twelve last hours: rules of this group are evaluated every 5 minutes.
            Record(
                f"server:{name}_baseline:count",
                f"sum by ({BY}) (sum_over_time({hour}{total}[{days}] offset 1h)) / 12",
            ),
        ]
    return [
        Record(hour, f"sum by ({BY}, le) (increase({metric}_bucket{of(server)}[1h]))"),
        Record(
            f"server:{name}:mean_rate1h",
            f"sum by ({BY}) (increase({metric}_sum{of(server)}[1h])) / "
            f"(sum by ({BY}) (increase({metric}_count{of(server)}[1h])) > 0)",
        ),
        Record(f"server:{name}:share1h", f"{hour}{own} / ignoring (le) group_left () ({hour}{total} > 0)"),
        *baseline,
        Record(
            f"server:{name}:distance",
            f"max by ({BY}) (abs(server:{name}:share1h{own} - server:{name}:share_baseline{own}))",
        ),
    ]


def _refusals(server: Server, objectives: Objectives) -> list[Record]:
    found = f"sum by ({BY}) (increase(berth_policy_violations_total{of(server, _REFUSAL)}[1h]))"
    answers = f"sum by ({BY}) (increase(llm_token_count_count{of(server)}[1h]))"
    records = [Record("server:refusals:share1h", f"({found} or {answers} * 0) / ({answers} > 0)")]
    if objectives.baseline is None:
        own = f"server:refusals:share1h{recorded_of(server)}"
        past = f"avg_over_time({own}[{objectives.baseline_days}d] offset 1h)"
        records.append(Record("server:refusals:share_baseline", past))
    elif objectives.baseline.refusals is not None:
        known = f"vector({objectives.baseline.refusals})"
        records.append(Record("server:refusals:share_baseline", known))
    return records


_REFUSAL = 'category="refusal", stage="output"'


def _filters(server: Server, objectives: Objectives) -> list[Record]:
    decided = f"increase(berth_filter_decisions_total{of(server)}[1h])"
    records = [
        Record(
            "server:filter_decisions:share1h",
            f"sum by ({BY}, filter, stage, decision) ({decided}) / ignoring (decision) group_left () "
            f"(sum by ({BY}, filter, stage) ({decided}) > 0)",
        ),
        Record("server:filter_texts:increase1h", f"sum by ({BY}, filter, stage) ({decided})"),
    ]
    if objectives.baseline is None:
        past = (
            f"avg_over_time(server:filter_decisions:share1h{recorded_of(server)}"
            f"[{objectives.baseline_days}d] offset 1h)"
        )
        return [*records, Record("server:filter_decisions:share_baseline", past)]
    for key, value in objectives.baseline.filters.items():
        name, stage, decision = key.split("/")
        labels = {"filter": name, "stage": stage, "decision": decision}
        records.append(Record("server:filter_decisions:share_baseline", f"vector({value})", labels))
    return records
