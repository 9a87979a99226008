"""What reporters' and hybrid controllers' objects say, read by the agents themselves, and what is refused."""

from __future__ import annotations

import base64
import copy
import re
from typing import TYPE_CHECKING, Any

import pytest
from berth_agents.hybrid import documents
from berth_agents.hybrid.settings import ControllerSettings, ReporterSettings
from berth_components import ArgumentError, HybridController, SiteReporter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Json = dict[str, Any]
TOKEN = "canary-0123456789abcdef-0123456789abcdef"
REPORTER: Json = {
    "namespace": "room",
    "image": "registry.example/router:1",
    "site": "cloud",
    "models": {"chat": {"service": "chat", "selector": {"app.kubernetes.io/instance": "chat"}}},
    "token": TOKEN,
    "access": {"controllers": ["front"]},
}
CONTROLLER: Json = {
    "namespace": "room",
    "image": "registry.example/router:1",
    "router": "front",
    "model": "chat",
    "sites": [
        {"name": "home", "most_replicas": 3, "reporter": "front"},
        {
            "name": "cloud",
            "most_replicas": 4,
            "cost_per_replica_hour": 1.25,
            "address": "lb.example.org",
            "port": 8080,
            "tls_server_name": "sites.example.org",
            "ca_secret": "authority",
        },
    ],
    "policy": {"cost_cap_per_hour": 4},
    "token": TOKEN,
    "routes": {"bank": ["home"]},
}


def changed(args: Json, changes: Json) -> Json:
    args = copy.deepcopy(args)
    for path, value in changes.items():
        *groups, last = path.split(".")
        place: Any = args
        for group in groups:
            place = place[int(group)] if isinstance(place, list) else place.setdefault(group, {})
        if value is None:
            place.pop(last)
        else:
            place[last] = value
    return args


@pytest.fixture
def report(render: Callable[..., Any]) -> Callable[..., Any]:
    def run(changes: Json | None = None) -> Any:
        args = changed(REPORTER, changes or {})
        return render(lambda: SiteReporter("front", args))  # type: ignore[arg-type] # built up by the test

    return run


@pytest.fixture
def control(render: Callable[..., Any]) -> Callable[..., Any]:
    def run(changes: Json | None = None) -> Any:
        args = changed(CONTROLLER, changes or {})
        return render(lambda: HybridController("c", args))  # type: ignore[arg-type] # built up by the test

    return run


def environment(rendered: Any, files: Path) -> dict[str, str]:
    """What the container gets, its mounted folders laid below another one."""
    (pod,) = rendered.pods
    (container,) = pod["containers"]
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    for volume in pod["volumes"]:
        folder = files / mounts[volume["name"]].strip("/")
        folder.mkdir(parents=True)
        if "configMap" in volume:
            data = rendered.one("ConfigMap", volume["configMap"]["name"])["data"]
            for name, text in data.items():
                (folder / name).write_text(text)
        if volume.get("secret", {}).get("secretName") == "gateway-tls":
            for name in ("tls.crt", "tls.key"):
                (folder / name).write_text("-")
        elif "secret" in volume and volume["name"] == "token":
            for name, text in rendered.one("Secret")["data"].items():
                (folder / name).write_bytes(base64.b64decode(text))
    return {
        one["name"]: str(files) + one["value"] if one["value"].startswith("/") else one["value"]
        for one in container["env"]
    }


def test_the_reporter_reads_what_the_program_says(report: Any, tmp_path: Path) -> None:
    rendered = report({"tls_secret": "gateway-tls"})
    settings = ReporterSettings.from_environment(environment(rendered, tmp_path))
    assert (settings.site, settings.namespace) == ("cloud", "room")
    assert settings.tls == tmp_path / "etc/berth-site-tls"
    assert settings.token_file.read_text() == TOKEN
    found = documents.served(settings.document.read_text())
    assert found["chat"].service == "chat"
    assert found["chat"].selector == {"app.kubernetes.io/instance": "chat"}
    assert found["chat"].port == "metrics"
    (container,) = rendered.pods[0]["containers"]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert ports == {"http": settings.port, "probes": settings.probes_port}
    assert container["command"][-2:] == ["berth_agents.hybrid", "report"]
    assert TOKEN not in str(rendered.one("ConfigMap"))


