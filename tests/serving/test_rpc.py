"""gRPC: the Open Inference Protocol and the health service, with REST's keys, limits, queue and drain."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from berth_serving.rpc import open_inference_grpc_pb2 as pb
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.serving.conftest import free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
SERVICE = "/inference.GRPCInferenceService/"
NONE = pb.ServerLiveRequest()


class Client:
    """The protocol's calls on one channel, with a key."""

    def __init__(self, port: int, key: str) -> None:
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self.metadata = [("authorization", f"Bearer {key}")]

    async def ask(self, method: str, request: Any, *, key: bool = True) -> Any:
        call = self.channel.unary_unary(
            SERVICE + method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=getattr(pb, f"{method}Response").FromString,
        )
        return await call(request, metadata=self.metadata if key else (), timeout=60)

    def stream(self, *requests: Any, key: bool = True) -> Any:
        call = self.channel.stream_stream(
            SERVICE + "ModelStreamInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )

        async def asked() -> AsyncIterator[Any]:
            for request in requests:
                yield request

        return call(asked(), metadata=self.metadata if key else ())


def infer(text: str, **parameters: Any) -> pb.ModelInferRequest:
    made = pb.ModelInferRequest(model_name=MODEL, id="mine")
    tensor = made.inputs.add(name="text_input", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(text.encode())
    for name, value in parameters.items():
        kind = {int: "int64_param", float: "double_param", bool: "bool_param"}.get(
            type(value), "string_param"
        )
        setattr(made.parameters[name], kind, value)
    return made


def outputs(answer: pb.ModelInferResponse) -> dict[str, Any]:
    return {
        one.name: (one.contents.bytes_contents or one.contents.int64_contents)[0] for one in answer.outputs
    }


@pytest.fixture(scope="module")
def served(engine: Any, make_gateway: Callable[..., Any]) -> Any:
    gateway = make_gateway(engine.url, BERTH_GRPC_PORT=str(free_port()), PAYLOAD_LIMIT="4096")
    wait_for(gateway.is_ready, "the gateway is ready")
    return gateway


def rpc_port(gateway: Any) -> int:
    found = next(record for record in gateway.records() if record["message"] == "gateway listening")
    return int(found["grpc_port"])


@pytest.fixture
async def client(served: Any) -> AsyncIterator[Client]:
    made = Client(rpc_port(served), served.key)
    yield made
    await made.channel.close()


async def refusal(call: Any) -> tuple[str, str, dict[str, str]]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    error = refused.value
    return error.code().name, error.details() or "", dict(error.trailing_metadata() or ())


async def test_probes_need_no_key_and_descriptions_do(client: Client) -> None:
    assert (await client.ask("ServerLive", NONE, key=False)).live
    assert (await client.ask("ServerReady", pb.ServerReadyRequest(), key=False)).ready
    assert (await client.ask("ModelReady", pb.ModelReadyRequest(name=MODEL), key=False)).ready
    health = health_pb2_grpc.HealthStub(client.channel)
    for name in ("", "inference.GRPCInferenceService"):
        found = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert found.status == health_pb2.HealthCheckResponse.SERVING
    assert (await refusal(health.Check(health_pb2.HealthCheckRequest(service="x"))))[0] == "NOT_FOUND"
    for method, request in (
        ("ServerMetadata", pb.ServerMetadataRequest()),
        ("ModelMetadata", pb.ModelMetadataRequest(name=MODEL)),
        ("ModelInfer", infer("Hello")),
    ):
        assert (await refusal(client.ask(method, request, key=False)))[0] == "UNAUTHENTICATED"
    model = await client.ask("ModelMetadata", pb.ModelMetadataRequest(name=MODEL))
    assert [one.name for one in model.outputs] == [
        "text_output", "finish_reason", "input_tokens", "output_tokens",
    ]  # fmt: skip
    assert (await refusal(client.ask("ModelReady", pb.ModelReadyRequest(name="x"))))[0] == "NOT_FOUND"


async def test_it_answers_as_rest_does_and_counts_alike(client: Client, served: Any) -> None:
    answer = await client.ask("ModelInfer", infer("1, 2, 3,", max_new_tokens=8))
    rest = await asyncio.to_thread(
        served.post, "/generate", {"inputs": "1, 2, 3,", "parameters": {"max_new_tokens": 8}}
    )
    assert answer.id == "mine"
    found = outputs(answer)
    assert found.pop("text_output").decode() == rest.json()["generated_text"]
    assert found == {"finish_reason": b"length", "input_tokens": 8, "output_tokens": 8}
    counted = 'berth_requests_total{outcome="ok",route="/inference.GRPCInferenceService/ModelInfer"}'
    assert (await asyncio.to_thread(served.metrics))[counted] == 1


async def test_streams_come_in_pieces_and_an_error_ends_its_request_only(client: Client) -> None:
    other = infer("x")
    other.model_name = "other"
    said = [
        one
        async for one in client.stream(infer("1, 2,", max_new_tokens=4), other, infer("Hi", max_new_tokens=2))
    ]
    finals = [one.infer_response.parameters["triton_final_response"].bool_param for one in said]
    assert finals == [False] * 4 + [True, True] + [False] * 2 + [True]
    assert "not served here" in said[5].error_message
    assert not any(one.error_message for one in said if one is not said[5])
    assert (await refusal(client.stream(infer("x"), key=False).read()))[0] == "UNAUTHENTICATED"


def raw(*elements: bytes) -> bytes:
    return b"".join(len(one).to_bytes(4, "little") + one for one in elements)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda one: one.inputs[0].shape.append(3), "shape"),
        (lambda one: setattr(one.inputs[0], "datatype", "FP32"), "BYTES"),
        (lambda one: setattr(one.inputs[0], "name", "prompt"), "prompt"),
        (lambda one: one.inputs[0].contents.bytes_contents.append(b"b"), "one element"),
        (lambda one: one.inputs[0].contents.bytes_contents.__setitem__(0, b"\xff"), "UTF-8"),
        (lambda one: one.raw_input_contents.append(b"\x09\0\0"), "length"),
        (lambda one: one.raw_input_contents.append(raw(b"a")[:-1]), "within an element"),
        (lambda one: one.raw_input_contents.extend([b"", b""]), "raw_input_contents"),
        (lambda one: one.outputs.add(name="logits"), "logits"),
        (lambda one: setattr(one.parameters["temperature"], "int64_param", 0), "temperature"),
        (lambda one: setattr(one.parameters["nonsense"], "int64_param", 0), "nonsense"),
        (lambda one: one.ClearField("inputs"), "text_input"),
        (lambda one: setattr(one, "model_version", "7"), "NOT_FOUND"),
    ],
)
async def test_what_is_wrong_is_said(client: Client, change: Any, named: str) -> None:
    request = infer("Hello", max_new_tokens=1)
    change(request)
    code, said, metadata = await refusal(client.ask("ModelInfer", request))
    assert code == ("NOT_FOUND" if named == "NOT_FOUND" else "INVALID_ARGUMENT")
    assert named in said or named == "NOT_FOUND"
    assert metadata["x-request-id"]


