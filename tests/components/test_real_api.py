"""A real API server takes every object: field names, values, Pod Security."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from berth.localcluster import ClusterError
from berth_components import Autoscaler, MetricsAdapter, ModelServer, RestrictedNamespace, Router

from tests.go_modules import fetched

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
PINS = Path(__file__).with_name("gateway_api")
"""go.mod and go.sum with the version of the Gateway API whose definitions are asked."""
# Together they set every field that the components can set.
HUB: Json = {
    "engine.resources": {"cpu_request": "4", "memory_request": "32Gi", "memory_limit": "64Gi"},
    "weights.source": "hub",
    "weights.file": None,
    "weights.sha256": None,
    "weights.repo": "example/tiny",
    "weights.revision": "0123456789" * 4,
    "weights.files": [{"path": "model.safetensors", "size": 15_000_000_000, "sha256": "d" * 64}],
}
SERVERS: dict[str, Json] = {
    "gpu": {
        **HUB,
        "engine.name": "vllm",
        "engine.quantisation": "fp8",
        "gpu": {"count": 4},
        "weights.token_secret": "hub",
        "service_account.annotations": {"iam.gke.io/gcp-service-account": "a@b.iam.gserviceaccount.com"},
    },
    "neuron": {
        **HUB,
        "engine.name": "vllm",
        "gpu": {"count": 2, "resource": "aws.amazon.com/neuron"},
        "weights.hub_cidrs": ["198.51.100.0/24"],
    },
    "filled": {
        **HUB,
        "engine.name": "sglang",
        "gpu": {"count": 1},
        "weights.source": "volume",
        "weights.path": "tiny",
        "weights.storage": "claim",
        "weights.claim_name": "models",
    },
    "plain": {},
    "full": {
        "weights.storage": "new-claim",
        "weights.storage_class": "standard",
        "weights.size": "2Gi",
        "engine.threads": 2,
        "gpu": {"count": 1, "simulated": True},
        "placement": {
            "node_selector": {"pool": "gpu"},
            "tolerations": [{"key": "spot", "value": "yes", "effect": "NoSchedule"}, {"key": "any"}],
            "priority_class": "system-cluster-critical",
            "spread": "required",
        },
        "service": {
            "type": "LoadBalancer",
            "annotations": {"example.com/internal": "true"},
            "external_traffic_policy": "Local",
        },
        "access": {"client_namespaces": ["apps"], "client_cidrs": ["10.0.0.0/8", "fd00::/8"]},
        "rollout": {"max_surge": 0, "max_unavailable": 1},
        "image_pull_secrets": ["registry"],
        "replicas": 3,
    },
    "port": {
        "weights.storage": "claim",
        "weights.claim_name": "models",
        "service": {"type": "NodePort", "node_port": 32123, "external_traffic_policy": "Cluster"},
        "termination": {"pre_stop_seconds": 0, "drain_seconds": 5, "grace_seconds": 60},
        "api_keys": None,
        "allow_anonymous": True,
        "replicas": None,
        "autoscaled": True,
    },
}


@pytest.mark.cluster
def test_the_api_server_takes_every_object(
    cluster: Any, render: Callable[..., Any], base_args: Callable[[Json], Json], tmp_path: Path
) -> None:
    rooms = ("components-room", "components-metrics")

    def program() -> None:
        room = RestrictedNamespace("room", {"name": rooms[0]})
        for name, changes in SERVERS.items():
            ModelServer(name, base_args({**changes, "namespace": room.namespace}))  # type: ignore[arg-type] # built up
        for metric, name in (("queue_depth", "port"), ("cpu", "full")):
            Autoscaler(
                f"{name}-scaling",
                {
                    "namespace": room.namespace,
                    "deployment": name,
                    "server": name,
                    "max_replicas": 3,
                    "metric": metric,
                    "target": 2.5 if metric == "queue_depth" else 70,
                },
            )
        ranges = pulumi.Output.from_input(["198.18.0.0/15"])
        MetricsAdapter(
            "adapter",
            {"image": "registry.example/adapter:1", "namespace": rooms[1], "api_server_cidrs": ranges},
        )

    file = tmp_path / "objects.json"
    objects = render(program).objects
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    # A dry run of what is in a namespace needs the namespace; only the two are really there, for a moment.
    spaces = tmp_path / "namespaces.json"
    namespaces = [o for o in objects if o["kind"] == "Namespace"]
    spaces.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": namespaces}))
    try:
        cluster.kubectl("apply", "--server-side", "--field-manager=berth", "-f", str(spaces))
        applied = cluster.kubectl(
            *("apply", "--server-side", "--dry-run=server", "--validate=strict", "--field-manager=berth"),
            *("--warnings-as-errors", "-f", str(file)),
        )
    finally:
        cluster.kubectl("delete", "namespace", *rooms, "--ignore-not-found", "--wait=false")
    assert applied.count("(server dry run)") == len(objects)


ROUTER: Json = {
    "namespace": "default",
    "image": "registry.example/router:1",
    "envoy_image": "registry.example/envoy:1",
    "variants": {"main": {"backends": [{"service": "chat"}]}},
    "routes": [{"name": "all", "weights": {"main": 100}}],
    "access": {"client_cidrs": ["10.0.0.0/8"]},
}
NAMED: Json = {"hostname": "chat.example.org", "annotations": {"example.com/internal": "true"}}
ENTRANCES: dict[str, Json] = {
    "made": {"via": "gateway-api", "class_name": "istio", **NAMED},
    "secured": {"via": "gateway-api", "class_name": "istio", "certificate_secret": "cert", **NAMED},
    "wild": {"via": "gateway-api", "class_name": "istio", "hostname": "*.example.org"},
    "shared": {
        "via": "gateway-api",
        "gateway": "edge",
        "gateway_namespace": "edge",
        "hostname": "chat.example.org",
    },
    "ingress": {"via": "ingress", "class_name": "nginx", "certificate_secret": "cert", **NAMED},
    "default-ingress": {"via": "ingress", "hostname": "chat.example.org"},
}
GATEWAY_API = "sigs.k8s.io/gateway-api"


def entrances(render: Callable[..., Any]) -> list[Json]:
    """Every kind of entrance, as a router makes it."""

    def program() -> None:
        for name, entrance in ENTRANCES.items():
            Router(name, {**ROUTER, "entrance": entrance})  # type: ignore[typeddict-item] # built up

    kinds = {"Gateway", "HTTPRoute", "Ingress", "Service"}
    return [one for one in render(program).objects if one["kind"] in kinds]


@pytest.mark.cluster
def test_the_gateway_apis_own_definitions_take_every_entrance(
    cluster: Any, render: Callable[..., Any], tmp_path: Path
) -> None:
    definitions = fetched(GATEWAY_API, PINS, name="gateway-api-standard", within="config/crd/standard")
    crds = [
        str(definitions / f"gateway.networking.k8s.io_{plural}.yaml") for plural in ("gateways", "httproutes")
    ]
    objects = entrances(render)
    assert Counter(one["kind"] for one in objects) == {
        "Gateway": 3, "HTTPRoute": 4, "Ingress": 2, "Service": len(ENTRANCES),
    }  # fmt: skip
    file = tmp_path / "objects.json"

    def applied(items: list[Json]) -> str:
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        said: str = cluster.kubectl(
            *("apply", "--server-side", "--dry-run=server", "--validate=strict", "--field-manager=berth"),
            *("--warnings-as-errors", "-f", str(file)),
        )
        return said

    try:
        for crd in crds:
            cluster.kubectl("apply", "--server-side", "-f", crd)
        cluster.kubectl(
            *("wait", "--for=condition=Established", "--timeout=120s"),
            *("crd/gateways.gateway.networking.k8s.io", "crd/httproutes.gateway.networking.k8s.io"),
        )
        assert applied(objects).count("(server dry run)") == len(objects)
        # They bite: a field that is not there, and values that are not allowed.
        for kind, path, value in (
            ("HTTPRoute", ("rules", 0, "timeout"), "0s"),
            ("HTTPRoute", ("rules", 0, "timeouts", "request"), "for ever"),
            ("Gateway", ("listeners", 0, "host"), "chat.example.org"),
            ("Ingress", ("ingressClass",), "nginx"),
        ):
            wrong = copy.deepcopy(next(one for one in objects if one["kind"] == kind))
            place = wrong["spec"]
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value
            with pytest.raises(ClusterError, match=str(path[-1])):
                applied([wrong])
    finally:
        for crd in crds:
            cluster.kubectl("delete", "-f", crd, "--ignore-not-found", "--wait=false")
