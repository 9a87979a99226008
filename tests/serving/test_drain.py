"""SIGTERM: what runs is finished, nobody is turned away who came in time, and the exit code is 0."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

import aiohttp


async def stream(session: aiohttp.ClientSession, prompt: str, tokens: int) -> list[dict[str, Any]]:
    """Every event of a stream; a stream that breaks raises."""
    asked = {"inputs": prompt, "parameters": {"max_new_tokens": tokens}}
    async with session.post("/generate_stream", json=asked) as response:
        assert response.status == 200
        return [json.loads(line[6:]) async for line in response.content if line.startswith(b"data: ")]


async def test_running_and_waiting_streams_are_finished(stand_in: Any, before_stand_in: Any) -> None:
    gateway = await before_stand_in(BERTH_ENGINE_SLOTS="4", MAX_CONCURRENT_REQUESTS="32")
    async with gateway.session() as session, asyncio.TaskGroup() as group:
        streams = [group.create_task(stream(session, f"s {index}", 5)) for index in range(20)]
        await gateway.until_load(berth_running_requests=4, berth_queue_depth=16)
        for work in stand_in.begun:
            work.released.release()
        gateway.signal(signal.SIGTERM)
        await gateway.until_load(draining=True)
        async with session.get("/ready") as response:
            assert response.status == 503
            assert (await response.json())["reason"] == "draining"
            assert response.headers["connection"] == "close"
        async with session.get("/health") as response:
            assert response.status == 200, "draining is no reason to be killed"
        late = group.create_task(stream(session, "late", 2))
        await gateway.until_load(berth_queue_depth=17)
        stand_in.free_running = True
        for work in stand_in.begun:
            for _ in range(5):
                work.released.release()
    assert all(task.result()[-1]["generated_text"] for task in streams)
    assert late.result()[-1]["generated_text"], "who comes while it still listens is served"
    assert await asyncio.to_thread(gateway.exit_code) == 0
    assert gateway.records()[-1]["message"] == "gateway ended"


async def test_an_idle_gateway_goes_at_once(before_stand_in: Any) -> None:
    gateway = await before_stand_in()
    gateway.signal(signal.SIGTERM)
    assert await asyncio.to_thread(gateway.exit_code) == 0


async def _refusal(session: aiohttp.ClientSession, path: str, asked: dict[str, Any]) -> Any:
    """Status, Retry-After and body."""
    async with session.post(path, json=asked) as response:
        return response.status, response.headers.get("retry-after"), await response.json()


async def test_when_the_time_is_over_each_is_told_what_became_of_it(
    stand_in: Any, before_stand_in: Any
) -> None:
    gateway = await before_stand_in(BERTH_DRAIN_SECONDS="1", BERTH_ENGINE_SLOTS="1")
    async with gateway.session() as session, asyncio.TaskGroup() as group:
        running = group.create_task(stream(session, "endless", 50))
        await stand_in.until(lambda one: len(one.begun) == 1)
        stand_in.begun[0].released.release()
        waiting = [
            group.create_task(_refusal(session, "/generate", {"inputs": "waits"})),
            group.create_task(_refusal(session, "/generate_stream", {"inputs": "waits"})),
            group.create_task(_refusal(session, "/v1/completions", {"prompt": "waits"})),
        ]
        await gateway.until_load(berth_queue_depth=3)
        gateway.signal(signal.SIGTERM)
    last = running.result()[-1]
    assert last["error_type"] == "generation"
    assert "shut down" in last["error"]
    for task in waiting:
        status, retry_after, body = task.result()
        assert (status, retry_after) == (503, "1"), "nothing was begun for it, so it may simply ask again"
        assert "shutting down" in str(body["error"])
    assert waiting[0].result()[2]["error_type"] == "healthcheck"
    assert waiting[2].result()[2]["error"]["code"] == "not_ready"
    assert len(stand_in.begun) == 1, "no slot that the break-off freed went to one of them"
    assert await asyncio.to_thread(gateway.exit_code) == 0
    over = next(record for record in gateway.records() if record["message"] == "drain time over")
    assert (over["broken_off"], over["sent_elsewhere"]) == (1, 3)


async def test_a_second_signal_ends_it_at_once(stand_in: Any, before_stand_in: Any) -> None:
    gateway = await before_stand_in()
    async with gateway.session() as session:
        running = asyncio.create_task(stream(session, "endless", 50))
        await stand_in.until(lambda one: len(one.begun) == 1)
        gateway.signal(signal.SIGTERM)
        await gateway.until_load(draining=True)
        gateway.signal(signal.SIGTERM)
        assert await asyncio.to_thread(gateway.exit_code) == 128 + signal.SIGTERM
        failure = (await asyncio.gather(running, return_exceptions=True))[0]
        assert isinstance(failure, aiohttp.ClientError)


async def test_real_streams_survive_sigterm(engine: Any, make_gateway: Any, until: Any) -> None:
    gateway = make_gateway(engine.url)
    await asyncio.to_thread(until, gateway.is_ready, "the gateway is ready")
    async with gateway.session() as session, asyncio.TaskGroup() as group:
        streams = [group.create_task(stream(session, "Once upon a time", 24)) for _ in range(6)]
        await gateway.until_load(berth_running_requests=2)
        gateway.signal(signal.SIGTERM)
    assert all(len(task.result()) == 24 and task.result()[-1]["generated_text"] for task in streams)
    assert await asyncio.to_thread(gateway.exit_code) == 0


async def test_late_in_the_drain_a_new_request_is_sent_elsewhere(stand_in: Any, before_stand_in: Any) -> None:
    gateway = await before_stand_in(BERTH_DRAIN_SECONDS="4", BERTH_ENGINE_SLOTS="1")
    async with gateway.session() as session:
        running = asyncio.create_task(stream(session, "endless", 50))
        await stand_in.until(lambda one: len(one.begun) == 1)
        stand_in.begun[0].released.release()
        gateway.signal(signal.SIGTERM)
        await gateway.until_load(draining=True)
        status = 0
        while status != 503:
            # In the first half they are let in, and would wait: leave and ask again.
            try:
                async with session.post(
                    "/generate", json={"inputs": "late"}, timeout=aiohttp.ClientTimeout(0.3)
                ) as response:
                    status = response.status
                    assert response.headers["retry-after"]
                    assert response.headers["connection"] == "close"
            except TimeoutError:
                continue
        assert (await running)[-1]["error_type"] == "generation"
