"""What Envoy is told while requests run: clusters, endpoints and routes, each a file's content."""

import contextlib
import hashlib
import json
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from berth_agents.router.bootstrap import LUA, METADATA, ROUTES, TYPES, certificate, seconds, source
from berth_agents.router.document import KEY, LEAST_KEPT, Backend, Document, Host, Route
from berth_agents.router.waiting import FINAL

Json = dict[str, Any]

CDS, RDS, SDS = "cds.json", "rds.json", "sds.json"
VARIANT_HEADER = "x-berth-variant"
"""Tells clients, in every answer, which variant served them."""
BACKEND_HEADER = "x-berth-backend"
"""The same of the backend, which differs from the variant's first where another one took over."""
# The gateway keeps an idle connection for 75 s; who closes first never meets a connection that just closed.
_IDLE_SECONDS = 60
_NO_LIMIT = 1_000_000
_BACKEND = "backend"
# Two checks without an answer are 3 s at most; then the address is out.
_ASK_SECONDS, _ANSWER_SECONDS = 0.5, 1
_BROKEN_SECONDS = 3
_TCP_USER_TIMEOUT = 18  # of Linux; `socket` has it on Linux only
_SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"

_MATCHED = "envoy.transport_socket_match"
_WAITING = {"waiting": True}

Endpoints = Mapping[str, Iterable[Host]]
"""Ready pods by backend."""
Rooms = Mapping[str, Host]
"""Where what a backend is asked waits while it has none."""
NO_ROOMS: Rooms = {}


def endpoints_file(backend: str) -> str:
    """Name of the file with the endpoints of a backend."""
    return f"eds-{backend}.json"


def response(resources: Iterable[Json]) -> tuple[str, str]:
    """A file's content and its version, which is a digest of what it says."""
    listed = [*resources]
    version = hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()[:16]
    return json.dumps({"version_info": version, "resources": listed}, sort_keys=True), version


def secrets(document: Document) -> list[Json]:
    """Certificates: one, or none where clients speak plain HTTP."""
    return [certificate(document.listener.tls)] if document.listener.tls else []


def endpoints(document: Document, ready: Endpoints, rooms: Rooms = NO_ROOMS) -> dict[str, Json]:
    """ClusterLoadAssignments by backend, of those that are Services."""
    found = {}
    for name, backend in document.backends.items():
        if backend.service is None:
            continue
        hosts = sorted(ready.get(name, ()), key=lambda host: (host.address, host.port))
        waits = not hosts and backend.wakes is not None and name in rooms
        found[name] = _assignment(name, [rooms[name]] if waits else hosts, waits=waits)
    return found


def waking(document: Document) -> set[str]:
    """Names of the backends that are woken by what they are asked."""
    return {name for name, backend in document.backends.items() if backend.wakes is not None}


def clusters(document: Document, folder: Path) -> dict[str, Json]:
    """Clusters by name: one per backend, and one over the backends of each variant that has several."""
    spare = {
        name
        for variant in document.variants.values()
        if len(variant.backends) > 1
        for name in variant.backends
    }
    found = {
        name: _backend(document, name, backend, folder, may_be_empty=name in spare)
        for name, backend in document.backends.items()
    }
    for name, variant in document.variants.items():
        if len(variant.backends) > 1:
            found[cluster_of(document, name)] = {
                "@type": TYPES + "config.cluster.v3.Cluster",
                "name": cluster_of(document, name),
                "connect_timeout": seconds(document.connect_seconds),
                "lb_policy": "CLUSTER_PROVIDED",
                # A second attempt goes to another backend: no storm for the one that fails.
                "circuit_breakers": _breakers(100.0, _NO_LIMIT),
                "cluster_type": {
                    "name": "envoy.clusters.aggregate",
                    "typed_config": {
                        "@type": TYPES + "extensions.clusters.aggregate.v3.ClusterConfig",
                        "clusters": [*variant.backends],
                    },
                },
            }
    return found


def cluster_of(document: Document, variant: str) -> str:
    """Name of the cluster that serves a variant."""
    backends = document.variants[variant].backends
    return backends[0] if len(backends) == 1 else f"variant:{variant}"


def routes(document: Document) -> Json:
    """The route configuration."""
    host: Json = {
        "name": "all",
        "domains": ["*"],
        # x-envoy-attempt-count: tells a request that was tried elsewhere from one that was slow.
        "include_attempt_count_in_response": True,
        "routes": [_route(document, route) for route in document.routes],
    }
    if document.keys:
        names = {key.sha256: name for name, key in document.keys.items()}
        host["metadata"] = {"filter_metadata": {LUA: names}}
    return {
        "@type": TYPES + "config.route.v3.RouteConfiguration",
        "name": ROUTES,
        "virtual_hosts": [host],
        # Ours is what was decided here; a client's word on it is not passed on.
        "request_headers_to_remove": [VARIANT_HEADER, BACKEND_HEADER],
        # A waiting room's word to Envoy.
        **({"response_headers_to_remove": [FINAL]} if waking(document) else {}),
    }


