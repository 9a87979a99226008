"""Routers and the sites behind them: what is recorded, and alerts. All of them at once, by their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth_components.monitoring.alert import PAGE, TICKET, Alert, Record, quoted
from berth_components.monitoring.facts import HYBRID, ROUTER, TELLER, WAITING

if TYPE_CHECKING:
    from collections.abc import Iterable

BY = "site, namespace, router"
"""What tells routers apart."""
BACKEND = "envoy_cluster_name"
"""The label that names a backend: a model, or of a hybrid router a site."""
_WHOLE = f"job={quoted(ROUTER)}"
_ALL = f"{{{_WHOLE}}}"
# A variant of several backends is a cluster over theirs; who answers is counted with the backend.
_BACKENDS = f"{{{_WHOLE}, {BACKEND}!~{quoted('variant_.*')}}}"
_HYBRID = f"{{job={quoted(HYBRID)}}}"
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_WHICH = "Router {{ $labels.router }} at {{ $labels.site }}"
_NAMED = "router {{ $labels.router }}"
_THERE = "{{ $labels." + BACKEND + " }}"
_HERE = "{{ $labels.site }}"
_REFUSED = (
    "envoy_cluster_manager_cds_update_rejected",
    "envoy_cluster_update_rejected",
    "envoy_http_rds_update_rejected",
)
SILENT_SECONDS = 60
"""So long a site may say nothing of itself before somebody is told."""
STALE_SECONDS = 60
"""Weights end by themselves after this: see agents' `hybrid control`."""


def records(*, waking: bool = False) -> list[Record]:
    """Of every router; `waking` is whether one of them holds requests for models without a replica."""
    needs = (ROUTER,)

    def record(name: str, expr: str) -> Record:
        return Record(f"router:{name}", expr, needs=needs)

    asked = f"sum by ({BY}) (rate(envoy_http_downstream_rq_total{_ALL}[5m]))"
    failed = f"envoy_http_downstream_rq_xx{{{_WHOLE}, envoy_response_code_class={quoted('5')}}}"
    by_backend = f"sum by ({BY}, {BACKEND}) (rate(envoy_cluster_upstream_rq_total{_BACKENDS}[5m]))"
    whole = f"sum by ({BY}) (rate(envoy_cluster_upstream_rq_total{_BACKENDS}[5m]))"
    again = f"sum by ({BY}) (rate(envoy_cluster_upstream_rq_retry{_ALL}[5m]))"
    if waking:
        # What was held is sent again when the model has woken: that is no failure.
        let_go = f"berth_router_held_total{{job={quoted(WAITING)}, outcome={quoted('let_go')}}}"
        again = f"({again} - (sum by ({BY}) (rate({let_go}[5m])) or {again} * 0))"
    buckets = f"sum by ({BY}, le) (rate(envoy_http_downstream_rq_time_bucket{_ALL}[5m]))"
    return [
        record("requests:rate5m", asked),
        record("request_errors:ratio_rate5m", f"sum by ({BY}) (rate({failed}[5m])) / ({asked} > 0)"),
        record("backend_requests:rate5m", by_backend),
        record(
            "backend_share:ratio_rate5m", f"{by_backend} / ignoring ({BACKEND}) group_left () ({whole} > 0)"
        ),
        record("retries:ratio_rate5m", f"{again} / ({asked} > 0)"),
        *(
            # Envoy counts in milliseconds.
            record(f"request_seconds:{label}_rate5m", f"histogram_quantile({share}, {buckets}) / 1000")
            for label, share in _QUANTILES.items()
        ),
    ]


