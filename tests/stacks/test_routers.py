"""Routers of a stack: what is declared, what Envoy says to it, and what is refused."""

from __future__ import annotations

import copy
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from berth_agents.router import files
from berth_agents.router.document import parse
from berth_images.programs import envoy
from berth_stacks.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Json = dict[str, Any]
RESOURCES = {"cpuRequest": "100m", "memoryRequest": "64Mi", "memoryLimit": "256Mi"}
KEYS = {"berth:apiKeys": json.dumps({"tester": "canary-0123456789abcdef"})}
MODEL: Json = {
    "model": "smollm2-135m-instruct-q4_1",
    "sites": ["here"],
    "engine": {"resources": RESOURCES},
    "concurrency": {"slots": 2, "maxConcurrentRequests": 8},
    "tokens": {"maxInput": 100, "maxTotal": 200},
    "autoscaling": {"max": 3},
}
STACK: Json = {
    "environment": "development",
    "clients": {"cidrs": ["10.0.0.0/8"]},
    "sites": {"here": {"cluster": {"kubeconfig": "k"}, "nodeAddress": "198.18.0.2"}},
    "models": {"chat": MODEL, "chat-next": {**MODEL, "variant": "next"}},
    "routers": {
        "front": {
            "site": "here",
            "weights": {"chat": 90, "chat-next": 10},
            "sticky": "key",
            "routes": [{"name": "own", "keys": ["tester"], "weights": {"chat": 100}}],
            "limit": {"requestsPerMinute": 600},
            "entrance": {"type": "NodePort", "nodePort": 30080},
        }
    },
}


def text(changes: Json | None = None) -> str:
    settings = copy.deepcopy(STACK)
    for path, value in (changes or {}).items():
        *groups, last = path.split(".")
        place: Any = settings
        for group in groups:
            place = place[int(group)] if isinstance(place, list) else place.setdefault(group, {})
        place[int(last) if isinstance(place, list) else last] = value
    return json.dumps({"config": {f"berth:{key}": value for key, value in settings.items()}})


def named(done: Any, name: str) -> Json:
    (found,) = [one.inputs for one in done.resources if one.name == name]
    return dict(found)


