"""Sites: what routers do with requests, and how a hybrid router divides them between its sites."""

from __future__ import annotations

from berth_components.monitoring.facts import HYBRID, ROUTER, TELLER, WAITING

from .model import Dashboard, Kind, Panel, Query, Section
from .promql import WINDOW

_ROUTER = 'router=~"$router"'
_BACKEND = "envoy_cluster_name"
_BACKENDS = f'{_ROUTER},{_BACKEND}!~"variant_.*"'
_OF_BACKEND = "{{router}} to {{envoy_cluster_name}}"
_OF_SITE = "{{router}} {{site}}"
_BY_SITE = "router, model, site"


def _sum(name: str, by: str, match: str = _ROUTER) -> str:
    return f"sum by ({by}) ({name}{{{match}}})"


def _rate(name: str, by: str, match: str = _ROUTER) -> str:
    return f"sum by ({by}) (rate({name}{{{match}}}[{WINDOW}]))"


def _largest(name: str, by: str = _BY_SITE) -> str:
    # Two controllers overlap for a moment while one takes over.
    return f"max by ({by}) ({name}{{{_ROUTER}}})"


def _of_sites(title: str, text: str, name: str, unit: str = "short", *, stacked: bool = False) -> Panel:
    queries = (Query(_largest(name), _OF_SITE),)
    return Panel(title=title, text=text, queries=queries, unit=unit, sources=(HYBRID,), stacked=stacked)


_NOW = Section(
    "Now",
    (
        Panel(
            title="Requests per second",
            text="Requests of clients, all routers together, over five minutes.",
            queries=(Query(f"sum(router:requests:rate5m{{{_ROUTER}}})", "requests"),),
            unit="reqps",
            kind=Kind.NUMBER,
            sources=(ROUTER,),
            width=4,
        ),
        Panel(
            title="Failed requests",
            text="Share of requests that clients got a 5xx for, after every retry; of the worst router.",
            queries=(Query(f"max(router:request_errors:ratio_rate5m{{{_ROUTER}}})", "failed"),),
            unit="percentunit",
            kind=Kind.NUMBER,
            sources=(ROUTER,),
            limits=(0.01, 0.05),
            width=4,
        ),
        Panel(
            title="Backends without a healthy pod",
            text="Models or sites behind a router of which nobody can be asked.",
            queries=(
                Query(
                    f"count({_sum('envoy_cluster_membership_healthy', f'router, {_BACKEND}', _BACKENDS)} "
                    f"== 0) or 0 * count(envoy_server_live{{{_ROUTER}}})",
                    "backends",
                ),
            ),
            kind=Kind.NUMBER,
            sources=(ROUTER,),
            limits=(1, 1),
            width=4,
        ),
        Panel(
            title="Cost of all sites",
            text="What the replicas of all sites cost per hour, by the prices that the stack names.",
            queries=(Query(f"sum({_largest('berth_hybrid_cost_dollars_per_hour')})", "dollars"),),
            unit="currencyUSD",
            kind=Kind.NUMBER,
            sources=(HYBRID,),
            width=4,
        ),
        Panel(
            title="Held back by the cap",
            text="Routers whose cost cap keeps requests waiting now.",
            queries=(Query(f"sum({_largest('berth_hybrid_capped', 'router, model')})", "routers"),),
            kind=Kind.NUMBER,
            sources=(HYBRID,),
            limits=(1, 1),
            width=4,
        ),
        Panel(
            title="Silent for at most",
            text="Time since the site that has been silent for longest last said how it is.",
            queries=(Query(f"max(berth_hybrid_site_silent_seconds{{{_ROUTER}}})", "seconds"),),
            unit="s",
            kind=Kind.NUMBER,
            sources=(HYBRID,),
            limits=(10, 60),
            width=4,
        ),
    ),
)

