"""Envoy's bootstrap: what is read once, at a pod's start.

Listeners, limits and administration. What may change while requests run is in `resources`.
"""

import json
from pathlib import Path
from typing import Any

from berth_agents.router.document import LEAST_KEPT, Document, Limit, Listener

Json = dict[str, Any]

TYPES = "type.googleapis.com/envoy."
ROUTES = "routes"
"""Name of the one route configuration."""
METADATA = "berth"
"""Dynamic metadata of a request: `key`, by which it is limited, and `name`, where its key has one."""
LUA = "envoy.filters.http.lua"
MOST_KEYS = 10_000
"""Keys that are counted apart at a time; the least used is forgotten first."""
MOST_CONNECTIONS = 50_000
_FILTERS = TYPES + "extensions.filters.http."
_MONITORS = TYPES + "extensions.resource_monitors."


def bootstrap(document: Document, folder: Path) -> Json:
    """The bootstrap of an Envoy whose changing files lie in a folder.

    The administration listens on a socket in that folder, so that no port leads there.
    """
    admin = folder / "admin.sock"
    listener = document.listener
    return {
        "node": {"id": "router", "cluster": "berth"},
        "admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}},
        "dynamic_resources": {"cds_config": source(folder / "cds.json")},
        "static_resources": {
            "listeners": [_clients(document, folder), _metrics(listener)],
            "clusters": [_admin_cluster(admin)],
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_MONITORS}downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": MOST_CONNECTIONS,
                    },
                }
            ]
        },
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {}}]},
    }


def source(path: Path) -> Json:
    """A resource that Envoy reads from a file, and reads again when another is moved over it."""
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def seconds(value: float) -> str:
    """A duration as Envoy writes it."""
    return f"{value:g}s"


def _address(port: int) -> Json:
    # `::` with IPv4 as well would fail where a kernel has no IPv6.
    return {"socket_address": {"address": "0.0.0.0", "port_value": port}}  # noqa: S104 - a pod's address, guarded by its network policy


def _clients(document: Document, folder: Path) -> Json:
    listener = document.listener
    chain: Json = {"filters": [{"name": "http", "typed_config": _connections(document, folder)}]}
    if listener.tls is not None:
        chain["transport_socket"] = {
            "name": "tls",
            "typed_config": {
                "@type": TYPES + "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {
                    "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_certificate_sds_secret_configs": [
                        {"name": "server", "sds_config": source(folder / "sds.json")}
                    ],
                },
            },
        }
    return {
        "name": "clients",
        "address": _address(listener.port),
        "per_connection_buffer_limit_bytes": LEAST_KEPT,
        "filter_chains": [chain],
    }


def _connections(document: Document, folder: Path) -> Json:
    listener = document.listener
    return {
        "@type": TYPES + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "clients",
        "rds": {"route_config_name": ROUTES, "config_source": source(folder / "rds.json")},
        "http_filters": [*_key_filters(document), _router()],
        "use_remote_address": True,
        "xff_num_trusted_hops": listener.trusted_hops,
        # A client's request id is what its own logs know.
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "server_header_transformation": "PASS_THROUGH",
        "normalize_path": True,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "request_headers_timeout": "15s",
        "request_timeout": seconds(listener.body_seconds),
        "stream_idle_timeout": seconds(listener.stream_idle_seconds),
        "common_http_protocol_options": {
            "idle_timeout": "300s",
            "max_stream_duration": seconds(listener.request_seconds),
            "headers_with_underscores_action": "DROP_HEADER",
        },
        "local_reply_config": _own_answers(document.limit),
        "access_log": _access_log() if listener.access_log else [],
    }


def _key_filters(document: Document) -> list[Json]:
    limited = document.limit is not None or any(key.limit for key in document.keys.values())
    if not limited and not document.keys:
        return []
    script = Path(__file__).with_name("keys.lua").read_text(encoding="utf-8")
    lua = {
        "name": LUA,
        "typed_config": {
            "@type": _FILTERS + "lua.v3.Lua",
            "default_source_code": {"inline_string": script},
        },
    }
    return [lua, _limits(document)] if limited else [lua]


