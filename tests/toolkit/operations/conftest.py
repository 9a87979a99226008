"""A stand-in model server on a real socket: it has a gateway's routes, and misbehaves when told to."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "canary-key-7d1f"


@dataclass
class StandInServer:
    """Answers `tokens` tokens, `gap` seconds apart; `mode` names what goes wrong, `slots` limit what runs.

    A word of a prompt is two tokens, and its template is `template`; with 0 nothing is said of them.
    """

    tokens: int = 4
    gap: float = 0.0
    mode: str = "ok"
    slots: int = 10_000
    template: int = 10
    refusals: int = 0
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    release: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    backend: str = ""
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/generate", self._generate)
        app.router.add_post("/generate_stream", self._stream)
        app.router.add_post("/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def stop(self) -> None:
        self.release.set()
        if self._runner:
            await self._runner.cleanup()

    async def seen_at_least(self, count: int) -> None:
        """Wait until so many requests of the load have arrived."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.seen) >= count)

    async def _admit(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response({"error": "wrong key", "error_type": "authentication"}, status=401)
        if self.refusals > 0:
            self.refusals -= 1
            return web.json_response({"error": "starting", "error_type": "unready"}, status=503)
        body = await request.json()
        if body.get("max_tokens") == 1:  # asked once before a load
            return self._said("x", 1)
        return await self._misbehave(request, body)

    async def _misbehave(self, request: web.Request, body: dict[str, Any]) -> web.Response | None:
        async with self._arrived:
            self.seen.append((request.path, body))
            self._arrived.notify_all()
        match self.mode:
            case "status 500":
                return web.json_response({"error": "broken"}, status=500)
            case "disconnected":
                assert request.transport
                request.transport.close()
                return web.Response()
            case "hang":
                await self.release.wait()
        if self.running >= self.slots:
            return web.json_response(
                {"error": "overloaded", "error_type": "overloaded"}, status=429, headers={"Retry-After": "1"}
            )
        return None

    @staticmethod
    def _said(text: str, tokens: int) -> web.Response:
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "length"}
        return web.json_response({"choices": [choice], "usage": {"completion_tokens": tokens}})

    async def _work(self, seconds: float) -> None:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.running -= 1

    async def _generate(self, request: web.Request) -> web.Response:
        refusal = await self._admit(request)
        if refusal is not None:
            return refusal
        await self._work(self.gap * self.tokens)
        return web.json_response(
            {"generated_text": "word " * self.tokens, "details": {"generated_tokens": self.tokens}}
        )

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        events = []
        for number in range(1, self.tokens + 1):
            is_last = number == self.tokens
            events.append(
                {
                    "index": number,
                    # A line separator inside a token: only newlines end a line of an event stream.
                    "token": {"id": number, "text": "word\u2028", "special": False},
                    "generated_text": "all" if is_last else None,
                    "details": {"generated_tokens": self.tokens} if is_last else None,
                }
            )
        return await self._send_events(request, events, done=False)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        if not (await request.json()).get("stream"):
            refusal = await self._admit(request)
            if refusal is not None:
                return refusal
            await self._work(self.gap * self.tokens)
            if self.mode == "not a completion":
                return web.json_response(["what"])
            return self._said("word " * self.tokens, self.tokens)
        events: list[dict[str, Any]] = [
            {"choices": [{"delta": {"role": "assistant"}, "finish_reason": None}]}
        ]
        events += [{"choices": [{"delta": {"content": "word"}, "finish_reason": None}]}] * self.tokens
        events.append({"choices": [{"delta": {}, "finish_reason": "length"}]})
        words = len((await request.json())["messages"][0]["content"].split())
        usage = {"completion_tokens": self.tokens, "prompt_tokens": self.template + 2 * words}
        events.append({"choices": [], "usage": usage if self.template else {}})
        return await self._send_events(request, events, done=True)

    async def _send_events(
        self, request: web.Request, events: list[dict[str, Any]], *, done: bool
    ) -> web.StreamResponse:
        refusal = await self._admit(request)
        if refusal is not None:
            return refusal
        by = {"x-berth-backend": self.backend} if self.backend else {}
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **by})
        await response.prepare(request)
        if self.mode == "incomplete stream":
            events = events[:1]
        if self.mode == "stream error: generation":
            events = [*events[:1], {"error": "the engine died", "error_type": "generation"}]
        if self.mode == "an event is not JSON":
            await response.write(b"data: {oops\n\n")
        for event in events:
            await self._work(self.gap)
            await response.write(b"data:" + json.dumps(event, ensure_ascii=False).encode() + b"\n\n")
        if done:
            await response.write(b"data: [DONE]\n\n")
        return response


@pytest.fixture
async def server() -> AsyncIterator[StandInServer]:
    """Give a stand-in server that runs."""
    made = StandInServer()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def key() -> str:
    """Give the key that the stand-in server takes."""
    return KEY