def _route(document: Document, route: Route) -> Json:
    # Envoy gives the request the place hash % total among the weights in this order. What grows at the end
    # takes users from what shrinks before it, and nobody else moves.
    split = [
        {
            "name": cluster_of(document, variant),
            "weight": weight,
            "response_headers_to_add": [
                _header(VARIANT_HEADER, variant),
                # Of the address that answered, so it is right after a retry elsewhere, too.
                _header(BACKEND_HEADER, f"%UPSTREAM_METADATA({METADATA}:{_BACKEND})%"),
            ],
        }
        for variant, weight in route.weights.items()
    ]
    action: Json = {
        "weighted_clusters": {"clusters": split},
        # How long is the listener's to say; a stream has no end known beforehand.
        "timeout": "0s",
        "retry_policy": _retry_policy(document, route),
    }
    if route.sticky is not None:
        action["weighted_clusters"]["use_hash_policy"] = True
        action["hash_policy"] = [_hash_policy(route)]
    return {"name": route.name, "match": _match(route), "route": action, **_kept(document, route)}


def _kept(document: Document, route: Route) -> Json:
    """How much of a body Envoy keeps to send it again, where that is more than its buffers hold."""
    held = [wakes.body_bytes for name in _asked(document, route) if (wakes := document.backends[name].wakes)]
    most = max(held, default=0)
    return {"request_body_buffer_limit": most} if most > LEAST_KEPT else {}


def _asked(document: Document, route: Route) -> set[str]:
    """Names of the backends that a route's requests may go to."""
    return {name for variant in route.weights for name in document.variants[variant].backends}


def _header(name: str, value: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _hash_policy(route: Route) -> Json:
    """The header's value, salted by the experiment: else the same users would always be first."""
    header = "authorization" if route.sticky == KEY else str(route.sticky)
    return {
        "header": {
            "header_name": header,
            "regex_rewrite": {
                "pattern": {"regex": "^.*$"},
                "substitution": f"{route.experiment}:\\0",
            },
        }
    }


def _match(route: Route) -> Json:
    match: Json = {"prefix": "/"}
    if route.match.headers:
        match["headers"] = [
            {"name": name, "string_match": {"exact": value}} for name, value in route.match.headers.items()
        ]
    if route.match.keys:
        words = [{"string_match": {"exact": name}} for name in route.match.keys]
        match["dynamic_metadata"] = [
            {
                "filter": METADATA,
                "path": [{"key": "name"}],
                "value": {"or_match": {"value_matchers": words}} if len(words) > 1 else words[0],
            }
        ]
    return match


def _retry_policy(document: Document, route: Route) -> Json:
    """Again only where nothing was begun: no connection, refused, or 503 instead of an answer.

    With `resets` also where an answer was not begun. Whoever waited in a waiting room has one attempt more.
    """
    asked = _asked(document, route)
    reset = "reset" if document.retries.resets else "reset-before-request"
    policy: Json = {
        "retry_on": f"connect-failure,refused-stream,{reset},retriable-status-codes",
        "retriable_status_codes": [503],
        "num_retries": document.retries.attempts + bool(asked & waking(document)),
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": TYPES + "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
        # A pod that fails at once has the fewest requests, so it would be chosen again and again.
        "host_selection_retry_max_attempts": 50,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    }
    if any(len(variant.backends) > 1 for variant in document.variants.values()):
        # The second attempt goes to the next backend, not to another pod of the one that failed.
        policy["retry_priority"] = {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": TYPES + "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                "update_frequency": 1,
            },
        }
    return policy


def _breakers(budget_percent: float, least: int) -> Json:
    # How many requests may wait is the gateways' to say.
    return {
        "thresholds": [
            {
                "max_connections": _NO_LIMIT,
                "max_pending_requests": _NO_LIMIT,
                "max_requests": _NO_LIMIT,
                "max_retries": _NO_LIMIT,
                "retry_budget": {
                    "budget_percent": {"value": budget_percent},
                    "min_retry_concurrency": least,
                },
            }
        ]
    }


