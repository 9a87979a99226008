"""Other languages reach the components through a provider process, asked here as Pulumi's engine asks it."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent import futures
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import (
    engine_pb2_grpc,
    provider_pb2,
    provider_pb2_grpc,
    resource_pb2,
    resource_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OFFERED = [
    *("Autoscaler", "ClusterAutoscaler", "DevicePlugin", "EksCluster", "EksNodePool", "EksWorkloadIdentity"),
    *("ExistingCluster", "GkeCluster", "GkeNodePool", "GkeWorkloadIdentity"),
    *(
        "HybridController",
        "KedaAutoscaler",
        "MetricsAdapter",
        "ModelServer",
        "OwnNodePool",
        "RestrictedNamespace",
        "Router",
    ),
    *("SageMakerEndpoint", "SiteReporter"),
]
SECRETS, RESOURCES, OUTPUTS = "secrets", "resourceReferences", "outputValues"


class Monitor(resource_pb2_grpc.ResourceMonitorServicer):
    """A stand-in for the engine's resource monitor: it keeps what is registered and answers with inputs."""

    def __init__(self) -> None:
        self.registered: list[Any] = []

    def SupportsFeature(self, request: Any, _: Any) -> Any:  # noqa: N802 - gRPC's name
        return resource_pb2.SupportsFeatureResponse(hasSupport=request.id in {SECRETS, RESOURCES, OUTPUTS})

    def Invoke(self, request: Any, _: Any) -> Any:  # noqa: N802 - as above
        """Look up a resource by its URN: that is how the provider gets at the Kubernetes provider."""
        assert request.tok == "pulumi:pulumi:getResource"
        answer = struct_pb2.Struct()
        answer.update({"urn": request.args["urn"], "id": "id", "state": {}})
        return provider_pb2.InvokeResponse(**{"return": answer})

    def RegisterResource(self, request: Any, _: Any) -> Any:  # noqa: N802 - as above
        self.registered.append(request)
        urn = f"urn:pulumi:dev::demo::{request.type}::{request.name}"
        identity = "an-id" if request.custom else ""
        return resource_pb2.RegisterResourceResponse(urn=urn, id=identity, object=request.object)

    def RegisterResourceOutputs(self, _: Any, __: Any) -> Any:  # noqa: N802 - as above
        return empty_pb2.Empty()


class Engine(engine_pb2_grpc.EngineServicer):
    """A stand-in for the engine, which takes log messages."""

    def Log(self, _: Any, __: Any) -> Any:  # noqa: N802 - gRPC's name
        return empty_pb2.Empty()


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Monitor]]:
    made = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    monitor = Monitor()
    resource_pb2_grpc.add_ResourceMonitorServicer_to_server(monitor, made)
    engine_pb2_grpc.add_EngineServicer_to_server(Engine(), made)
    address = f"127.0.0.1:{made.add_insecure_port('127.0.0.1:0')}"
    made.start()
    yield address, monitor
    made.stop(None).wait()


@pytest.fixture
def engine(server: tuple[str, Monitor]) -> tuple[str, Monitor]:
    server[1].registered.clear()
    return server


@pytest.fixture(scope="module")
def provider(root: Path, server: tuple[str, Monitor]) -> Iterator[provider_pb2_grpc.ResourceProviderStub]:
    """Start the process once, as the engine does: the folder, then the engine's address."""
    command = [sys.executable, "-u", str(root / "components"), server[0]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd="/") as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port.isdigit(), port
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield provider_pb2_grpc.ResourceProviderStub(channel)
        process.terminate()


@pytest.fixture(scope="module")
def schema(provider: Any) -> dict[str, Any]:
    answer = provider.GetSchema(provider_pb2.GetSchemaRequest(version=0))
    found: dict[str, Any] = json.loads(answer.schema)
    return found


