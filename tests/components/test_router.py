"""What a router's objects say, read by the controller itself, and what its args refuse."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from berth_agents.router.document import Document, parse
from berth_agents.router.settings import Settings
from berth_components import ArgumentError, MetricsAdapter, Router

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Json = dict[str, Any]
KEY = "canary-0123456789abcdef"
ARGS: Json = {
    "namespace": "room",
    "image": "registry.example/router:1",
    "envoy_image": "registry.example/envoy:1",
    "variants": {"main": {"backends": [{"service": "chat"}]}, "next": {"backends": [{"service": "chat-2"}]}},
    "routes": [{"name": "all", "weights": {"main": 95.5, "next": 4.5}, "sticky": "x-user"}],
    "access": {"client_cidrs": ["10.0.0.0/8"]},
}
ELSEWHERE: Json = {
    "hosts": [{"address": "gpu.example", "port": 443}],
    "tls_server_name": "gpu.example",
    "ca_secret": "authority",
}


def changed(**changes: Any) -> Json:
    return {**copy.deepcopy(ARGS), **changes}


@pytest.fixture
def route(render: Callable[..., Any]) -> Callable[..., Any]:
    def run(**changes: Any) -> Any:
        return render(lambda: Router("front", changed(**changes)))  # type: ignore[arg-type] # built up by the test

    return run


def document(rendered: Any) -> Document:
    return parse(rendered.one("ConfigMap")["data"]["router.json"])


def test_the_controller_reads_what_the_program_says(route: Any) -> None:
    found = document(route())
    assert found.routes[0].weights == {"main": 9550, "next": 450}
    assert found.routes[0].sticky == "x-user"
    service = found.backends["next"].service
    assert service is not None
    assert (service.namespace, service.name) == ("room", "chat-2")
    assert found.limit is None


def test_everything_that_can_be_said_arrives(route: Any) -> None:
    rendered = route(
        variants={"main": {"backends": [{"service": "chat"}, ELSEWHERE]}},
        routes=[
            {"name": "residents", "keys": ["team"], "headers": {"X-Home": "yes"}, "weights": {"main": 100}},
            {"name": "all", "experiment": "second", "sticky": "key", "weights": {"main": 100}},
        ],
        api_keys={"team": KEY, "other": json.dumps({"key": f"{KEY}-2"})},
        limit={"requests_per_minute": 60},
        key_limits={"other": {"requests_per_minute": 6, "burst": 2}},
        timeouts={"connect": 0.5, "body": 30, "stream_idle": 120, "request": 900},
        retries={"attempts": 0, "budget_percent": 0},
        ejection={"failures": 2, "seconds": 7, "most_percent": 30},
        access_log=False,
    )
    found = document(rendered)
    assert found.variants["main"].backends == ("main", "main-2")
    tls = found.backends["main-2"].tls
    assert tls is not None
    assert (tls.server_name, tls.ca_file) == ("gpu.example", "/etc/berth-router-ca/0/ca.crt")
    assert found.routes[0].match.keys == ("team",)
    assert found.routes[0].match.headers == {"x-home": "yes"}
    assert (found.routes[1].experiment, found.routes[1].sticky) == ("second", "key")
    assert found.keys["team"].sha256 == hashlib.sha256(KEY.encode()).hexdigest()
    assert found.keys["other"].sha256 == hashlib.sha256(f"{KEY}-2".encode()).hexdigest()
    assert found.keys["team"].limit is None
    assert found.keys["other"].limit == found.keys["other"].limit.__class__(6, 2)
    assert found.limit is not None
    assert (found.limit.per_minute, found.limit.burst) == (60, 60)
    listener = found.listener
    assert (listener.body_seconds, listener.stream_idle_seconds, listener.request_seconds) == (30, 120, 900)
    assert not listener.access_log
    assert (found.connect_seconds, found.retries.attempts, found.retries.budget_percent) == (0.5, 0, 0)
    assert (found.ejection.failures, found.ejection.seconds, found.ejection.most_percent) == (2, 7, 30)
    assert KEY not in json.dumps(rendered.objects)
    (pod,) = rendered.pods
    mounts = {mount["mountPath"] for mount in pod["initContainers"][1]["volumeMounts"]}
    assert "/etc/berth-router-ca/0" in mounts
    ports = [rule["ports"] for rule in rendered.one("NetworkPolicy")["spec"]["egress"]]
    assert [{"port": 443, "protocol": "TCP"}] in ports


def test_new_weights_need_no_new_pods_and_a_new_listener_does(route: Any) -> None:
    def template(**changes: Any) -> Json:
        found: Json = route(**changes).one("Deployment")["spec"]["template"]
        return found

    moved = [{"name": "all", "weights": {"main": 50, "next": 50}}]
    assert template() == template(routes=moved, retries={"attempts": 1}, ejection={"failures": 9})
    assert template() != template(timeouts={"request": 60})
    assert template() != template(limit={"requests_per_minute": 60})


def test_the_controller_takes_its_settings_and_the_pod_can_drain(route: Any, tmp_path: Path) -> None:
    (pod,) = route(termination={"pre_stop_seconds": 3, "drain_seconds": 50}).pods
    begin, envoy = pod["initContainers"]
    (controller,) = pod["containers"]
    environment = {entry["name"]: entry["value"] for entry in controller["env"]}
    folder = environment["BERTH_ROUTER_FOLDER"]
    settings = Settings.from_environment({**environment, "BERTH_ROUTER_FOLDER": str(tmp_path)})
    assert (settings.namespace, settings.config_map) == ("room", "front")
    assert settings.port == controller["ports"][0]["containerPort"]
    assert pod["terminationGracePeriodSeconds"] == 3 + 50 + 5
    assert settings.pre_stop_seconds + settings.drain_seconds + 5 <= pod["terminationGracePeriodSeconds"]
    assert begin["command"][-1] == "begin"
    # A native sidecar outlives the controller, which drains it.
    assert envoy["restartPolicy"] == "Always"
    assert f"{folder}/bootstrap.json" in envoy["args"]
    for container in (begin, envoy, controller):
        assert folder in {mount["mountPath"] for mount in container["volumeMounts"]}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["resources"]["limits"]["memory"]


def test_permissions_are_the_least(route: Any) -> None:
    rendered = route()
    assert rendered.one("Role")["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": ["front", "front-weights"],
            "verbs": ["list", "watch"],
        },
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    assert not [o for o in rendered.objects if o["kind"].startswith("Cluster")]


def test_the_ways_are_open_at_both_ends(route: Any, serve: Any) -> None:
    policy = route().one("NetworkPolicy")["spec"]
    way = policy["egress"][1]
    server = serve({"access.client_cidrs": None, "access.routers": ["front"]})
    admitted = server.one("NetworkPolicy")["spec"]["ingress"][0]
    assert [port["port"] for port in admitted["ports"]] == [8000] == [port["port"] for port in way["ports"]]
    own = route().one("Deployment")["spec"]["template"]["metadata"]["labels"]
    theirs = server.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    (peer,) = admitted["from"]
    assert peer["podSelector"]["matchLabels"].items() <= own.items()
    assert way["to"][0]["podSelector"]["matchLabels"].items() <= theirs.items()


def test_a_server_without_a_replica_is_woken(route: Any, render: Any) -> None:
    def one(wakes: Json) -> list[Json]:
        return [{"service": "chat", "wakes": wakes}]

    held = {"hold_seconds": 60, "most": 7, "body_bytes": 3_000_000, "keys_secret": "chat-api-keys"}
    rendered = route(
        variants={
            "main": {"backends": one(held)},
            "next": {"backends": one({"allow_anonymous": True})},
        },
        access={
            "client_cidrs": ["10.0.0.0/8"],
            "prometheus_namespace": "watch",
            "adapter_namespace": "signals",
        },
    )
    said = json.loads(rendered.one("ConfigMap")["data"]["router.json"])["backends"]
    assert said["main"]["wakes"] == {
        "holdSeconds": 60, "most": 7, "bodyBytes": 3_000_000, "keys": True
    }  # fmt: skip
    assert said["next"]["wakes"] == {
        "holdSeconds": 300, "most": 100, "bodyBytes": 2_000_000, "keys": False
    }  # fmt: skip
    template = rendered.one("Deployment")["spec"]["template"]
    assert template["metadata"]["labels"]["berth.dev/queue-metrics"] == "router"
    (controller,) = template["spec"]["containers"]
    assert {"name": "load", "containerPort": 9003, "protocol": "TCP"} in controller["ports"]
    environment = {entry["name"]: entry["value"] for entry in controller["env"]}
    assert environment["BERTH_ROUTER_LOAD_PORT"] == "9003"
    keys = environment["BERTH_ROUTER_KEYS"]
    # Only who asks for keys has a folder of them, and only the controller sees it.
    (mount,) = [one for one in controller["volumeMounts"] if one["mountPath"].startswith(keys)]
    assert (mount["mountPath"], mount["readOnly"]) == (f"{keys}/main", True)
    (volume,) = [one for one in template["spec"]["volumes"] if one["name"] == mount["name"]]
    assert volume["secret"]["secretName"] == "chat-api-keys"
    for other in template["spec"]["initContainers"]:
        assert mount["name"] not in {one["name"] for one in other["volumeMounts"]}
    by_port = {
        port["port"]: rule["from"]
        for rule in rendered.one("NetworkPolicy")["spec"]["ingress"]
        for port in rule["ports"]
        if len(rule["ports"]) == 1
    }
    (adapter,) = by_port[9003]
    assert adapter["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "metrics-adapter"}
    way = render(lambda: MetricsAdapter("adapter", {"image": "registry.example/adapter:1"}))
    (out,) = [
        rule
        for rule in way.one("NetworkPolicy", "berth-metrics-adapter")["spec"]["egress"]
        if 9003 in [port["port"] for port in rule["ports"]]
    ]
    chosen = out["to"][0]["podSelector"]["matchLabels"]
    assert chosen.items() <= template["metadata"]["labels"].items()


def test_a_router_that_wakes_nobody_has_nothing_of_it(route: Any) -> None:
    rendered = route()
    template = rendered.one("Deployment")["spec"]["template"]
    assert "berth.dev/queue-metrics" not in template["metadata"]["labels"]
    assert "9003" not in json.dumps(rendered.objects)


def test_entrances(route: Any) -> None:
    rendered = route(
        entrance={"type": "LoadBalancer", "hostname": "chat.example.org", "certificate_secret": "cert"}
    )
    service = rendered.one("Service")
    assert service["spec"]["loadBalancerSourceRanges"] == ["10.0.0.0/8"]
    assert service["spec"]["ports"][0]["port"] == 443
    assert (
        service["metadata"]["annotations"]["external-dns.alpha.kubernetes.io/hostname"] == "chat.example.org"
    )
    assert document(rendered).listener.tls == "/etc/berth-router-tls"
    (pod,) = rendered.pods
    assert pod["terminationGracePeriodSeconds"] == 35 + 60 + 5

    common = {"hostname": "chat.example.org", "certificate_secret": "cert"}
    rendered = route(entrance={"via": "gateway-api", "class_name": "istio", **common})
    (listener,) = rendered.one("Gateway")["spec"]["listeners"]
    assert (listener["port"], listener["tls"]["certificateRefs"]) == (443, [{"name": "cert"}])
    http_route = rendered.one("HTTPRoute")["spec"]
    assert http_route["parentRefs"] == [{"name": "front"}]
    assert http_route["hostnames"] == ["chat.example.org"]
    assert http_route["rules"][0]["timeouts"] == {"request": "0s"}
    assert document(rendered).listener.tls is None
    assert document(rendered).listener.trusted_hops == 1

    shared = {"gateway": "shared", "gateway_namespace": "edge", "hostname": "chat.example.org"}
    rendered = route(entrance={"via": "gateway-api", **shared})
    assert rendered.one("HTTPRoute")["spec"]["parentRefs"] == [{"name": "shared", "namespace": "edge"}]
    assert not [o for o in rendered.objects if o["kind"] == "Gateway"]

    rendered = route(entrance={"via": "ingress", "class_name": "nginx", **common})
    ingress = rendered.one("Ingress")["spec"]
    assert ingress["tls"] == [{"hosts": ["chat.example.org"], "secretName": "cert"}]
    assert ingress["rules"][0]["host"] == "chat.example.org"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": {}}, "argument 'variants' is empty"),
        ({"variants": {"Main": {"backends": [{"service": "chat"}]}}}, "argument 'variants' is 'Main'"),
        ({"variants": {"main": {"backends": [{}]}}}, "either service or hosts"),
        (
            {"variants": {"main": {"backends": [{"service": "a", "ca_secret": "b"}]}}},
            "variants.main.backends[0].ca_secret' is given; allowed: only with tls_server_name",
        ),
        *(
            ({"variants": {"main": {"backends": [{"service": "chat", **wakes}]}}, **more}, message)
            for wakes, more, message in (
                ({"wakes": {}}, {}, "keys_secret' is missing; allowed: exactly one of keys_secret and"),
                (
                    {"wakes": {"keys_secret": "keys", "allow_anonymous": True}},
                    {},
                    "keys_secret' is given beside allow_anonymous: True",
                ),
                (
                    {"wakes": {"keys_secret": "keys", "hold_seconds": 600}},
                    {},
                    "hold_seconds' is 600; allowed: less than timeouts.stream_idle, which is 600",
                ),
                (
                    {"wakes": {"keys_secret": "keys"}},
                    {"timeouts": {"request": 200}},
                    "hold_seconds' is 300; allowed: less than timeouts.request, which is 200",
                ),
                ({"wakes": {"keys_secret": "keys", "most": 1001}}, {}, "wakes.most' is 1001"),
                ({"wakes": {"keys_secret": "keys"}, "asked": True}, {}, "is given beside asked"),
                (
                    {"wakes": {"keys_secret": "keys", "body_bytes": 9 << 20}},
                    {},
                    "wakes.body_bytes' is 9437184",
                ),
            )
        ),
        (
            {
                "variants": {
                    "main": {"backends": [{"hosts": ELSEWHERE["hosts"], "wakes": {"keys_secret": "keys"}}]}
                }
            },
            "wakes' is given; allowed: only with service",
        ),
        (
            {
                "variants": {
                    "main": {"backends": [{"service": "chat", "wakes": {"keys_secret": "k"}}, ELSEWHERE]}
                }
            },
            "backends' is of several, and main wakes; allowed: only the one that wakes",
        ),
        ({"routes": []}, "argument 'routes' is empty"),
        ({"routes": [{"name": "all", "weights": {"main": 99}}]}, "is 99 together; allowed: 100 together"),
        ({"routes": [{"name": "all", "weights": {"man": 100}}]}, "is of 'man'; allowed: of main, next"),
        ({"routes": [{"name": "all", "weights": {"main": "100"}}]}, "routes[0].weights.main' is '100'"),
        (
            {"routes": [{"name": "all", "weights": {"main": 100}, "headers": {"x-a": "b"}}]},
            "nothing in the last route",
        ),
        ({"routes": [{"name": "all", "weights": {"main": 100}, "sticky": "a b"}]}, "routes[0].sticky"),
        ({"key_limits": {"x": {"requests_per_minute": 1}}}, "argument 'api_keys' is missing"),
        ({"limit": {"per_minute": 1}}, "argument 'limit.per_minute' does not exist"),
        (
            {"access": {"client_cidrs": ["10.0.0.0/8"], "adapter_namespace": "signals"}},
            "access.adapter_namespace' is given; allowed: only with a backend that wakes",
        ),
        ({"access": {}}, "at least one of client_cidrs and client_namespaces"),
        ({"access": {"client_cidrs": ["0.0.0.0/0"]}}, "which is everybody"),
        ({"entrance": {"type": "NodePort", "node_port": 80}}, "entrance.node_port' is 80"),
        ({"entrance": {"via": "ingress"}}, "entrance.hostname' is missing"),
        ({"entrance": {"via": "gateway-api", "hostname": "a.b"}}, "either class_name or gateway"),
        ({"entrance": {"class_name": "nginx"}}, "only with gateway-api and ingress"),
        ({"timeouts": {"request": 0}}, "timeouts.request' is 0"),
        ({"replicas": 0}, "argument 'replicas' is 0"),
    ],
)
def test_what_is_wrong_is_refused(changes: Json, message: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(message)):
        Router("front", changed(**changes))  # type: ignore[arg-type] # wrong by design


def test_a_route_of_a_key_that_nobody_has_is_refused(route: Any) -> None:
    routes = [{"name": "a", "keys": ["tem"], "weights": {"main": 100}}, *ARGS["routes"]]
    # Keys are an output, so Pulumi says it when they are known.
    with pytest.raises(ValueError, match="of the key 'tem'"):
        route(routes=routes, api_keys={"team": KEY})


def test_digests_are_no_secret_and_keys_are(render: Any) -> None:
    seen: list[bool] = []

    def program() -> None:
        keys = pulumi.Output.secret({"team": KEY})
        routes = [{"name": "a", "keys": ["team"], "weights": {"main": 100}}, *ARGS["routes"]]
        Router("front", changed(routes=routes, api_keys=keys))  # type: ignore[arg-type] # as above

    rendered = render(program)
    seen += [
        "4dabf18193072939515e22adb298388d" in json.dumps(r.inputs, default=str) for r in rendered.resources
    ]
    assert not any(seen), "a document that is secret could not be reviewed"
    assert KEY not in json.dumps(rendered.objects)
