"""Clients that stream through a rolling update: once in the test, ten times in bench/rolling_update.py."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable

PROMPT = "Once upon a time"
TOKENS = 6
# Between two streams of a client: without it, 50 leave new pods no CPU of two to start with.
THINK_SECONDS = 3.0
_ASKED_AGAIN = (429, 503)


@dataclass
class Streams:
    """What clients saw.

    Attributes:
        whole: streams that came to their end.
        again: answers that said when to ask again (429 or 503 with Retry-After), and were.
        failed: everything else, each with what happened.
        over: tells every client to end after its present request.
    """

    whole: int = 0
    again: int = 0
    failed: list[str] = field(default_factory=list)
    over: bool = False


async def _client(url: str, key: str, seen: Streams) -> None:
    """Stream on one kept connection, as clients with a pool do, until it is over."""
    body = {"inputs": PROMPT, "parameters": {"max_new_tokens": TOKENS}}
    headers = {"Authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=None, sock_read=120)
    async with aiohttp.ClientSession(url, headers=headers, timeout=timeout) as session:
        while not seen.over:
            try:
                await _one(session, body, seen)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                seen.failed.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(THINK_SECONDS)


async def _one(session: aiohttp.ClientSession, body: object, seen: Streams) -> None:
    async with session.post("/generate_stream", json=body) as response:
        wait = response.headers.get("retry-after")
        if response.status in _ASKED_AGAIN and wait:
            seen.again += 1
            await asyncio.sleep(float(wait))
            return
        if response.status != 200:
            seen.failed.append(f"status {response.status}: {(await response.text())[:200]}")
            return
        last = {}
        async for line in response.content:
            if line.startswith(b"data:"):
                last = json.loads(line[5:])
        if last.get("generated_text"):
            seen.whole += 1
        else:
            seen.failed.append(f"a stream without its end: {last}")


async def stream_through(url: str, key: str, clients: int, update: Callable[[], None]) -> Streams:
    """Let clients stream while `update` runs in a thread, once as many streams as clients were whole."""
    seen = Streams()
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(_client(url, key, seen))
        try:
            async with asyncio.timeout(180):
                while seen.whole < clients:  # noqa: ASYNC110 - many tasks count
                    await asyncio.sleep(0.1)
            await asyncio.to_thread(update)
        finally:
            seen.over = True
    return seen