_SHARE = Section(
    "Who gets how much",
    (
        Panel(
            title="Requests by backend",
            text="Requests sent to each model or site per second, every attempt counted.",
            queries=(Query(f"router:backend_requests:rate5m{{{_ROUTER}}}", _OF_BACKEND),),
            unit="reqps",
            sources=(ROUTER,),
            stacked=True,
        ),
        Panel(
            title="Share by backend",
            text="What each model or site gets of a router's requests, as Envoy counts them.",
            queries=(Query(f"router:backend_share:ratio_rate5m{{{_ROUTER}}}", _OF_BACKEND),),
            unit="percentunit",
            sources=(ROUTER,),
            stacked=True,
        ),
        _of_sites(
            "Share decided",
            "What the controller gives each site; it differs from what a site gets while one is lost, and by "
            "residency rules.",
            "berth_hybrid_site_weight_ratio",
            "percentunit",
            stacked=True,
        ),
        Panel(
            title="In flight by backend",
            text="Requests that each model or site works on, streams included.",
            queries=(
                Query(
                    _sum("envoy_cluster_upstream_rq_active", f"router, {_BACKEND}", _BACKENDS), _OF_BACKEND
                ),
            ),
            sources=(ROUTER,),
        ),
        Panel(
            title="Time of a request",
            text="Half, 19 of 20 and 99 of 100 requests are over within this time, whole streams included.",
            queries=tuple(
                Query(f"router:request_seconds:{name}_rate5m{{{_ROUTER}}}", f"{{{{router}}}} {name}")
                for name in ("p50", "p95", "p99")
            ),
            unit="s",
            sources=(ROUTER,),
        ),
        Panel(
            title="Answers by status",
            text="Answers to clients per second, by the first digit of the status: 4 has refusals (429).",
            queries=(
                Query(
                    _rate("envoy_http_downstream_rq_xx", "router, envoy_response_code_class"),
                    "{{router}} {{envoy_response_code_class}}xx",
                ),
            ),
            unit="reqps",
            sources=(ROUTER,),
            stacked=True,
        ),
    ),
)

_FAILOVER = Section(
    "Failures and failover",
    (
        Panel(
            title="Healthy pods by backend",
            text="Pods or addresses that a router asks. At 0 the next site takes its requests.",
            queries=(
                Query(
                    f"max by (router, {_BACKEND}) (envoy_cluster_membership_healthy{{{_BACKENDS}}})",
                    _OF_BACKEND,
                ),
            ),
            sources=(ROUTER,),
        ),
        Panel(
            title="Sent again",
            text="Requests per second that were sent once more, elsewhere, since nothing was begun.",
            queries=(Query(_rate("envoy_cluster_upstream_rq_retry", f"router, {_BACKEND}"), _OF_BACKEND),),
            unit="reqps",
            sources=(ROUTER,),
        ),
        Panel(
            title="Held while a model sleeps",
            text="Requests that a router holds until their model has a replica (autoscaling.min: 0).",
            queries=(
                Query(_sum("berth_router_held_requests", "router, backend"), "{{router}} for {{backend}}"),
            ),
            sources=(WAITING,),
        ),
        Panel(
            title="Time held",
            text="Half and 19 of 20 requests that came to a model that slept were held for less than this.",
            queries=tuple(
                Query(
                    f"histogram_quantile({share}, {_rate('berth_router_held_seconds_bucket', 'router, le')})",
                    f"{{{{router}}}} {name}",
                )
                for name, share in (("p50", 0.5), ("p95", 0.95))
            ),
            unit="s",
            sources=(WAITING,),
        ),
        Panel(
            title="Left out",
            text="Pods that are left out for a while, since they failed again and again.",
            queries=(
                Query(
                    _sum(
                        "envoy_cluster_outlier_detection_ejections_active", f"router, {_BACKEND}", _BACKENDS
                    ),
                    _OF_BACKEND,
                ),
            ),
            sources=(ROUTER,),
        ),
        Panel(
            title="Connections and health checks that fail",
            text="Per second, by backend: a site that is lost shows here first.",
            queries=(
                Query(
                    _rate("envoy_cluster_upstream_cx_connect_fail", f"router, {_BACKEND}", _BACKENDS),
                    f"connections {_OF_BACKEND}",
                ),
                Query(
                    _rate("envoy_cluster_health_check_failure", f"router, {_BACKEND}", _BACKENDS),
                    f"checks {_OF_BACKEND}",
                ),
            ),
            unit="ops",
            sources=(ROUTER,),
        ),
        _of_sites(
            "Silence of sites",
            "Time since each site last said how it is. A silent one keeps what it has, and gets no more.",
            "berth_hybrid_site_silent_seconds",
            "s",
        ),
        Panel(
            title="Configuration refused",
            text="What Envoy refused in the last ten minutes, and whether the router refuses its document or "
            "passes over others' weights now (1): it goes on with what it had.",
            queries=(
                *(
                    Query(f"sum by (router) (increase({name}{{{_ROUTER}}}[10m]))", f"{{{{router}}}} {word}")
                    for word, name in (
                        ("backends", "envoy_cluster_manager_cds_update_rejected"),
                        ("endpoints", "envoy_cluster_update_rejected"),
                        ("routes", "envoy_http_rds_update_rejected"),
                    )
                ),
                Query(_largest("berth_router_refused", "router, what"), "{{router}} {{what}} now"),
            ),
            sources=(ROUTER, TELLER),
        ),
    ),
)