def test_every_component_is_offered_with_typed_inputs(schema: dict[str, Any]) -> None:
    assert schema["name"] == "berth"
    assert sorted(schema["resources"]) == [f"berth:index:{name}" for name in OFFERED]
    for token, resource in schema["resources"].items():
        assert resource["isComponent"], token
        assert resource["description"], token
        for name, given in {**resource["inputProperties"], **resource["properties"]}.items():
            assert given.get("type") or given.get("$ref"), f"{token}.{name}"
            assert given.get("$ref") != "pulumi.json#/Any", f"{token}.{name} is of any type"
    server = schema["resources"]["berth:index:ModelServer"]
    assert server["inputProperties"]["tokens"]["$ref"] == "#/types/berth:index:TokensArgs"
    tokens = schema["types"]["berth:index:TokensArgs"]
    assert tokens["properties"]["maxInput"]["type"] == "integer"
    assert tokens["required"] == ["maxInput", "maxTotal"]
    assert all(given["description"] for given in tokens["properties"].values())


def test_references_lead_somewhere(schema: dict[str, Any]) -> None:
    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            yield from (value[key] for key in value if key == "$ref")
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    named = {dependency["name"] for dependency in schema["dependencies"]}
    found = set(references(schema))
    assert "/kubernetes/v" in " ".join(found)
    for reference in found:
        where, _, what = reference.partition("#")
        if where == "pulumi.json":
            # Of the schema's language itself: any JSON.
            assert what == "/Any", reference
        elif where:
            assert where.split("/")[1] in named, reference
            assert what == "/provider" or what.startswith("/resources/"), reference
            assert "pulumi:providers:" not in what, reference
        else:
            assert what.removeprefix("/types/") in schema["types"], reference


def _construct(provider: Any, address: str, name: str, kind: str, inputs: dict[str, Any]) -> Any:
    given = struct_pb2.Struct()
    given.update(inputs)
    request = provider_pb2.ConstructRequest(
        project="demo",
        stack="dev",
        organization="organization",
        monitorEndpoint=address,
        dryRun=True,
        parallel=4,
        type=f"berth:index:{kind}",
        name=name,
        inputs=given,
        providers={"kubernetes": "urn:pulumi:dev::demo::pulumi:providers:kubernetes::here::id"},
    )
    return provider.Construct(request, timeout=30)


def test_a_component_is_constructed_for_a_foreign_program(provider: Any, engine: Any) -> None:
    address, monitor = engine
    answer = _construct(provider, address, "room", "RestrictedNamespace", {"name": "models"})
    assert answer.urn.endswith(":RestrictedNamespace::room")
    assert "namespace" in answer.state.fields
    kinds = {request.type for request in monitor.registered if request.custom}
    assert "kubernetes:core/v1:Namespace" in kinds
    assert "kubernetes:networking.k8s.io/v1:NetworkPolicy" in kinds
    (namespace,) = [r for r in monitor.registered if r.type == "kubernetes:core/v1:Namespace"]
    assert namespace.object.fields["metadata"].struct_value.fields["name"].string_value == "models"
    assert namespace.provider.endswith("::here::id")
    assert namespace.parent == answer.urn


SCALING: dict[str, Any] = {
    "namespace": "models",
    "deployment": "web",
    "server": "web",
    "maxReplicas": 4,
    "minReplicas": 2,
}


def test_nested_inputs_arrive_under_their_own_names(provider: Any, engine: Any) -> None:
    address, monitor = engine
    _construct(provider, address, "scaling", "Autoscaler", {**SCALING, "scaleDown": {"windowSeconds": 400}})
    (scaler,) = [r for r in monitor.registered if r.type.endswith(":HorizontalPodAutoscaler")]
    spec = scaler.object.fields["spec"].struct_value.fields
    assert spec["maxReplicas"].number_value == 4
    down = spec["behavior"].struct_value.fields["scaleDown"].struct_value
    assert down.fields["stabilizationWindowSeconds"].number_value == 400


@pytest.mark.parametrize(
    ("wrong", "path", "text"),
    [
        ({"minReplica": 2}, "minReplica", "has no input 'minReplica'"),
        ({"scaleDown": {"window": 4}}, "scaleDown.window", "has no input 'scaleDown.window'"),
        ({"minReplicas": 9}, "minReplicas", "argument 'min_replicas'"),
    ],
)
def test_what_is_wrong_is_an_invalid_input_by_its_name(
    provider: Any, engine: Any, wrong: dict[str, Any], path: str, text: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        _construct(provider, engine[0], "scaling", "Autoscaler", {**SCALING, **wrong})
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = str(dict(caught.value.trailing_metadata()))
    assert path in details
    assert text in details
    assert "Traceback" not in details