def router_alerts() -> Iterable[Alert]:
    """Of what Envoy tells."""
    needs = (ROUTER,)
    healthy = f"envoy_cluster_membership_healthy{_BACKENDS}"
    yield Alert(
        name="RouterDown",
        expr=f"sum by ({BY}) (up{_ALL}) == 0 or absent(up{_ALL})",
        severity=PAGE,
        hold=120,
        summary="No replica of a router can be scraped ({{ $labels.router }} {{ $labels.site }})",
        description="Clients that come through it get no connection, whatever the models behind it do.",
        needs=needs,
    )
    yield Alert(
        name="RouterNoBackend",
        expr=f"max by ({BY}) (sum by ({BY}, pod) ({healthy})) == 0",
        severity=PAGE,
        hold=60,
        summary=f"{_WHICH} has nobody to ask",
        description="Not one pod behind it is healthy, at no site. Every request gets 503.",
        needs=needs,
    )
    yield Alert(
        name="RouterBackendDown",
        expr=f"max by ({BY}, {BACKEND}) ({healthy}) == 0",
        severity=TICKET,
        hold=120,
        summary=f"{_WHICH} finds nobody healthy at {_THERE}",
        description=(
            "The backend, a model or a site, answers none of its health checks, or has no ready pod. Others "
            "take its requests where the router has others; where not, they fail."
        ),
        needs=needs,
    )
    yield Alert(
        name="RouterErrors",
        expr=(
            "router:request_errors:ratio_rate5m > 0.05\n"
            "and router:request_errors:ratio_rate5m * router:requests:rate5m > 0.02"
        ),
        severity=PAGE,
        hold=300,
        summary=f"{_WHICH} fails {{{{ $value | humanizePercentage }}}} of requests",
        description="Clients get 5xx, after every retry: the models behind it fail, or cannot be reached.",
        needs=needs,
    )
    yield Alert(
        name="RouterRetries",
        expr="router:retries:ratio_rate5m > 0.1",
        severity=TICKET,
        hold=600,
        summary=f"{_WHICH} sends one request in ten again",
        description=(
            "Retries are {{ $value | humanizePercentage }} of its requests: connections fail or gateways "
            "answer 503. Clients see little of it yet; answers begin later."
        ),
        needs=needs,
    )
    yield Alert(
        name="RouterEjecting",
        expr=(
            f"sum by ({BY}, {BACKEND}) "
            f"(increase(envoy_cluster_outlier_detection_ejections_enforced_total{_BACKENDS}[15m])) > 2.5"
        ),
        severity=TICKET,
        hold=0,
        summary=f"{_WHICH} keeps leaving out pods of {_THERE}",
        description="Three times or more in a quarter of an hour: they fail five requests in a row.",
        needs=needs,
    )
    # Envoy, what the controller told it; the controller, what the program or others wrote.
    by_envoy = [f"sum by ({BY}, pod) (increase({name}{_ALL}[10m])) > 0" for name in _REFUSED]
    by_us = f"max by ({BY}, pod) (berth_router_refused{{job={quoted(TELLER)}}}) == 1"
    yield Alert(
        name="RouterConfigRefused",
        expr="\nor ".join([*by_envoy, by_us]),
        severity=TICKET,
        hold=60,
        summary=f"{_WHICH} refused what it was told",
        description=(
            "It goes on with what it had: new weights, endpoints or routes do not count. Weights that others "
            "set are passed over where they are wrong."
        ),
        needs=(ROUTER, TELLER),
    )


def hybrid_alerts() -> Iterable[Alert]:
    """Of the controller that divides requests between sites."""
    needs = (HYBRID,)
    by = "namespace, router, model"
    written = f"berth_hybrid_written_timestamp_seconds{_HYBRID}"
    # Another label `site` is the one that a series is about.
    yield Alert(
        name="HybridSiteSilent",
        expr=f"max by ({by}, site) (berth_hybrid_site_silent_seconds{_HYBRID}) > {SILENT_SECONDS}",
        severity=TICKET,
        hold=60,
        summary=f"Site {_HERE} has said nothing for {{{{ $value | humanizeDuration }}}} ({_NAMED})",
        description=(
            "Its reporter does not answer the controller. It keeps its share of the requests and gets no "
            "more; after some time a site that costs money loses its share, for its cost cannot be watched."
        ),
        needs=needs,
    )
    yield Alert(
        name="HybridCapReached",
        expr=f"max by ({by}) (berth_hybrid_capped{_HYBRID}) == 1",
        severity=TICKET,
        hold=900,
        summary="The cost cap of {{ $labels.router }} keeps requests of {{ $labels.model }} waiting",
        description=(
            "For a quarter of an hour the cap per hour did not let load go to another site, or it is "
            "exceeded and load goes back. Queues grow where it waits; then gateways refuse."
        ),
        needs=needs,
    )
    yield Alert(
        name="HybridCostAboveCap",
        expr=(
            f"sum by ({by}) (berth_hybrid_cost_dollars_per_hour{_HYBRID})\n"
            f"> max by ({by}) (berth_hybrid_cost_cap_dollars_per_hour{_HYBRID})"
        ),
        severity=PAGE,
        hold=600,
        summary="{{ $labels.model }} costs {{ $value | humanize }} dollars an hour, above its cap",
        description=(
            "Ten minutes are longer than going back takes: replicas that cost money do not end, or their "
            "site does not answer."
        ),
        needs=needs,
    )
    yield Alert(
        name="HybridWeightsStale",
        expr=(
            f"time() - max by ({by}) ({written}) > {STALE_SECONDS}\n"
            # One that never wrote anything tells no time.
            f"or max by (namespace, router) (up{_HYBRID}) == 1 unless on (namespace, router) {written}\n"
            f"or absent(up{_HYBRID} == 1)"
        ),
        severity=PAGE,
        hold=120,
        summary="Nobody divides the requests between sites ({{ $labels.router }})",
        description=(
            "The weights were not renewed and have ended: all requests go to the preferred site, however "
            "long its queue. The router still passes requests on when that site is gone."
        ),
        needs=needs,
    )
    yield Alert(
        name="HybridAway",
        expr=(
            f"sum by ({by}) (max by ({by}, site) (berth_hybrid_site_weight_ratio{_HYBRID})\n"
            f"and max by ({by}, site) (berth_hybrid_site_preference{_HYBRID}) > 1) > 0.5"
        ),
        severity=TICKET,
        hold=3600,
        summary="Most requests for {{ $labels.model }} have been away from the preferred site for an hour",
        description=(
            "{{ $value | humanizePercentage }} of them go to others. It has too few replicas for the load, "
            "or something is wrong with it; the others may cost more."
        ),
        needs=needs,
    )