async def test_raw_tensors_are_answered_raw(client: Client) -> None:
    request = infer("", max_new_tokens=2)
    del request.inputs[0].contents.bytes_contents[:]
    request.inputs.add(name="sampling_parameters", datatype="BYTES", shape=[1])
    request.raw_input_contents.extend([raw("Hé".encode()), raw(b'{"stop": ["never"]}')])
    request.outputs.add(name="output_tokens")
    answer = await client.ask("ModelInfer", request)
    assert [one.name for one in answer.outputs] == ["output_tokens"]
    assert answer.raw_output_contents == [(2).to_bytes(8, "little")]


async def test_over_capacity_and_over_size_are_refused(stand_in: Any, before_stand_in: Any) -> None:
    port = free_port()
    gateway = await before_stand_in(
        BERTH_ENGINE_SLOTS="1", MAX_CONCURRENT_REQUESTS="1", BERTH_GRPC_PORT=str(port), PAYLOAD_LIMIT="4096"
    )
    client = Client(port, gateway.key)
    running = asyncio.create_task(client.ask("ModelInfer", infer("runs", max_new_tokens=3)))
    await gateway.until_load(berth_running_requests=1)
    code, said, metadata = await refusal(client.ask("ModelInfer", infer("second")))
    assert code == "RESOURCE_EXHAUSTED"
    assert "MAX_CONCURRENT_REQUESTS" in said
    assert int(metadata["grpc-retry-pushback-ms"]) == 1000 * int(metadata["retry-after"])
    assert (await refusal(client.ask("ModelInfer", infer("x" * 5000))))[0] == "RESOURCE_EXHAUSTED"
    with contextlib.suppress(asyncio.CancelledError):
        running.cancel()
        await running
    await stand_in.until(lambda one: one.begun[0].cancelled)
    await gateway.until_load(berth_running_requests=0)
    await client.channel.close()


async def test_a_drain_finishes_what_runs(stand_in: Any, before_stand_in: Any) -> None:
    port = free_port()
    gateway = await before_stand_in(BERTH_GRPC_PORT=str(port))
    client = Client(port, gateway.key)
    streams = [
        asyncio.create_task(_collect(client.stream(infer(f"s{index}", max_new_tokens=3))))
        for index in range(4)
    ]
    await gateway.until_load(berth_running_requests=2, berth_queue_depth=2)
    gateway.signal(signal.SIGTERM)
    await gateway.until_load(draining=True)
    stand_in.free_running = True
    for work in stand_in.begun:
        for _ in range(3):
            work.released.release()
    for task in streams:
        assert (await task)[-1].infer_response.parameters["triton_final_response"].bool_param
    assert await asyncio.to_thread(gateway.exit_code) == 0
    await client.channel.close()


async def _collect(stream: Any) -> list[Any]:
    return [one async for one in stream]


async def test_frames_that_are_none_harm_nobody(client: Client, served: Any) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for sent in (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        preface + b"\xff" * 200,
        preface + b"\0\0\0\4\0\0\0\0\0" + b"\xff\xff\xff\0\0\0\0\0\1" * 50,
        preface + b"\0\0\x10\1\4\0\0\0\1" + b"\x82" * 16,
        b"\0" * 1000,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", rpc_port(served))
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionError):
                assert b"Traceback" not in await reader.read()
        writer.close()
    answer = await client.ask("ModelInfer", infer("Hello", max_new_tokens=1))
    assert outputs(answer)["output_tokens"] == 1
    call = client.channel.unary_unary(SERVICE + "ModelInfer")
    assert (await refusal(call(b"\xff\xff not a message", metadata=client.metadata)))[0] == "INVALID_ARGUMENT"


def test_the_stubs_are_what_the_protocol_file_makes(root: Path, tmp_path: Path) -> None:
    subprocess.run([root / "serving/generate_stubs", tmp_path], check=True, capture_output=True)
    for made in tmp_path.iterdir():
        assert made.read_text() == (root / "serving/berth_serving/rpc" / made.name).read_text()
