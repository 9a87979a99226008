"""Cases of test_effects.py: the settings of a router in front of several sites."""

from __future__ import annotations

from typing import Any

from effect_frames import Alone, Json

_AT = "routers.front.hybrid"
_RULE: Json = {"name": "bank", "keys": ["tester"], "headers": {"x-a": "b"}, "sites": ["here"]}
_NEEDS: Json = {
    "models.other": None,
    "sites.beyond": {"cluster": {"kubeconfig": "b"}, "nodeAddress": "198.18.1.2"},
    "models.chat.sites": ["here", "beyond"],
    "models.chat.service": None,
    "routers": {
        "front": {
            "site": "here",
            "hybrid": {
                "model": "chat",
                "sites": ["here", "beyond"],
                "costCapPerHour": 4,
                "costPerReplicaHour": {"beyond": 1},
                "residency": [_RULE],
                "beyond": {
                    "cidrs": ["198.18.0.0/24"],
                    "service": {"type": "NodePort", "nodePort": 30081, "reportNodePort": 30082},
                    "tls": {"secret": "cert", "serverName": "a.example.org"},
                },
            },
        }
    },
}
_BALANCED = {f"{_AT}.beyond.service": {"type": "LoadBalancer"}}
_AT_BEYOND = f"{_AT}.beyond.services"
_OWN = {_AT_BEYOND: {"beyond": {"type": "NodePort", "nodePort": 30084, "reportNodePort": 30085}}}
_OWN_BALANCED = {_AT_BEYOND: {"beyond": {"type": "LoadBalancer"}}}


def _case(inner: str, value: Any, needs: Json | None = None, *, audible: bool = False) -> tuple[str, Alone]:
    """`inner`: path below the hybrid settings."""
    path = ".".join("*" if part == "0" else part for part in f"routers.*.hybrid.{inner}".split("."))
    return path, Alone(value, f"{_AT}.{inner}", {**_NEEDS, **(needs or {})}, audible=audible)


def _of_site(inner: str, value: Any, needs: Json, *, audible: bool = False) -> tuple[str, Alone]:
    """`inner`: path below the entrance of one site."""
    _, alone = _case(f"beyond.services.beyond.{inner}", value, needs, audible=audible)
    return f"routers.*.hybrid.beyond.services.*.{inner}", alone


ALONE: dict[str, Alone] = dict(
    [
        _case("sites", ["beyond", "here"]),
        _case("costCapPerHour", 5),
        _case("costPerReplicaHour", {"beyond": 2}),
        _case("overflowAt", 5),
        _case("returnBelow", 2),
        _case("stepPercent", 20),
        _case("returnStepPercent", 4),
        _case("silentSeconds", 20),
        _case("holdSeconds", 90),
        _case("residency", []),
        _case("residency.0.name", "other"),
        _case("residency.0.sites", ["beyond"]),
        _case("residency.0.keys", []),
        _case("residency.0.headers", {"x-a": "c"}),
        _case("beyond.cidrs", ["198.18.1.0/24"]),
        _case("beyond.service.type", "LoadBalancer"),
        _case("beyond.service.nodePort", 30083),
        _case("beyond.service.reportNodePort", 30083),
        _case("beyond.service.externalTrafficPolicy", "Cluster"),
        _case("beyond.service.annotations", {"a.example/b": "c"}, _BALANCED, audible=True),
        _case("beyond.service.domain", "a.example.org", _BALANCED),
        _of_site("nodePort", 30083, _OWN),
        _of_site("reportNodePort", 30083, _OWN),
        _of_site("externalTrafficPolicy", "Cluster", _OWN),
        _of_site("annotations", {"a.example/b": "c"}, _OWN_BALANCED, audible=True),
        _of_site("domain", "a.example.org", _OWN_BALANCED),
        _case("beyond.tls.secret", "other"),
        _case("beyond.tls.serverName", "b.example.org"),
        _case("beyond.tls.caSecret", "authority"),
    ]
)
ALONE["routers.*.hybrid.beyond.service.type"] = Alone(
    {"type": "LoadBalancer"}, f"{_AT}.beyond.service", _NEEDS
)
ALONE["routers.*.hybrid.beyond.services.*.type"] = Alone(
    {"type": "LoadBalancer"}, f"{_AT_BEYOND}.beyond", {**_NEEDS, **_OWN}
)
ALONE["routers.*.hybrid.model"] = Alone(
    needs=_NEEDS, refused={f"{_AT}.model": "nothing"}, words="hybrid.model is 'nothing'"
)
