"""Cases of test_effects.py: the settings of routers."""

from __future__ import annotations

from effect_frames import Alone, Case, Json, cases_of

_INGRESS = {"entrance": {"via": "ingress", "hostname": "a.example.org", "className": "a"}}
_GATEWAY = {"entrance": {"via": "gateway-api", "hostname": "a.example.org", "gateway": "a"}}
_NODE = {"entrance": {"type": "NodePort"}}
_LIMIT = {"requestsPerMinute": 60}
_ROUTE: Json = {"name": "some", "weights": {"one": 100}, "headers": {"x-a": "b"}}
_ROUTES = {"routes": [_ROUTE]}

CASES: list[Case] = cases_of(
    "router",
    "routers.*.",
    {
        "weights": {"one": 50, "two": 50},
        "sticky": "key",
        "experiment": "second",
        "routes": [_ROUTE],
        "routes.0.name": ("other", _ROUTES),
        "routes.0.weights": ({"two": 100}, _ROUTES),
        "routes.0.headers": ({"x-a": "c"}, _ROUTES),
        "routes.0.keys": (["tester"], _ROUTES),
        "routes.0.sticky": ("x-user", _ROUTES),
        "routes.0.experiment": ("third", _ROUTES),
        "replicas": 3,
        "entrance.type": "NodePort",
        "entrance.port": 81,
        "entrance.nodePort": (30123, _NODE),
        "entrance.externalTrafficPolicy": ("Cluster", _NODE),
        "entrance.hostname": ("b.example.org", _INGRESS),
        "entrance.certificateSecret": "certificate",
        "entrance.className": ("b", _INGRESS),
        "entrance.gateway": ("b", _GATEWAY),
        "entrance.gatewayNamespace": ("edge", _GATEWAY),
        "entrance.trustedHops": 2,
        "limit.requestsPerMinute": (61, {"limit": _LIMIT}),
        "limit.burst": (5, {"limit": _LIMIT}),
        "timeouts.connect": 0.5,
        "timeouts.body": 30,
        "timeouts.streamIdle": 60,
        "timeouts.request": 600,
        "retries.attempts": 1,
        "retries.budgetPercent": 10,
        "retries.resets": True,
        "ejection.failures": 3,
        "ejection.seconds": 30,
        "ejection.mostPercent": 20,
        "termination.preStopSeconds": 3,
        "termination.drainSeconds": 30,
        "accessLog": False,
    },
)
_ROUTED: Json = {
    "models.other": None,
    "routers": {"front": {"site": "here", "weights": {"chat": 100}}},
}
_BY_TLS: Json = {**_ROUTED, "models.chat.gateway": {"tlsSecret": "cert", "tlsCaSecret": "ca"}}
_ASLEEP: Json = {
    **_ROUTED,
    "sites.here.scaleToZero": True,
    "models.chat.autoscaling": {"min": 0, "max": 3},
    "models.chat.service": None,
}
ALONE: dict[str, Alone] = {
    "models.*.autoscaling.holdSeconds": Alone(77, "models.chat.autoscaling.holdSeconds", _ASLEEP),
    "models.*.autoscaling.holdMost": Alone(7, "models.chat.autoscaling.holdMost", _ASLEEP),
    "sites.*.scaleToZero": Alone(
        needs=_ASLEEP, refused={"sites.here.scaleToZero": False}, words="models.chat.autoscaling.min is 0"
    ),
    "routers.*.entrance.via": Alone(
        {"via": "gateway-api", "hostname": "a.example.org", "className": "a"},
        "routers.front.entrance",
        {
            **_ROUTED,
            "routers.front.entrance": {"via": "ingress", "hostname": "a.example.org", "className": "a"},
        },
    ),
    "routers.*.entrance.annotations": Alone(
        {"a.example/b": "c"}, "routers.front.entrance.annotations", _ROUTED, audible=True
    ),
    "models.*.gateway.tlsCaSecret": Alone("other", "models.chat.gateway.tlsCaSecret", _BY_TLS),
    "models.*.gateway.tlsServerName": Alone("a.example.org", "models.chat.gateway.tlsServerName", _BY_TLS),
    "routers.*.site": Alone(
        needs=_ROUTED, refused={"routers.front.site": "nowhere"}, words="routers.front.site"
    ),
    "routers.*.keyLimits.*.requestsPerMinute": Alone(
        {"tester": {"requestsPerMinute": 6}},
        "routers.front.keyLimits",
        {**_ROUTED, "routers.front.keyLimits": {"tester": {"requestsPerMinute": 7}}},
    ),
    "routers.*.keyLimits.*.burst": Alone(
        {"tester": {"requestsPerMinute": 6, "burst": 2}},
        "routers.front.keyLimits",
        {**_ROUTED, "routers.front.keyLimits": {"tester": {"requestsPerMinute": 6}}},
    ),
}
