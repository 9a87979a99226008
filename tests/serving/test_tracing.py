"""Traces: what a collector gets, what the engine gets, and that no collector can hurt a request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from berth_serving.call import trace_headers
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
BODY = {"inputs": "a canary prompt", "parameters": {"max_new_tokens": 2}}


class Collector:
    """A stand-in for an OTLP collector."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.raw: list[bytes] = []
        self.headers: list[str | None] = []
        self.hangs = False
        self.status = 200
        self.asked = 0
        self.url = ""
        self.released = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        self.asked += 1
        body = await request.read()
        if self.hangs:
            await self.released.wait()
        self.raw.append(body)
        self.headers.append(request.headers.get("authorization"))
        self.requests.append(ExportTraceServiceRequest.FromString(body))
        return web.Response(status=self.status)

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.spans) < count:  # noqa: ASYNC110 - looks at plain state
                await asyncio.sleep(0.02)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    made = Collector()
    application = web.Application()
    application.router.add_post("/v1/traces", made.take)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    made.released.set()
    await runner.cleanup()


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in span.attributes}


async def test_a_generation_is_a_trace_after_the_conventions(
    collector: Collector, stand_in: Any, before_stand_in: Any, tmp_path: Any
) -> None:
    stand_in.free_running = True
    token = tmp_path / "token"
    token.write_text("collector-key\n")
    gateway = await before_stand_in(
        OTLP_ENDPOINT=collector.url + "/", BERTH_OTLP_TOKEN_FILE=str(token), BERTH_VARIANT="arm-b"
    )
    headers = {"traceparent": PARENT, "tracestate": "vendor=1", "x-request-id": "r-77"}
    async with gateway.session() as session:
        async with session.post("/generate", json=BODY, headers=headers) as response:
            assert response.status == 200
            assert response.headers["x-request-id"] == "r-77"
        async with session.post("/generate", json={**BODY, "inputs": "poison"}) as response:
            assert response.status == 424
    await collector.until(6)
    by_name = {span.name: span for span in collector.spans if span.trace_id.hex() == TRACE}
    root = by_name.pop("text_completion HuggingFaceTB/SmolLM2-135M-Instruct")
    assert root.parent_span_id.hex() == "b7ad6b7169203331"
    assert set(by_name) == {"engine", "wait for a slot"}
    assert {span.parent_span_id for span in by_name.values()} == {root.span_id}
    found = attributes(root)
    assert found["gen_ai.operation.name"] == "text_completion"
    assert found["gen_ai.provider.name"] == "llama.cpp"
    assert found["gen_ai.usage.output_tokens"] == 2
    assert found["berth.variant"] == "arm-b"
    assert found["berth.request_id"] == "r-77"
    assert [event.name for event in by_name["engine"].events] == ["first token"]
    assert root.start_time_unix_nano < root.end_time_unix_nano
    failed = [span for span in collector.spans if attributes(span).get("error.type")]
    assert [attributes(span)["error.type"] for span in failed] == ["GenerationFailed"]
    assert collector.headers[0] == "Bearer collector-key"
    assert b"canary" not in b"".join(collector.raw), "no prompt in a trace"

    sent = stand_in.headers[-2]
    assert sent["traceparent"] == f"00-{TRACE}-{by_name['engine'].span_id.hex()}-01"
    assert sent["tracestate"] == "vendor=1"
    assert sent["x-request-id"] == "r-77"


async def test_content_is_in_traces_and_logs_only_where_switched_on_and_redacted(
    collector: Collector, stand_in: Any, before_stand_in: Any
) -> None:
    stand_in.free_running = True
    gateway = await before_stand_in(OTLP_ENDPOINT=collector.url, BERTH_LOG_CONTENT="true")
    body = {**BODY, "inputs": "a canary prompt of jane@example.org, password: hunter22"}
    async with gateway.session() as session, session.post("/generate", json=body) as response:
        assert response.status == 200
    await collector.until(3)
    (root,) = [span for span in collector.spans if not span.parent_span_id]
    assert "a canary prompt of [email], [secret]" in attributes(root)["gen_ai.input.messages"]
    assert " t0 t1" in attributes(root)["gen_ai.output.messages"]
    await asyncio.to_thread(gateway.end)
    logged = gateway.log.read_text()
    assert "a canary prompt of [email], [secret]" in logged
    assert "hunter22" not in logged
    assert "jane" not in logged


@pytest.mark.parametrize("how", ["hangs", "refuses", "away"])
async def test_no_collector_can_hurt_a_request(
    collector: Collector, stand_in: Any, before_stand_in: Any, how: str
) -> None:
    stand_in.free_running = True
    collector.hangs = how == "hangs"
    collector.status = 400 if how == "refuses" else 200
    url = "http://127.0.0.1:9" if how == "away" else collector.url
    gateway = await before_stand_in(OTLP_ENDPOINT=url, BERTH_ENGINE_SLOTS="8")
    async with gateway.session() as session:

        async def ask() -> int:
            async with session.post("/generate", json=BODY) as response:
                return int(response.status)

        for _ in range(10):
            assert await asyncio.gather(*(ask() for _ in range(8))) == [200] * 8
        if how != "hangs":
            async with asyncio.timeout(30):
                while not (await asyncio.to_thread(gateway.metrics))["berth_spans_dropped_total"]:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.05)
    gateway.signal(15)
    # The SDK would wait 30 s for a collector that hangs.
    assert await asyncio.to_thread(gateway.exit_code, 25) == 0


async def test_without_a_collector_the_context_is_passed_on_as_it_came(
    stand_in: Any, before_stand_in: Any
) -> None:
    stand_in.free_running = True
    gateway = await before_stand_in()
    async with gateway.session() as session:
        for given in (PARENT, "nonsense", PARENT.replace("00-", "ff-")):
            async with session.post("/generate", json=BODY, headers={"traceparent": given}) as response:
                assert response.status == 200
    sent = [headers.get("traceparent") for headers in stand_in.headers[-3:]]
    assert sent == [PARENT, None, None]
    assert all(len(headers["x-request-id"]) == 32 for headers in stand_in.headers[-3:])


@pytest.mark.parametrize(
    "parent",
    [
        None,
        "",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        PARENT.upper(),
        PARENT + "\r\nx: y",
        "00-" + "a" * 10_000,
    ],
)
def test_a_context_that_is_none_is_dropped(parent: str | None) -> None:
    assert trace_headers(parent, "vendor=1") == {}


def test_a_state_that_is_none_is_dropped_alone() -> None:
    assert trace_headers(PARENT, "x" * 513) == {"traceparent": PARENT}
    assert trace_headers(PARENT, "a=1\n") == {"traceparent": PARENT}