def _limits(document: Document) -> Json:
    named = [
        {"entries": [{"key": "key", "value": name}], "token_bucket": _bucket(key.limit)}
        for name, key in sorted(document.keys.items())
        if key.limit is not None
    ]
    # An entry without a value is a bucket for each value that comes.
    every = [{"entries": [{"key": "key"}], "token_bucket": _bucket(document.limit)}] if document.limit else []
    whole: Json = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return {
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": _FILTERS + "local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "keys",
            "filter_enabled": whole,
            "filter_enforced": whole,
            "descriptors": [*named, *every],
            "max_dynamic_descriptors": MOST_KEYS,
            "rate_limits": [
                {
                    "actions": [
                        {
                            "metadata": {
                                "descriptor_key": "key",
                                "metadata_key": {"key": METADATA, "path": [{"key": "key"}]},
                                "source": "DYNAMIC",
                                "skip_if_absent": True,
                            }
                        }
                    ]
                }
            ],
        },
    }


def _bucket(limit: Limit | None) -> Json:
    if limit is None:
        raise ValueError("a bucket needs a limit")
    return {"max_tokens": limit.burst, "tokens_per_fill": limit.per_minute, "fill_interval": "60s"}


def _own_answers(limit: Limit | None) -> Json:
    """Envoy's own answers in the gateway's form; everyone that passes says when to come again."""

    def mapper(status: int, error_type: str, after: int) -> Json:
        return {
            "filter": {
                "status_code_filter": {
                    "comparison": {"op": "EQ", "value": {"default_value": status, "runtime_key": "none"}}
                }
            },
            "headers_to_add": [
                {
                    "header": {"key": "retry-after", "value": str(after)},
                    "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                }
            ],
            "body_format_override": _error(error_type),
        }

    wait = 1 if limit is None else max(1, round(60 / limit.per_minute))
    return {
        "mappers": [mapper(429, "overloaded", wait), mapper(503, "unavailable", 1)],
        "body_format": _error("router"),
    }


def _error(error_type: str) -> Json:
    return {"json_format": {"error": "%LOCAL_REPLY_BODY%", "error_type": error_type}}


def _access_log() -> list[Json]:
    """Who asked what and what came of it. No content, no query, no key."""
    return [
        {
            "name": "json",
            "typed_config": {
                "@type": TYPES + "extensions.access_loggers.stream.v3.StdoutAccessLog",
                "log_format": {
                    "json_format": {
                        "time": "%START_TIME%",
                        "request_id": "%REQ(X-REQUEST-ID)%",
                        "method": "%REQ(:METHOD)%",
                        "path": "%PATH(NQ)%",
                        "status": "%RESPONSE_CODE%",
                        "flags": "%RESPONSE_FLAGS%",
                        "details": "%RESPONSE_CODE_DETAILS%",
                        "connection": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
                        "route": "%ROUTE_NAME%",
                        "backend": "%UPSTREAM_CLUSTER%",
                        "pod": "%UPSTREAM_HOST%",
                        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
                        "key": f"%DYNAMIC_METADATA({METADATA}:name)%",
                        "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
                        "received_bytes": "%BYTES_RECEIVED%",
                        "sent_bytes": "%BYTES_SENT%",
                        "first_byte_ms": "%RESPONSE_DURATION%",
                        "duration_ms": "%DURATION%",
                    }
                },
            },
        }
    ]


def _router() -> Json:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": _FILTERS + "router.v3.Router", "suppress_envoy_headers": True},
    }


def _admin_cluster(admin: Path) -> Json:
    endpoint = {"address": {"pipe": {"path": str(admin)}}}
    return {
        "name": "administration",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "administration",
            "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
        },
    }


def _metrics(listener: Listener) -> Json:
    """Statistics and readiness, and nothing else of the administration."""

    def route(path: str, to: str) -> Json:
        return {
            "match": {"path": path, "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]},
            "route": {"cluster": "administration", "prefix_rewrite": to, "timeout": "10s"},
        }

    routes = [route("/metrics", "/stats/prometheus"), route("/ready", "/ready")]
    connections = {
        "@type": TYPES + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "metrics",
        "route_config": {
            "name": "metrics",
            "virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": routes}],
        },
        "http_filters": [_router()],
    }
    return {
        "name": "metrics",
        "address": _address(listener.metrics_port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": connections}]}],
    }


def certificate(folder: str) -> Json:
    """The secret `server`: a certificate in a mounted folder, read again whenever Kubernetes swaps it."""
    return {
        "@type": TYPES + "extensions.transport_sockets.tls.v3.Secret",
        "name": "server",
        "tls_certificate": {
            "certificate_chain": {"filename": f"{folder}/tls.crt"},
            "private_key": {"filename": f"{folder}/tls.key"},
            "watched_directory": {"path": folder},
        },
    }


def dumped(content: Json) -> str:
    """As a file, in a stable order."""
    return json.dumps(content, sort_keys=True)