_SITES = Section(
    "The sites",
    (
        _of_sites(
            "Waiting by site",
            "Requests that wait for a slot of an engine, all gateways of a site together.",
            "berth_hybrid_waiting",
        ),
        _of_sites("Running by site", "Requests that engines work on.", "berth_hybrid_running"),
        Panel(
            title="Waiting per replica",
            text="What is compared with `overflowAt` and `returnBelow`.",
            queries=(
                Query(
                    f"{_largest('berth_hybrid_waiting')} / ({_largest('berth_hybrid_ready_replicas')} > 0)",
                    _OF_SITE,
                ),
            ),
            sources=(HYBRID,),
        ),
        Panel(
            title="Replicas by site",
            text="Replicas that serve, and those that cost: the difference starts, ends, or is broken.",
            queries=(
                Query(_largest("berth_hybrid_ready_replicas"), f"ready {_OF_SITE}"),
                Query(_largest("berth_hybrid_billed_replicas"), f"billed {_OF_SITE}"),
            ),
            sources=(HYBRID,),
        ),
        Panel(
            title="Cost by site",
            text="Dollars an hour of each site, and what all together may cost.",
            queries=(
                Query(_largest("berth_hybrid_cost_dollars_per_hour"), _OF_SITE),
                Query(
                    _largest("berth_hybrid_cost_cap_dollars_per_hour", "router, model"),
                    "cap {{router}}",
                    line=True,
                ),
            ),
            unit="currencyUSD",
            sources=(HYBRID,),
        ),
        Panel(
            title="Decisions",
            text="How often the shares were decided anew, per second, by the reason.",
            queries=(
                Query(
                    _rate("berth_hybrid_decisions_total", "router, model, reason"), "{{router}} {{reason}}"
                ),
            ),
            unit="ops",
            sources=(HYBRID,),
        ),
        Panel(
            title="Age of the weights",
            text="Time since weights were written. They end by themselves after a minute; then all requests "
            "go to the preferred site.",
            queries=(
                Query(
                    "time() - " + _largest("berth_hybrid_written_timestamp_seconds", "router, model"),
                    "{{router}}",
                ),
            ),
            unit="s",
            sources=(HYBRID,),
            limits=(30, 60),
        ),
        Panel(
            title="Order of preference",
            text="1 is the site that has everything while its queue is short.",
            queries=(Query(_largest("berth_hybrid_site_preference"), "Preference"),),
            kind=Kind.TABLE,
            sources=(HYBRID,),
        ),
    ),
)

SITES = Dashboard(
    name="sites",
    title="Sites",
    text="What routers do with requests: who gets how much, what fails over, what each site has and costs.",
    sections=(_NOW, _SHARE, _FAILOVER, _SITES),
    variables=("router",),
    source=ROUTER,
)