def test_the_controller_reads_what_the_program_says(control: Any, tmp_path: Path) -> None:
    rendered = control(
        {"policy.overflow_at": 3, "policy.step_percent": 20, "policy.return_step_percent": 2.5}
    )
    settings = ControllerSettings.from_environment(environment(rendered, tmp_path))
    assert settings.token_file.read_text() == TOKEN
    found = documents.hybrid(settings.document.read_text())
    assert (found.router, found.namespace, found.model) == ("front", "room", "chat")
    home, cloud = found.places
    assert (home.url, home.ca_file, home.site.cost_per_replica_hour) == (
        "http://front-report.room.svc:8080",
        None,
        0,
    )
    assert (cloud.url, cloud.server_name) == ("https://lb.example.org:8080", "sites.example.org")
    assert cloud.ca_file == "/etc/berth-hybrid-ca/0/ca.crt"
    mounts = {one["mountPath"] for one in rendered.pods[0]["containers"][0]["volumeMounts"]}
    assert "/etc/berth-hybrid-ca/0" in mounts
    assert (cloud.site.cost_per_replica_hour, cloud.site.most_replicas) == (1.25, 4)
    assert found.routes == {"bank": ("home",), "all": ("home", "cloud")}
    policy = found.policy
    assert (policy.cost_cap_per_hour, policy.overflow_at, policy.return_below) == (4, 3, 1)
    assert (policy.step, policy.return_step) == (2000, 250)
    (container,) = rendered.pods[0]["containers"]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert ports == {"metrics": settings.metrics_port, "probes": settings.probes_port}


def test_permissions_are_the_least(report: Any, control: Any) -> None:
    assert report().one("Role")["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    assert control().one("Role")["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": ["front-weights"],
            "verbs": ["get", "patch"],
        }
    ]


def test_the_ways_are_open_at_both_ends(report: Any, control: Any, serve: Any) -> None:
    asked, asks = report(), control()
    (way_in,) = asked.one("NetworkPolicy")["spec"]["ingress"]
    out = asks.one("NetworkPolicy")["spec"]["egress"]
    labels = asks.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    theirs = asked.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert way_in["from"][0]["podSelector"]["matchLabels"].items() <= labels.items()
    way_out = next(rule for rule in out if "podSelector" in rule["to"][0])
    assert way_out["to"][0]["podSelector"]["matchLabels"].items() <= theirs.items()
    assert way_out["ports"] == way_in["ports"]
    server = serve({"access.reporters": ["front"]})
    metrics = next(
        rule for rule in server.one("NetworkPolicy")["spec"]["ingress"] if rule["ports"][0]["port"] == 9000
    )
    selected = [one["podSelector"]["matchLabels"] for one in metrics["from"] if "podSelector" in one]
    assert any(one.items() <= theirs.items() for one in selected)
    assert not asks.one("NetworkPolicy")["spec"].get("ingress")


def test_weights_are_the_controllers_own(control: Any) -> None:
    weights = control().one("ConfigMap", "front-weights")
    assert "data" not in weights


def test_a_change_of_what_is_read_once_makes_a_new_pod(report: Any, control: Any) -> None:
    for made, changes in ((report, {"site": "other"}), (control, {"policy.cost_cap_per_hour": 5})):
        before, after = (made(one).one("Deployment")["spec"]["template"] for one in ({}, changes))
        assert before != after
    # The token is a file that is read again.
    other = TOKEN[::-1]
    assert report({"token": other}).one("Deployment") == report().one("Deployment")
    assert report().one("Deployment")["spec"]["strategy"]["type"] == "RollingUpdate"
    # Two controllers would move the same load twice.
    assert control().one("Deployment")["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": {}}, "argument 'models' is empty"),
        ({"token": "short"}, "argument 'token' is [secret]; allowed: 32 to 256"),
        ({"access": {}}, "access.client_cidrs' is empty"),
        ({"access.client_cidrs": ["0.0.0.0/0"]}, "which is everybody"),
        ({"service": {"type": "LoadBalancer"}}, "access.client_cidrs' is empty"),
        ({"service": {"node_port": 30000}}, "service.node_port' is given; allowed: only with type NodePort"),
        ({"service": {"external_traffic_policy": "Local"}}, "only with NodePort and LoadBalancer"),
        ({"sites": "home"}, "did you mean 'site'?"),
    ],
)
def test_wrong_reporters_are_refused(changes: Json, message: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(message)):
        SiteReporter("front", changed(REPORTER, changes))  # type: ignore[arg-type] # wrong by design


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sites": []}, "argument 'sites' is empty"),
        ({"sites.0.name": "cloud"}, "sites[1].name' is cloud again"),
        ({"sites.0.address": "a"}, "sites[0].reporter' is given beside address"),
        ({"sites.1.address": None}, "sites[1].reporter' is missing"),
        ({"sites.0.port": 1}, "sites[0].port' is given; allowed: only with address"),
        ({"sites.1.tls_server_name": None}, "only with tls_server_name"),
        ({"policy.cost_cap_per_hour": -1}, "policy.cost_cap_per_hour' is -1"),
        ({"policy.return_below": 4}, "policy.return_below' is 4; allowed: less than overflow_at, 4"),
        ({"policy.return_step_percent": 11}, "at most step_percent, 10"),
        ({"policy.hold_seconds": 5}, "at least silent_seconds, 10"),
        ({"routes.bank": ["hme"]}, "routes.bank' is hme; allowed: some of home, cloud"),
        ({"routes.all": ["cloud", "home"]}, "all sites in their order"),
        ({"token": "short"}, "argument 'token' is [secret]"),
    ],
)
def test_wrong_controllers_are_refused(changes: Json, message: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(message)):
        HybridController("c", changed(CONTROLLER, changes))  # type: ignore[arg-type] # wrong by design
