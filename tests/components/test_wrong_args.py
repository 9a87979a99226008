"""Wrong args fail where they are made, by name, value, what is allowed, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from berth_components import (
    ArgumentError,
    Autoscaler,
    ExistingCluster,
    MetricsAdapter,
    ModelServer,
    RestrictedNamespace,
)

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
KEY = "canary-0123456789abcdef"

# Changes to good args, the argument that is named, and words that the message must have.
SERVER: list[tuple[Json, str, list[str]]] = [
    ({"namespace": None}, "namespace", ["missing", "letters"]),
    ({"namespace": "Room_1"}, "namespace", ["'Room_1'", "lower-case"]),
    ({"name": "x" * 41}, "name", ["40"]),
    ({"name": "1chat"}, "name", ["'1chat'", "beginning with a letter"]),
    ({"replica": 3}, "replica", ["does not exist", "did you mean 'replicas'"]),
    ({"service.nodePort": 30080}, "service.nodePort", ["does not exist", "did you mean 'node_port'"]),
    ({"replicas": 0}, "replicas", ["is 0", "1 to 1000"]),
    ({"replicas": "3"}, "replicas", ["is '3'", "whole number"]),
    ({"replicas": True}, "replicas", ["is True", "whole number"]),
    ({"replicas": 2.5}, "replicas", ["is 2.5"]),
    ({"replicas": None}, "replicas", ["missing", "autoscaled"]),
    ({"autoscaled": True}, "replicas", ["the Autoscaler owns the number"]),
    ({"autoscaled": "yes", "replicas": None}, "autoscaled", ["'yes'", "True or False"]),
    ({"engine.name": "vlm"}, "engine.name", ["'vlm'", "llama.cpp", "vllm"]),
    ({"engine": None}, "engine.name", ["missing", "llama.cpp"]),
    ({"engine.image": "engine"}, "engine.image", ["'engine'", "version or digest"]),
    ({"engine.image": "registry.example/engine:latest"}, "engine.image", ["latest"]),
    ({"engine.image": "Registry/engine:1"}, "engine.image", ["image reference"]),
    ({"engine.image": "e@sha256:12"}, "engine.image", ["64 hex digits"]),
    ({"engine.threads": -1}, "engine.threads", ["is -1", "0 to 1024"]),
    ({"engine.resources": None}, "engine.resources.cpu_request", ["missing", "quantity"]),
    ({"engine.resources.cpu_request": 2}, "engine.resources.cpu_request", ["is 2", "string"]),
    ({"engine.resources.memory_limit": "2GB"}, "engine.resources.memory_limit", ["'2GB'", "16Gi"]),
    ({"engine.resources.memory_limit": "0Gi"}, "engine.resources.memory_limit", ["above zero"]),
    ({"engine.resources.memory_limit": "512Mi"}, "engine.resources.memory_limit", ["at least", "1Gi"]),
    ({"engine.resources.cpu_limit": "500m"}, "engine.resources.cpu_limit", ["500m", "at least"]),
    ({"gateway.image": None}, "gateway.image", ["missing"]),
    ({"gateway.log_level": "trace"}, "gateway.log_level", ["'trace'", "debug"]),
    ({"gateway.payload_limit_bytes": 10}, "gateway.payload_limit_bytes", ["is 10", "1024", "bytes"]),
    ({"gateway.max_stop_sequences": 65}, "gateway.max_stop_sequences", ["is 65"]),
    ({"gateway.cost_per_hour": -1}, "gateway.cost_per_hour", ["is -1", "above 0"]),
    ({"gateway.otlp_endpoint": "http://c:4318"}, "gateway.egress", ["collector", "namespace or range"]),
    ({"gateway.trace_sample": 0.5}, "gateway.trace_sample", ["without otlp_endpoint"]),
    ({"gateway.egress": [{"port": 443}]}, "gateway.egress[0].namespace", ["one of namespace and cidr"]),
    (
        {"gateway.egress": [{"cidr": "169.254.0.0/16", "port": 80}]},
        "gateway.egress[0].cidr",
        ["metadata addresses"],
    ),
    ({"gateway.filters": [{"name": "a"}]}, "gateway.filters", ["name, action, stages"]),
    ({"gateway.tls_secret": "No"}, "gateway.tls_secret", ["'No'"]),
    ({"api_keys": {"a": '{"key": "0123456789abcdef", "scopes": ["root"]}'}}, "api_keys", ["scopes of admin"]),
    ({"model.format": "safetensors"}, "model.format", ["'safetensors'", "gguf"]),
    ({"model.key": "Tiny"}, "model.key", ["'Tiny'"]),
    ({"model.id": ""}, "model.id", ["''", "not empty"]),
    ({"model.revision": None}, "model.revision", ["missing"]),
    ({"weights.sha256": "abc"}, "weights.sha256", ["'abc'", "64"]),
    ({"weights.sha256": "A" * 64}, "weights.sha256", ["lower-case"]),
    ({"weights.file": "../etc/passwd"}, "weights.file", ["file name"]),
    ({"weights.url": "s3://b/x"}, "weights.url", ["nothing where source is packaged"]),
    ({"weights.source": "tiny"}, "weights.source", ["'tiny'", "packaged:"]),
    ({"weights.storage": "hostPath"}, "weights.storage", ["'hostPath'", "ephemeral"]),
    ({"weights.claim_name": "c"}, "weights.claim_name", ["storage is ephemeral"]),
    ({"weights.storage": "claim"}, "weights.claim_name", ["missing"]),
    ({"weights.storage": "claim", "weights.claim_name": "c", "weights.size": "1Gi"}, "weights.size", ["own"]),
    ({"weights.access_mode": "ReadWriteMany"}, "weights.access_mode", ["new-claim"]),
    (
        {"weights.storage": "empty-dir", "weights.storage_class": "fast"},
        "weights.storage_class",
        ["nothing with storage empty-dir", "its disk is the node's"],
    ),
    ({"weights.storage": "empty-dir", "weights.claim_name": "c"}, "weights.claim_name", ["empty-dir"]),
    (
        {"weights.storage": "new-claim", "weights.access_mode": "ReadWriteOnce"},
        "weights.access_mode",
        ["ReadWriteOnce", "more than one replica"],
    ),
    (
        {
            "weights.storage": "new-claim",
            "weights.access_mode": "ReadWriteOnce",
            "replicas": None,
            "autoscaled": True,
        },
        "weights.access_mode",
        ["ReadWriteOnce", "more than one replica"],
    ),
    ({"weights.size": "1 GB"}, "weights.size", ["'1 GB'"]),
    ({"concurrency.slots": 0}, "concurrency.slots", ["is 0", "1 to 1024"]),
    ({"concurrency.max_concurrent_requests": 3}, "concurrency.max_concurrent_requests", ["is 3", "slots"]),
    ({"concurrency.queue_timeout_seconds": 0}, "concurrency.queue_timeout_seconds", ["is 0", "above 0"]),
    ({"concurrency": None}, "concurrency.slots", ["missing"]),
    ({"tokens.max_input": 1024}, "tokens.max_input", ["is 1024", "less than max_total"]),
    ({"tokens.max_total": 1}, "tokens.max_total", ["is 1"]),
    (
        {"termination.grace_seconds": 74},
        "termination.grace_seconds",
        ["is 74", "75", "pre_stop 10 + drain 60"],
    ),
    ({"termination.drain_seconds": 0}, "termination.drain_seconds", ["is 0"]),
    ({"termination.pre_stop_seconds": -1}, "termination.pre_stop_seconds", ["is -1", "seconds"]),
    (
        {"probes.startup_seconds": 60, "probes.measured_load_seconds": 45.0},
        "probes.startup_seconds",
        ["is 60", "twice", "91"],
    ),
    ({"probes.liveness_period_seconds": 16}, "probes.liveness_period_seconds", ["is 16", "1 to 15"]),
    ({"probes.readiness_period_seconds": 0}, "probes.readiness_period_seconds", ["is 0"]),
    ({"rollout.max_surge": 0}, "rollout.max_unavailable", ["is 0", "max_surge is 0"]),
    ({"gpu.count": 1}, "gpu.count", ["is 1", "llama.cpp", "idle"]),
    ({"gpu.count": 17}, "gpu.count", ["is 17"]),
    ({"gpu": {}}, "gpu.count", ["missing"]),
    ({"gpu": {"count": 0, "resource": "nvidia gpu"}}, "gpu.resource", ["'nvidia gpu'", "nvidia.com/gpu"]),
    ({"placement.node_selector": {"pool": True}}, "placement.node_selector", ["quote"]),
    ({"placement.node_selector": ["pool"]}, "placement.node_selector", ["mapping"]),
    ({"placement.tolerations": [{"effect": "NoSchedule"}]}, "placement.tolerations[0].key", ["missing"]),
    (
        {"placement.tolerations": [{"key": "a", "effect": "Never"}]},
        "placement.tolerations[0].effect",
        ["'Never'", "NoSchedule"],
    ),
    ({"placement.tolerations": {"key": "a"}}, "placement.tolerations", ["list"]),
    ({"placement.spread": "maybe"}, "placement.spread", ["'maybe'", "preferred", "required"]),
    ({"service.type": "ExternalName"}, "service.type", ["'ExternalName'", "ClusterIP"]),
    ({"service.node_port": 30080}, "service.node_port", ["type is ClusterIP"]),
    ({"service.grpc_port": 80}, "service.grpc_port", ["is 80", "another port"]),
    ({"service": {"type": "NodePort", "node_port": 80}}, "service.node_port", ["is 80", "30000"]),
    ({"service.external_traffic_policy": "Local"}, "service.external_traffic_policy", ["NodePort"]),
    ({"service.port": 70000}, "service.port", ["is 70000", "65535"]),
    ({"access.client_cidrs": []}, "access.client_cidrs", ["client_namespaces"]),
    ({"access.client_cidrs": ["10.0.0.1/8"]}, "access.client_cidrs", ["host bits"]),
    ({"access.client_cidrs": "10.0.0.0/8"}, "access.client_cidrs", ["list"]),
    ({"access.client_cidrs": ["0.0.0.0/0"]}, "access.client_cidrs", ["0.0.0.0/0", "public_reason"]),
    ({"access.client_cidrs": ["::/0"]}, "access.client_cidrs", ["::/0", "public_reason"]),
    (
        {"access.client_cidrs": ["0.0.0.0/1", "10.0.0.0/8", "128.0.0.0/1"]},
        "access.client_cidrs",
        ["128.0.0.0/1", "everybody", "public_reason"],
    ),
    ({"access.client_cidrs": ["10.0.0.0/8", "::/1", "8000::/1"]}, "access.client_cidrs", ["everybody"]),
    *(
        (
            {"access": {"client_namespaces": ["apps"]}, "service.type": kind},
            "access.client_cidrs",
            ["empty", kind, "public_reason"],
        )
        for kind in ("LoadBalancer", "NodePort")
    ),
    ({"access.metrics_namespaces": ["*"]}, "access.metrics_namespaces", ["lower-case"]),
    ({"api_keys": None}, "api_keys", ["missing", "exactly one"]),
    ({"api_keys_secret": "keys"}, "api_keys", ["api_keys and api_keys_secret", "exactly one"]),
    ({"allow_anonymous": True}, "api_keys", ["exactly one"]),
    ({"api_keys": {}}, "api_keys", ["at least one key"]),
    ({"api_keys": {"team": "2short4u"}}, "api_keys", ["[secret]", "16", "openssl"]),
    ({"api_keys": {"Team A": KEY}}, "api_keys", ["[secret]", "names"]),
    ({"image_pull_secrets": "registry"}, "image_pull_secrets", ["list"]),
    ({"variant": "A/B"}, "variant", ["'A/B'"]),
    ({"sleeps": True}, "sleeps", ["only with autoscaled: True"]),
]

SCALER: list[tuple[Json, str, list[str]]] = [
    ({"max_replicas": None}, "max_replicas", ["missing"]),
    ({"min_replicas": 0}, "min_replicas", ["is 0", "HPAScaleToZero"]),
    ({"min_replicas": 0, "wakes": False}, "min_replicas", ["1 to max_replicas", "see wakes"]),
    (
        {"min_replicas": -1, "wakes": True, "running_target": 4},
        "min_replicas",
        ["is -1", "0 to max_replicas"],
    ),
    ({"min_replicas": 0, "wakes": True}, "running_target", ["missing", "put to sleep"]),
    ({"min_replicas": 0, "wakes": True, "metric": "cpu"}, "wakes", ["only with metric queue_depth"]),
    ({"min_replicas": -1}, "min_replicas", ["is -1"]),
    ({"min_replicas": 5, "max_replicas": 4}, "min_replicas", ["is 5", "at most max_replicas, which is 4"]),
    ({"max_replicas": 1001}, "max_replicas", ["is 1001"]),
    ({"metric": "gpu"}, "metric", ["'gpu'", "queue_depth", "cpu"]),
    ({"target": 0}, "target", ["is 0", "above 0"]),
    ({"target": -4}, "target", ["is -4"]),
    ({"metric": "cpu", "target": 0}, "target", ["is 0", "percent"]),
    ({"metric": "cpu", "running_target": 4}, "running_target", ["metric is cpu"]),
    ({"running_target": 0}, "running_target", ["is 0"]),
    ({"scale_up": {"window_seconds": 3601}}, "scale_up.window_seconds", ["is 3601", "3600"]),
    ({"scale_down": {"pods": 0}}, "scale_down.pods", ["is 0"]),
    ({"scale_down": {"period_seconds": 1801}}, "scale_down.period_seconds", ["is 1801"]),
    ({"scale_down": {"window": 15}}, "scale_down.window", ["does not exist", "window_seconds"]),
    ({"deployment": ""}, "deployment", ["''"]),
]

ADAPTER: list[tuple[Json, str, list[str]]] = [
    ({"image": None}, "image", ["missing"]),
    ({"mode": "shared"}, "mode", ["'shared'", "owned, existing"]),
    ({"mode": "existing"}, "image", ["only with mode owned"]),
    ({"replicas": 6}, "replicas", ["is 6", "1 to 5"]),
    ({"api_server_cidrs": []}, "api_server_cidrs", ["at least 1"]),
    ({"namespace": "kube_system"}, "namespace", ["'kube_system'"]),
]


def _check(error: ArgumentError, argument: str, words: list[str]) -> None:
    message = str(error)
    assert error.argument == argument, message
    assert f"argument '{argument}'" in message
    assert "allowed: " in message
    for word in words:
        assert word in message, message
    assert KEY not in message
    assert "2short4u" not in message


@pytest.mark.parametrize(("changes", "argument", "words"), SERVER, ids=lambda value: str(value)[:60])
def test_model_server(
    base_args: Callable[[Json], Json], changes: Json, argument: str, words: list[str]
) -> None:
    with pytest.raises(ArgumentError) as caught:
        ModelServer("chat", base_args(changes))  # type: ignore[arg-type] # wrong on purpose
    assert str(caught.value).startswith("ModelServer 'chat': ")
    _check(caught.value, argument, words)


@pytest.mark.parametrize(("changes", "argument", "words"), SCALER, ids=lambda value: str(value)[:60])
def test_autoscaler(changes: Json, argument: str, words: list[str]) -> None:
    base = {"namespace": "room", "deployment": "chat", "server": "chat", "max_replicas": 3}
    args = {key: value for key, value in {**base, **changes}.items() if value is not None}
    with pytest.raises(ArgumentError) as caught:
        Autoscaler("chat-scaling", args)  # type: ignore[arg-type] # wrong on purpose
    _check(caught.value, argument, words)


@pytest.mark.parametrize(("changes", "argument", "words"), ADAPTER, ids=lambda value: str(value)[:60])
def test_metrics_adapter(changes: Json, argument: str, words: list[str]) -> None:
    args = {key: value for key, value in {"image": "r.example/a:1", **changes}.items() if value is not None}
    with pytest.raises(ArgumentError) as caught:
        MetricsAdapter("adapter", args)  # type: ignore[arg-type] # wrong on purpose
    _check(caught.value, argument, words)


def test_cluster_and_namespace() -> None:
    with pytest.raises(ArgumentError, match="argument 'kubeconfig' is missing"):
        ExistingCluster("own", {})  # type: ignore[typeddict-item] # wrong on purpose
    with pytest.raises(ArgumentError, match=r"argument 'kubeconfig' is \[secret\]"):
        ExistingCluster("own", {"kubeconfig": 3})  # type: ignore[typeddict-item] # wrong on purpose
    with pytest.raises(ArgumentError, match="argument 'name' is 'A'"):
        RestrictedNamespace("room", {"name": "A"})


@pytest.mark.parametrize("args", [[], "args", 3])
def test_args_that_are_no_mapping(args: object) -> None:
    with pytest.raises(ArgumentError, match=r"argument 'args' is .*a mapping as ModelServerArgs"):
        ModelServer("chat", args)  # type: ignore[arg-type] # wrong on purpose


def test_what_decides_which_objects_exist_must_be_known(base_args: Callable[[Json], Json]) -> None:
    for path in ("service", "service.type", "weights.storage", "engine.name", "autoscaled"):
        value = pulumi.Output.from_input("ClusterIP")
        with pytest.raises(ArgumentError, match=f"argument '{path}' is an output"):
            ModelServer("chat", base_args({path: value}))  # type: ignore[arg-type] # wrong on purpose


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"replicas": 0}, "replicas"),
        ({"engine.image": "x:latest"}, "engine.image"),
        ({"termination.grace_seconds": 3}, "termination.grace_seconds"),
        ({"access.client_cidrs": ["0.0.0.0/0"]}, "access.client_cidrs"),
        ({"engine.resources.memory_limit": "1Mi"}, "engine.resources.memory_limit"),
        ({"api_keys": {"a": "2short4u"}}, "api_keys"),
        ({"gpu.count": 1}, "gpu.count"),
    ],
)
def test_an_output_is_checked_when_it_resolves(
    serve: Callable[..., Any], changes: Json, argument: str
) -> None:
    lifted = {path: pulumi.Output.from_input(value) for path, value in changes.items()}
    with pytest.raises(Exception, match=f"argument '{argument}' is"):
        serve(lifted)


def test_an_error_ends_a_program_without_a_traceback() -> None:
    assert issubclass(ArgumentError, pulumi.RunError)
    assert issubclass(ArgumentError, ValueError)
