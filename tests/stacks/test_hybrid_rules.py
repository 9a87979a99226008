"""Settings of a router in front of several sites: what is refused, and what is said of it."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from berth_stacks.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
RESOURCES = {"cpuRequest": "100m", "memoryRequest": "64Mi", "memoryLimit": "256Mi"}
KEYS = {"berth:apiKeys": json.dumps({"bank": "canary-0123456789abcdef"})}
STACK: Json = {
    "environment": "development",
    "clients": {"cidrs": ["10.0.0.0/8"]},
    "sites": {
        "home": {"cluster": {"kubeconfig": "k"}, "nodeAddress": "198.18.0.2"},
        "cloud": {"cluster": {"kubeconfig": "c"}, "nodeAddress": "198.18.1.2"},
    },
    "models": {
        "chat": {
            "model": "smollm2-135m-instruct-q4_1",
            "sites": ["home", "cloud"],
            "engine": {"resources": RESOURCES},
            "concurrency": {"slots": 2, "maxConcurrentRequests": 8},
            "tokens": {"maxInput": 100, "maxTotal": 200},
            "autoscaling": {"max": 3},
        }
    },
    "routers": {
        "front": {
            "site": "home",
            "hybrid": {
                "model": "chat",
                "sites": ["home", "cloud"],
                "costCapPerHour": 4,
                "costPerReplicaHour": {"cloud": 1.25},
                "residency": [{"name": "bank", "keys": ["bank"], "sites": ["home"]}],
                "beyond": {
                    "cidrs": ["198.18.0.0/24"],
                    "service": {"type": "NodePort", "nodePort": 30081, "reportNodePort": 30082},
                },
            },
        }
    },
}
HYBRID = "routers.front.hybrid"


def text(changes: Json | None = None) -> str:
    settings = copy.deepcopy(STACK)
    for path, value in (changes or {}).items():
        *groups, last = path.split(".")
        place: Any = settings
        for group in groups:
            place = place[int(group)] if isinstance(place, list) else place.setdefault(group, {})
        if value is None:
            del place[last]
        else:
            place[int(last) if isinstance(place, list) else last] = value
    return json.dumps({"config": {f"berth:{key}": value for key, value in settings.items()}})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({f"{HYBRID}.model": "chta"}, "hybrid.model is 'chta'; allowed: one of the models: chat"),
        ({f"{HYBRID}.sites": ["home"]}, "hybrid.sites has 1; allowed: at least 2"),
        ({f"{HYBRID}.sites": ["home", "clod"]}, "hybrid.sites[1] is 'clod'; allowed: one of the sites"),
        ({f"{HYBRID}.sites": ["home", "home"]}, "hybrid.sites[1] is 'home' again"),
        ({"models.chat.sites": ["home"], "sites.cloud": None}, "hybrid.sites[1] is 'cloud'"),
        ({"routers.front.site": "cloud", f"{HYBRID}.sites": ["home", "home"]}, "is 'home' again"),
        ({"routers.front.weights": {"chat": 100}}, "routers.front.weights is given beside hybrid"),
        (
            {"routers.front.routes": [{"name": "a", "weights": {"chat": 100}, "headers": {"x-a": "b"}}]},
            "routers.front.routes is given beside hybrid; allowed: one of the two; hybrid.residency says",
        ),
        ({"routers.front.hybrid": None}, "routers.front.weights is missing; allowed: percent by"),
        ({"routers.second": STACK["routers"]["front"]}, "routers.second.hybrid.model is 'chat'"),
        ({f"{HYBRID}.beyond": None}, "hybrid.beyond is missing; allowed: how the router reaches cloud"),
        ({f"{HYBRID}.beyond.cidrs": []}, "beyond.cidrs is empty; allowed: the addresses that come from home"),
        ({f"{HYBRID}.beyond.cidrs": ["0.0.0.0/0"]}, "beyond.cidrs is everybody"),
        ({f"{HYBRID}.beyond.service.nodePort": None}, "service.nodePort is missing"),
        ({f"{HYBRID}.beyond.service.reportNodePort": 30081}, "another port than nodePort"),
        ({f"{HYBRID}.beyond.service.nodePort": 80}, "beyond.service.nodePort is 80"),
        ({f"{HYBRID}.beyond.service.reportNodePort": 80}, "beyond.service.reportNodePort is 80"),
        ({f"{HYBRID}.beyond.service": {"type": "LoadBalancer", "nodePort": 30081}}, "only with type"),
        ({f"{HYBRID}.beyond.service.type": "ClusterIP"}, "beyond.service.type is 'ClusterIP'"),
        ({f"{HYBRID}.beyond.service.domain": "a.b"}, "service.domain is given; allowed: only with"),
        ({"sites.cloud.nodeAddress": None}, "sites.cloud.nodeAddress is missing"),
        (
            {f"{HYBRID}.beyond.services": {"clout": {"type": "LoadBalancer"}}},
            "beyond.services.clout is of no site beyond; allowed: of cloud; did you mean 'cloud'?",
        ),
        (
            {f"{HYBRID}.beyond.services": {"cloud": {"type": "NodePort", "nodePort": 30083}}},
            "beyond.services.cloud.reportNodePort is missing",
        ),
        (
            {f"{HYBRID}.beyond.services": {"cloud": {"type": "LoadBalancer", "nodePort": 30083}}},
            "beyond.services.cloud.nodePort is given; allowed: only with type NodePort",
        ),
        ({"environment": "production"}, "beyond.tls is missing; allowed: secret and serverName"),
        ({f"{HYBRID}.returnBelow": 4}, "returnBelow is 4; allowed: less than overflowAt, 4"),
        ({f"{HYBRID}.returnStepPercent": 20}, "returnStepPercent is 20; allowed: at most stepPercent, 10"),
        ({f"{HYBRID}.holdSeconds": 5}, "holdSeconds is 5; allowed: at least silentSeconds, 10"),
        ({f"{HYBRID}.costCapPerHour": -1}, "hybrid.costCapPerHour is -1"),
        ({f"{HYBRID}.costCapPerHour": None}, "hybrid.costCapPerHour is missing"),
        ({f"{HYBRID}.costPerReplicaHour": {"clod": 1}}, "costPerReplicaHour.clod is of 'clod'"),
        ({f"{HYBRID}.costPerReplicaHour": {"cloud": -1}}, "costPerReplicaHour.cloud is -1"),
        ({f"{HYBRID}.overflowAt": 0, f"{HYBRID}.returnBelow": -1}, "hybrid.overflowAt is 0"),
        ({f"{HYBRID}.stepPercent": 0.001, f"{HYBRID}.returnStepPercent": 0.001}, "stepPercent is 0.001"),
        ({f"{HYBRID}.silentSeconds": 1}, "hybrid.silentSeconds is 1"),
        ({f"{HYBRID}.residency.0.name": "all"}, "residency[0].name is 'all'"),
        ({f"{HYBRID}.residency.0.sites": []}, "residency[0].sites is empty"),
        ({f"{HYBRID}.residency.0.sites": ["hme"]}, "residency[0].sites[0] is 'hme'; allowed: one of"),
        ({f"{HYBRID}.residency.0.keys": []}, "residency[0] names neither keys nor headers"),
        ({f"{HYBRID}.residency.0.headers": {"x a": "b"}}, "residency"),
        ({"models.chat.gateway": {"tlsSecret": "cert"}}, "models.chat.gateway.tlsCaSecret is missing"),
        (
            {f"{HYBRID}.beyond.tls": {"secret": "cert", "serverName": "a b"}},
            "beyond.tls.serverName is 'a b'",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(load: Callable[..., Any], changes: Json, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(text(changes), KEYS, "mixed")
    assert words in str(caught.value)


def test_what_is_right_is_taken(load: Callable[..., Any]) -> None:
    assert load(text(), KEYS, "mixed").settings.routers["front"].hybrid.model == "chat"
