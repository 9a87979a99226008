"""What the metrics adapter's objects say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from berth_agents.metrics_adapter.settings import Settings
from berth_components import MetricsAdapter

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
NAME = "berth-metrics-adapter"


@pytest.fixture
def adapt(render: Callable[..., Any]) -> Callable[..., Any]:
    def run(changes: Json | None = None) -> Any:
        args = {"image": "registry.example/adapter:1", **(changes or {})}
        return render(lambda: MetricsAdapter("adapter", args))  # type: ignore[arg-type] # built up by the test

    return run


def test_permissions_are_the_least(adapt: Callable[..., Any]) -> None:
    rendered = adapt()
    assert rendered.one("ClusterRole")["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
        {
            "apiGroups": ["apiregistration.k8s.io"],
            "resources": ["apiservices"],
            "resourceNames": ["v1beta1.external.metrics.k8s.io"],
            "verbs": ["get", "patch"],
        },
    ]
    assert rendered.one("Role")["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": [f"{NAME}-tls"],
            "verbs": ["get", "update"],
        },
    ]
    reader = rendered.one("RoleBinding", f"{NAME}-authentication-reader")
    assert reader["metadata"]["namespace"] == "kube-system"
    assert reader["roleRef"]["name"] == "extension-apiserver-authentication-reader"
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": "berth-metrics"}
    bindings = [o for o in rendered.objects if o["kind"].endswith("Binding")]
    assert [binding["subjects"] for binding in bindings] == [[subject]] * 3
    assert "*" not in json.dumps([o for o in rendered.objects if "rules" in o])


def test_the_adapter_takes_its_settings(adapt: Callable[..., Any]) -> None:
    """The adapter's own reader, on what the container gets."""
    rendered = adapt({"namespace": "signals"})
    (pod,) = rendered.pods
    environment = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
    settings = Settings.from_environment(environment)
    assert (settings.namespace, settings.service, settings.port) == ("signals", NAME, 10250)
    secrets = rendered.one("Role")["rules"][1]["resourceNames"]
    assert secrets == [settings.secret]
    service = rendered.one("Service")
    assert service["metadata"]["name"] == settings.service
    assert service["spec"]["ports"][0]["targetPort"] == pod["containers"][0]["ports"][0]["name"]


def test_the_certificate_is_the_adapters_own_matter(adapt: Callable[..., Any]) -> None:
    rendered = adapt()
    spec = rendered.one("APIService")["spec"]
    assert "caBundle" not in spec
    assert "insecureSkipTLSVerify" not in spec
    assert spec["service"] == {"namespace": "berth-metrics", "name": NAME, "port": 443}
    assert not [o for o in rendered.objects if o["kind"] == "Secret"]


def test_the_signal_alone_passes(adapt: Callable[..., Any]) -> None:
    def policy(changes: Json) -> Json:
        spec: Json = adapt(changes).one("NetworkPolicy", NAME)["spec"]
        return spec

    narrow = policy({"api_server_cidrs": ["198.18.48.1/32"]})
    server = {"ipBlock": {"cidr": "198.18.48.1/32"}}
    port = {"port": 10250, "protocol": "TCP"}
    # Konnectivity's agents: no range of addresses matches a pod under Cilium, GKE's Dataplane V2.
    agents = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
    assert narrow["ingress"] == [
        {"from": [server], "ports": [port]},
        {"from": [agents], "ports": [port]},
    ]
    gateways, routers, servers = narrow["egress"]
    assert gateways["to"] == [
        {"namespaceSelector": {}, "podSelector": {"matchLabels": {"berth.dev/queue-metrics": "true"}}}
    ]
    assert [port["port"] for port in gateways["ports"]] == [9000]
    assert routers["to"] == [
        {"namespaceSelector": {}, "podSelector": {"matchLabels": {"berth.dev/queue-metrics": "router"}}}
    ]
    assert [port["port"] for port in routers["ports"]] == [9003]
    assert servers["to"] == [server]
    wide = policy({})
    assert wide["ingress"][1] == {"from": [agents], "ports": [port]}
    for rule in (wide["ingress"][0]["from"], wide["egress"][2]["to"]):
        assert [peer["ipBlock"]["except"][0] for peer in rule] == ["169.254.0.0/16", "fe80::/10"]
        assert "fd00:ec2::254/128" in rule[1]["ipBlock"]["except"]


def test_an_existing_one_is_left_alone(render: Callable[..., Any]) -> None:
    found: Json = {}

    def program() -> object:
        adapter = MetricsAdapter("adapter", {"mode": "existing", "namespace": "signals"})
        return adapter.namespace.apply(lambda name: found.update(namespace=name))

    assert render(program).objects == []
    assert found == {"namespace": "signals"}


def test_replicas(adapt: Callable[..., Any]) -> None:
    assert adapt({"replicas": 2}).one("Deployment")["spec"]["replicas"] == 2
    assert adapt({"image_pull_secrets": ["r"]}).pods[0]["imagePullSecrets"] == [{"name": "r"}]