def test_two_models_are_variants_of_one_address(run: Callable[..., Any], tmp_path: Path) -> None:
    done = run(text(), KEYS, "routed", preview=True)
    out = done.outputs["routers"]["front"]
    assert out["endpoint"] == "http://198.18.0.2:30080"
    assert out["models"] == ["chat", "chat-next"]
    # Load, proofs and people come through it, too.
    assert set(done.outputs["endpoints"].values()) == {"http://198.18.0.2:30080"}
    document = parse(named(done, "here-front-document")["data"]["router.json"])
    assert document.routes[-1].weights == {"chat": 9000, "chat-next": 1000}
    services = {one.service.name for one in document.backends.values() if one.service}
    assert services == {
        named(done, f"here-{key}-service")["metadata"]["name"] for key in ("chat", "chat-next")
    }
    # Nobody reaches a model past its router.
    ingress = named(done, "here-chat-network")["spec"]["ingress"]
    clients = next(rule for rule in ingress if rule["ports"][0]["port"] == 8000)
    labels = {"app.kubernetes.io/name": "router", "app.kubernetes.io/instance": "front"}
    assert clients["from"] == [{"podSelector": {"matchLabels": labels}}]
    files.begin(document, tmp_path)
    valid = subprocess.run(
        [envoy(), "--mode", "validate", "-c", tmp_path / files.BOOTSTRAP],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert valid.returncode == 0, valid.stderr


def test_a_router_trusts_the_authority_of_a_gateway_that_serves_by_https(run: Callable[..., Any]) -> None:
    changes = {
        "models.chat.gateway": {"tlsSecret": "cert", "tlsCaSecret": "cert"},
        "models.chat-next.gateway": {"tlsSecret": "next", "tlsServerName": "next.example.org"},
    }
    done = run(text(changes), KEYS, "routed", preview=True)
    backends = parse(named(done, "here-front-document")["data"]["router.json"]).backends
    assert {key: (one.tls.server_name, one.tls.ca_file) for key, one in backends.items() if one.tls} == {
        "chat": ("chat.berth-routed.svc", "/etc/berth-router-ca/0/ca.crt"),
        # A name that everybody can look up may be signed by a public authority.
        "chat-next": ("next.example.org", "/etc/ssl/certs/ca-certificates.crt"),
    }
    pod = named(done, "here-front-deployment")["spec"]["template"]["spec"]
    secrets = [volume["secret"] for volume in pod["volumes"] if volume.get("secret")]
    assert [(one["secretName"], [item["key"] for item in one["items"]]) for one in secrets] == [
        ("cert", ["ca.crt"])
    ], "the key beside it is the gateway's alone"
    for container in (*pod["initContainers"], *pod["containers"]):
        assert "/etc/berth-router-ca/0" in {mount["mountPath"] for mount in container["volumeMounts"]}
    # The gateway is told of its own certificate only.
    assert "caSecret" not in json.dumps(named(done, "here-chat-deployment"), default=str)
    assert named(done, "here-chat-service")["spec"]["ports"][0]["appProtocol"] == "https"


def test_a_stack_without_routers_says_nothing_of_them(run: Callable[..., Any]) -> None:
    done = run(text({"routers": {}}), KEYS, "routed", preview=True)
    assert "routers" not in done.outputs
    assert not [one for one in done.resources if "router" in one.typ.lower()]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"routers.front.site": "her"}, "did you mean 'here'?"),
        ({"routers.front.weights": {"chat": 100, "chta-next": 0}}, "did you mean 'chat-next'?"),
        ({"routers.front.weights": {"chat": 90}}, "routers.front.weights is 90 together; allowed: 100"),
        ({"routers.front.weights": {"chat": 101}}, "routers.front.weights.chat"),
        ({"routers.front.routes.0.weights": {"chat": 1}}, "routers.front.routes[0].weights"),
        ({"routers.front.routes.0.keys": ["tester", "A"]}, "routers.front.routes[0].keys"),
        ({"routers.front.stiky": "key"}, "stiky"),
        ({"routers.chat": {"site": "here", "weights": {"chat": 100}}}, "has the name of a model at its site"),
        ({"models.chat.gateway": {"tlsSecret": "cert"}}, "models.chat.gateway.tlsCaSecret is missing"),
        (
            {"models.chat.gateway": {"tlsSecret": "cert", "tlsServerName": "chat.room.svc"}},
            "none signs chat.room.svc",
        ),
        (
            {"models.chat.gateway": {"tlsCaSecret": "ca"}},
            "tlsCaSecret is given; allowed: only with tlsSecret",
        ),
        (
            {"routers": {}, "models.chat.gateway": {"tlsSecret": "cert", "tlsServerName": "a.example.org"}},
            "tlsServerName is given; allowed: only of a model behind a router at here",
        ),
        ({"models.chat.service": {"type": "NodePort", "nodePort": 30080}}, "a port that here/chat does not"),
        ({"routers.front.entrance": {"via": "ingress"}}, "routers.front.entrance.hostname is missing"),
        ({"clients": {"cidrs": []}}, "clients.cidrs"),
        ({"routers.front.limit": {"requestsPerMinute": 0}}, "routers.front.limit.requestsPerMinute"),
        ({"sites.here": {"cluster": {"kubeconfig": "k"}}}, "sites.here.nodeAddress is missing"),
    ],
)
def test_what_is_wrong_is_named(load: Callable[..., Any], changes: Json, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(text(changes), KEYS, "routed")
    assert words in str(caught.value)


def test_a_router_in_production_has_a_second_replica(load: Callable[..., Any]) -> None:
    changes = {"environment": "production", "routers.front.replicas": 1}
    with pytest.raises(SettingsError) as caught:
        load(text(changes), KEYS, "routed")
    assert "routers.front.replicas is 1" in str(caught.value)
