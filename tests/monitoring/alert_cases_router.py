"""The same of routers and of what divides requests between sites."""

from __future__ import annotations

from tests.monitoring.alert_cases import PAGE, TICKET
from tests.monitoring.promtool import Case, series


def envoy(name: str, pod: str = "front-1", **labels: str) -> str:
    """A series of a router's Envoy."""
    own = {"job": "berth-router", "site": "home", "namespace": "berth-prod", "router": "front", "pod": pod}
    return series(name, **{**own, **labels})


def behind(name: str, backend: str, pod: str = "front-1") -> str:
    """The same of a backend."""
    return envoy(name, pod, envoy_cluster_name=backend)


def hybrid(name: str, site: str = "home", **labels: str) -> str:
    """A series of a controller; `site` is the one that it is about."""
    own = {"job": "berth-hybrid", "namespace": "berth-prod", "router": "front", "model": "chat"}
    return series(f"berth_hybrid_{name}", **own, site=site, **labels)


def answers(failed: str) -> dict[str, str]:
    """A hundred requests a minute, so many of which fail."""
    return {
        envoy("envoy_http_downstream_rq_total", envoy_http_conn_manager_prefix="clients"): "0+100x60",
        envoy("envoy_http_downstream_rq_xx", envoy_response_code_class="5"): failed,
        envoy("envoy_http_downstream_rq_xx", envoy_response_code_class="4"): "0+50x60",
    }


def costs(home: str, cloud: str) -> dict[str, str]:
    """Of two sites under a cap of 4 dollars."""
    return {
        hybrid("cost_dollars_per_hour", "home"): home,
        hybrid("cost_dollars_per_hour", "cloud"): cloud,
        hybrid("cost_cap_dollars_per_hour"): "4x60",
    }


def shares(home: str, cloud: str) -> dict[str, str]:
    """Of two sites, home first."""
    return {
        hybrid("site_weight_ratio", "home"): home,
        hybrid("site_weight_ratio", "cloud"): cloud,
        hybrid("site_preference", "home"): "1x120",
        hybrid("site_preference", "cloud"): "2x120",
    }


def waiting(name: str, service: str = "night", **labels: str) -> str:
    """A series of what a router holds for models without a replica."""
    own = {"job": "berth-router-waiting", "site": "aws", "namespace": "berth-prod", "router": "front"}
    return series(f"berth_router_held_{name}", **own, backend=service, service=service, **labels)


_AWAKE = series(
    "berth_engine_ready", job="berth-gateway", site="aws", namespace="berth-prod", model="night",
    variant="main", pod="night-1",
)  # fmt: skip
UP = series("up", job="berth-hybrid", site="home", namespace="berth-prod", router="front")
HEALTHY = "envoy_cluster_membership_healthy"
EJECTED = "envoy_cluster_outlier_detection_ejections_enforced_total"
ROUTERS = [
    Case(
        "ModelDoesNotWake",
        PAGE,
        {waiting("total", outcome="too_long"): "0x10 2x10"},
        # Those that were let go, others' requests, and what was before it woke.
        {
            waiting("total", outcome="let_go"): "0+5x20",
            waiting("total", "other", outcome="too_long"): "0+5x20",
            waiting("total", outcome="too_long"): "0x10 2x10",
            _AWAKE: "_x10 1x10",
        },
        14,
    ),
    Case(
        "ModelDoesNotWake",
        TICKET,
        {waiting("requests"): "0x3 4x20"},
        # One that wakes in time: what it holds is let go.
        {waiting("requests"): "0x3 4x3 0x20", _AWAKE: "_x6 1x20"},
        18,
    ),
    Case(
        "RouterDown",
        PAGE,
        {envoy("up"): "0x20", envoy("up", "front-2"): "0x20"},
        {envoy("up"): "0x20", envoy("up", "front-2"): "1x20"},
        10,
    ),
    Case(
        "RouterNoBackend",
        PAGE,
        # A variant over the sites has no pods of its own, and is no backend.
        {
            behind(HEALTHY, "home"): "0x20",
            behind(HEALTHY, "cloud"): "0x20",
            behind(HEALTHY, "variant_home"): "7x20",
        },
        {behind(HEALTHY, "home"): "0x20", behind(HEALTHY, "cloud"): "1x20"},
        10,
    ),
    Case(
        "RouterBackendDown",
        TICKET,
        {behind(HEALTHY, "home"): "0x20", behind(HEALTHY, "cloud"): "1x20"},
        # One replica of the router sees it; a variant's own count says nothing.
        {
            behind(HEALTHY, "home"): "0x20",
            behind(HEALTHY, "home", "front-2"): "2x20",
            behind(HEALTHY, "variant_home"): "0x20",
        },
        10,
    ),
    Case("RouterErrors", PAGE, answers("0+6x60"), answers("0+4x60"), 30),
    Case(
        "RouterRetries",
        TICKET,
        answers("0x60") | {behind("envoy_cluster_upstream_rq_retry", "variant_home"): "0+11x60"},
        answers("0x60") | {behind("envoy_cluster_upstream_rq_retry", "variant_home"): "0+9x60"},
        30,
    ),
    Case(
        "RouterEjecting",
        TICKET,
        {behind(EJECTED, "home"): "0x10 1x3 2x3 3x10"},
        {behind(EJECTED, "home"): "0x10 1x3 2x20"},
        20,
    ),
    Case(
        "RouterConfigRefused",
        TICKET,
        {envoy("envoy_http_rds_update_rejected", envoy_rds_route_config="routes"): "0x10 1x10"},
        {
            envoy("envoy_http_rds_update_rejected", envoy_rds_route_config="routes"): "1x20",
            envoy("envoy_cluster_manager_cds_update_rejected"): "0x20",
            behind("envoy_cluster_update_rejected", "home"): "3x20",
            envoy("berth_router_refused", job="berth-router-controller", what="weights"): "1x13 0x7",
        },
        15,
    ),
    Case(
        "HybridSiteSilent",
        TICKET,
        {hybrid("site_silent_seconds", "home"): "0x20", hybrid("site_silent_seconds", "cloud"): "0+60x20"},
        {hybrid("site_silent_seconds", "home"): "0x20", hybrid("site_silent_seconds", "cloud"): "55x20"},
        10,
    ),
    Case("HybridCapReached", TICKET, {hybrid("capped"): "1x40"}, {hybrid("capped"): "1x10 0x2 1x10"}, 20),
    Case("HybridCostAboveCap", PAGE, costs("1x60", "3.5x60"), costs("0x60", "4x60"), 30),
    Case(
        "HybridWeightsStale",
        PAGE,
        {hybrid("written_timestamp_seconds"): "0+60x5 300x20", UP: "1x20"},
        {hybrid("written_timestamp_seconds"): "0+60x20", UP: "1x20"},
        12,
    ),
    # What has nothing is left out of the weights.
    Case("HybridAway", TICKET, shares("_x120", "1x120"), shares("0.6x120", "0.4x120"), 90),
]