def _backend(document: Document, name: str, backend: Backend, folder: Path, *, may_be_empty: bool) -> Json:
    ejection = document.ejection
    cluster: Json = {
        "@type": TYPES + "config.cluster.v3.Cluster",
        "name": name,
        "connect_timeout": seconds(document.connect_seconds),
        "lb_policy": "LEAST_REQUEST",
        # All that waited is sent again at once, which is no storm: nobody has had it yet.
        "circuit_breakers": _breakers(
            document.retries.budget_percent,
            max(document.retries.least, backend.wakes.most if backend.wakes else 0),
        ),
        "common_lb_config": {"healthy_panic_threshold": {"value": 0.0 if may_be_empty else 50.0}},
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_5xx": ejection.failures,
            "consecutive_gateway_failure": ejection.failures,
            "enforcing_consecutive_gateway_failure": 100,
            "consecutive_local_origin_failure": ejection.failures,
            "enforcing_success_rate": 0,
            "enforcing_local_origin_success_rate": 0,
            "interval": "1s",
            "base_ejection_time": seconds(ejection.seconds),
            "max_ejection_time": seconds(max(300, ejection.seconds)),
            # Another backend takes over where all of one's pods are out.
            "max_ejection_percent": 100 if may_be_empty else ejection.most_percent,
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": TYPES + "extensions.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": {"idle_timeout": seconds(_IDLE_SECONDS)},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
        # Tells a node that died with a connection open from one that computes in silence.
        "upstream_connection_options": _keepalive(30, 10),
    }
    if backend.service is not None:
        cluster["type"] = "EDS"
        cluster["eds_cluster_config"] = {"eds_config": source(folder / endpoints_file(name))}
    else:
        cluster["type"] = "STRICT_DNS"
        cluster["dns_refresh_rate"] = "5s"
        cluster["respect_dns_ttl"] = True
        cluster["load_assignment"] = _assignment(name, backend.hosts)
    if backend.asked:
        cluster["health_checks"] = [_health_check(backend)]
        # What Kubernetes no longer names is drained, however healthy it still is.
        cluster["ignore_health_on_host_removal"] = True
        cluster.update(_soon_broken())
    if backend.tls is not None:
        cluster["transport_socket"] = _tls(backend)
        if backend.wakes is not None:
            # The waiting room is in this pod, and has no certificate.
            plain = {"@type": TYPES + "extensions.transport_sockets.raw_buffer.v3.RawBuffer"}
            cluster["transport_socket_matches"] = [
                {
                    "name": "waiting",
                    "match": _WAITING,
                    "transport_socket": {"name": "plain", "typed_config": plain},
                }
            ]
    return cluster


def _assignment(name: str, hosts: Iterable[Host], *, waits: bool = False) -> Json:
    about = {METADATA: {_BACKEND: name}, **({_MATCHED: _WAITING} if waits else {})}
    listed = [
        {
            "endpoint": {"address": {"socket_address": {"address": host.address, "port_value": host.port}}},
            "metadata": {"filter_metadata": about},
        }
        for host in hosts
    ]
    return {
        "@type": TYPES + "config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": listed}],
    }


def _keepalive(after: int, interval: int) -> Json:
    return {"tcp_keepalive": {"keepalive_time": after, "keepalive_interval": interval, "keepalive_probes": 3}}


def _soon_broken() -> Json:
    """Nobody waits for a dead node: a connection on which nothing is acknowledged breaks after 3 s.

    Envoy closes no HTTP connection because a health check failed, and should not: who is slow would lose what
    it computes. A kernel that answers keeps the connection, however long its process is silent.
    """
    option = {
        "description": "TCP_USER_TIMEOUT, in ms",
        "level": str(socket.IPPROTO_TCP),
        "name": str(_TCP_USER_TIMEOUT),
        "int_value": str(1000 * _BROKEN_SECONDS),
        "state": "STATE_PREBIND",
    }
    return {
        "upstream_connection_options": _keepalive(1, 1),
        "upstream_bind_config": {"socket_options": [option]},
    }


def _health_check(backend: Backend) -> Json:
    if backend.tls is not None:
        host = backend.tls.server_name
    else:
        host = backend.hosts[0].address if backend.hosts else "gateway"
    return {
        "timeout": seconds(_ANSWER_SECONDS),
        "interval": seconds(_ASK_SECONDS),
        "no_traffic_interval": "1s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 2,
        "http_health_check": {
            "path": backend.health_path,
            "host": host,
            # A gateway that drains says 503 and lives: its streams go on. Its requests are tried elsewhere.
            "expected_statuses": [{"start": 200, "end": 300}, {"start": 503, "end": 504}],
        },
    }


def _tls(backend: Backend) -> Json:
    if backend.tls is None:
        raise ValueError("this backend speaks plain HTTP")
    name = backend.tls.server_name
    return {
        "name": "tls",
        "typed_config": {
            "@type": TYPES + "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": name,
            "common_tls_context": {
                "validation_context": {
                    "trusted_ca": _authority(backend.tls.ca_file or _SYSTEM_CA),
                    "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": name}}],
                }
            },
        },
    }


def _authority(file: str) -> Json:
    """A CA by its content, so that another one in a mounted file is a change: Envoy reads files once.

    The public ones are Envoy's own image's; of a file that is not here Envoy says so.
    """
    if file != _SYSTEM_CA:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return {"inline_string": Path(file).read_text(encoding="ascii")}
    return {"filename": file}
