"""A real API server takes every object: field names, values, Pod Security."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from berth_components import Autoscaler, MetricsAdapter, ModelServer, RestrictedNamespace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Json = dict[str, Any]
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
