"""Over capacity: 429 at once, first come first served, and nobody holds a slot who is not there.

A stand-in engine makes tokens only when told to, so that who runs and who waits is known exactly.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest
from berth_serving.errors import Overloaded
from berth_serving.gateway.exchange import BodyBudget, Exchange

if TYPE_CHECKING:
    import aiohttp


def body(prompt: str, tokens: int = 3) -> dict[str, Any]:
    return {"inputs": prompt, "parameters": {"max_new_tokens": tokens}}


async def ask(session: aiohttp.ClientSession, prompt: str, **more: Any) -> tuple[int, Any, Any]:
    async with session.post("/generate", json=body(prompt, **more)) as response:
        return response.status, await response.json(), response.headers


async def test_over_capacity_is_429_at_once_and_the_admitted_are_served_in_order(
    stand_in: Any, before_stand_in: Any
) -> None:
    gateway = await before_stand_in(BERTH_ENGINE_SLOTS="1", MAX_CONCURRENT_REQUESTS="4")
    async with gateway.session() as session, asyncio.TaskGroup() as group:
        admitted = []
        for index in range(4):
            admitted.append(group.create_task(ask(session, f"ask {index}")))
            await gateway.until_load(berth_running_requests=1, berth_queue_depth=index)
        status, said, headers = await ask(session, "one too many")
        assert status == 429
        assert said["error_type"] == "overloaded"
        assert "MAX_CONCURRENT_REQUESTS" in said["error"]
        assert 1 <= int(headers["retry-after"]) <= 60
        async with session.post("/v1/completions", json={"prompt": "x"}) as response:
            assert response.status == 429
            assert (await response.json())["error"]["type"] == "overloaded_error"
        assert len(stand_in.begun) == 1, "one slot, one at a time"
        stand_in.free_running = True
        stand_in.begun[0].released.release()
        stand_in.begun[0].released.release()
        stand_in.begun[0].released.release()
    assert [task.result()[0] for task in admitted] == [200] * 4
    assert [work.prompt for work in stand_in.begun] == [f"ask {index}" for index in range(4)]
    await gateway.until_load(berth_running_requests=0, berth_queue_depth=0)


async def test_a_wait_that_is_too_long_ends_with_429(stand_in: Any, before_stand_in: Any) -> None:
    gateway = await before_stand_in(BERTH_ENGINE_SLOTS="1", BERTH_QUEUE_TIMEOUT_SECONDS="0.2")
    async with gateway.session() as session, asyncio.TaskGroup() as group:
        first = group.create_task(ask(session, "first"))
        await gateway.until_load(berth_running_requests=1)
        status, said, headers = await ask(session, "second")
        assert status == 429
        assert "BERTH_QUEUE_TIMEOUT_SECONDS" in said["error"]
        assert "retry-after" in headers
        stand_in.free_running = True
        for _ in range(3):
            stand_in.begun[0].released.release()
    assert first.result()[0] == 200, "the admitted one is unharmed"


async def test_who_leaves_the_queue_is_forgotten(stand_in: Any, before_stand_in: Any) -> None:
    gateway = await before_stand_in(BERTH_ENGINE_SLOTS="1")
    async with gateway.session() as session, asyncio.TaskGroup() as group:
        first = group.create_task(ask(session, "first"))
        await gateway.until_load(berth_running_requests=1)
        leaver = asyncio.create_task(ask(session, "leaver"))
        await gateway.until_load(berth_queue_depth=1)
        stayer = group.create_task(ask(session, "stayer"))
        await gateway.until_load(berth_queue_depth=2)
        leaver.cancel()
        await gateway.until_load(berth_queue_depth=1)
        stand_in.free_running = True
        for _ in range(3):
            stand_in.begun[0].released.release()
    assert (first.result()[0], stayer.result()[0]) == (200, 200)
    assert [work.prompt for work in stand_in.begun] == ["first", "stayer"]
    with contextlib.suppress(asyncio.CancelledError):
        await leaver


async def test_a_client_that_leaves_cancels_the_engines_work(stand_in: Any, before_stand_in: Any) -> None:
    gateway = await before_stand_in(BERTH_ENGINE_SLOTS="1")
    async with gateway.session() as session:
        for path in ("/generate", "/generate_stream"):
            begun = len(stand_in.begun)
            task = asyncio.create_task(_read(session, path))
            await stand_in.until(lambda one, begun=begun: len(one.begun) > begun)
            work = stand_in.begun[-1]
            work.released.release()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await stand_in.until(lambda _, work=work: work.cancelled)
            await gateway.until_load(berth_running_requests=0)


async def _read(session: aiohttp.ClientSession, path: str) -> bytes:
    async with session.post(path, json=body("leaving", tokens=50)) as response:
        return await response.read()


async def test_a_client_that_never_reads_is_cut_off_and_its_slot_freed(
    stand_in: Any, before_stand_in: Any
) -> None:
    gateway = await before_stand_in(
        BERTH_ENGINE_SLOTS="1", BERTH_WRITE_TIMEOUT_SECONDS="0.3", MAX_TOTAL_TOKENS="500"
    )
    stand_in.free_running = True
    # Windows as small as they go, so that a few hundred events are more than anybody buffers.
    wide = json.dumps({"content": "x" * 40_000, "tokens": [1], "stop": False, "tokens_predicted": 1}).encode()
    stand_in.garbage = b"".join(b"data: " + wide + b"\n\n" for _ in range(200))
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", gateway.port))
        payload = json.dumps(body("deaf", tokens=400)).encode()
        head = f"POST /generate_stream HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gateway.key}\r\n"
        deaf.sendall(f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload)
        await stand_in.until(lambda one: len(one.begun) == 1)
        await gateway.until_load(berth_running_requests=0)
        outcome = 'berth_requests_total{outcome="client_gone",route="/generate_stream"}'
        assert gateway.metrics()[outcome] == 1


async def test_a_client_that_reads_a_little_at_a_time_keeps_no_slot_for_ever(
    stand_in: Any, before_stand_in: Any
) -> None:
    """What it keeps the server waiting adds up, though each piece is taken in time."""
    gateway = await before_stand_in(
        BERTH_ENGINE_SLOTS="1", BERTH_WRITE_TIMEOUT_SECONDS="1", MAX_TOTAL_TOKENS="500"
    )
    stand_in.free_running = True
    wide = json.dumps({"content": "x" * 40_000, "tokens": [1], "stop": False, "tokens_predicted": 1}).encode()
    stand_in.garbage = b"".join(b"data: " + wide + b"\n\n" for _ in range(400))
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", gateway.port))
        slow.setblocking(False)
        payload = json.dumps(body("slow", tokens=400)).encode()
        head = f"POST /generate_stream HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gateway.key}\r\n"
        slow.sendall(f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload)
        await stand_in.until(lambda one: len(one.begun) == 1)
        async with asyncio.timeout(60):
            while (await gateway.load_now())["berth_running_requests"]:
                with contextlib.suppress(BlockingIOError, ConnectionResetError):
                    slow.recv(2000)
                await asyncio.sleep(0.02)
    outcome = 'berth_requests_total{outcome="client_gone",route="/generate_stream"}'
    assert gateway.metrics()[outcome] == 1


async def test_bodies_that_would_fill_the_memory_are_turned_away() -> None:
    def exchange(pieces: list[bytes]) -> Exchange:
        async def receive() -> dict[str, Any]:
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        never = {"berth.waits": lambda: False}
        scope = {"method": "POST", "path": "/", "headers": [], "extensions": never}
        return Exchange(scope, receive, receive, write_timeout=1)

    budget = BodyBudget(100)
    first = exchange([b"x" * 40, b"x" * 40])
    assert len(await first.body(100, 1, budget)) == 80
    second = exchange([b"x" * 15, b"x" * 15])
    with pytest.raises(Overloaded):
        await second.body(100, 1, budget)
    assert (first.held, second.held) == (80, 15)
    budget.give(first.held)
    budget.give(second.held)
    budget.take(100)


async def test_slow_headers_and_bodies_are_ended(stand_in: Any, before_stand_in: Any) -> None:
    gateway = await before_stand_in(BERTH_HEADER_TIMEOUT_SECONDS="0.2", BERTH_BODY_TIMEOUT_SECONDS="0.2")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"POST /generate HTTP/1.1\r\nHost: a\r\nX-Slow")
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b"", "headers that never end"
    writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = f"POST /generate HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gateway.key}\r\n"
    writer.write(f"{head}Content-Length: 99\r\n\r\n".encode() + b'{"inputs"')
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    writer.close()
    assert stand_in.begun == []


async def test_a_reset_in_the_middle_of_a_body_harms_nobody(stand_in: Any, before_stand_in: Any) -> None:
    gateway = await before_stand_in()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            head = f"POST /generate HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gateway.key}\r\n"
            connection.sendall(f"{head}Content-Length: 99\r\n\r\n".encode() + b"{")
    stand_in.free_running = True
    async with gateway.session() as session:
        assert (await ask(session, "still there"))[0] == 200
    assert not any(record["level"] == "error" for record in gateway.records())


async def test_a_burst_of_prompts_to_prepare_leaves_the_engine_threads(
    stand_in: Any, before_stand_in: Any
) -> None:
    """Chat templates and counts are HTTP calls too, and the engine's threads for them are few."""
    gateway = await before_stand_in(MAX_CONCURRENT_REQUESTS="32")
    stand_in.free_running = True
    stand_in.prepare.clear()
    counted = {"inputs": "to count", "parameters": {"truncate": 5, "max_new_tokens": 2}}
    chat = {"messages": [{"role": "user", "content": "to render"}], "max_tokens": 2}

    async def status(session: aiohttp.ClientSession, path: str, body: Any) -> int:
        async with session.post(path, json=body) as response:
            return response.status

    async with gateway.session() as session, asyncio.TaskGroup() as group:
        burst = [group.create_task(status(session, "/generate", counted)) for _ in range(12)]
        burst += [group.create_task(status(session, "/v1/chat/completions", chat)) for _ in range(12)]
        await stand_in.until(lambda one: one.preparing == 8)
        assert await status(session, "/generate", {"inputs": "needs none"}) == 200
        assert stand_in.preparing == 8
        stand_in.prepare.set()
    assert [task.result() for task in burst] == [200] * 24
    assert stand_in.most_preparing == 8
