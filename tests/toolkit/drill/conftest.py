"""A router over two sites on loopback, which does what a hybrid router does, and a record made by hand."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from berth.operations.drill import DrilledSite, Ground, Objectives, Residency

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY, TOKEN = "key-of-the-drill-canary", "token-of-reporters-canary"
RESIDENT = "x-residency"
SITES = ("home", "cloud")


@dataclass
class StandInRouter:
    """Answers for both sites. A site in `lost` gives no answer until `taken` is set; then others do.

    Attributes:
        slots: of each site; who finds none free waits.
        lost: sites that are gone.
        silent: sites whose reporters say nothing.
        broken: whether a site's loss breaks the residency rule, too: a defect that a drill must find.
        overflow: from so many waiting at home on, the other site is asked.
    """

    slots: int = 2
    seconds: float = 0.2
    overflow: int = 4
    lost: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    broken: bool = False
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    waiting: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SITES, 0))
    running: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SITES, 0))
    tokens: list[str] = field(default_factory=list)
    _free: dict[str, asyncio.Semaphore] = field(default_factory=dict)
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        self._free = {name: asyncio.Semaphore(self.slots) for name in SITES}
        app = web.Application()
        app.router.add_get("/info", self._info)
        app.router.add_post("/generate_stream", self._stream)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/{site}/v1/site", self._site)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def stop(self) -> None:
        self.taken.set()
        if self._runner:
            await self._runner.cleanup()

    def ground(self, **parts: Any) -> Ground:
        given: dict[str, Any] = {
            "stack": "demo",
            "router": "front",
            "model": "chat",
            "endpoint": self.url,
            "key": KEY,
            "token": TOKEN,
            "sites": (
                DrilledSite(name="home", backend="home", reporter=f"{self.url}/home"),
                DrilledSite(
                    name="cloud", backend="cloud", reporter=f"{self.url}/cloud", cost_per_replica_hour=1.2
                ),
            ),
            "residency": (Residency(name="bank", sites=("home",), headers={RESIDENT: "bank"}),),
            "cost_cap_per_hour": 4.0,
            "objectives": Objectives(availability=0.9, first_token_p99_seconds=600.0),
            "simulated": "everything but the requests",
        }
        return Ground(**{**given, **parts})

    async def _info(self, request: web.Request) -> web.Response:
        site, attempts = await self._choose(request)
        return web.json_response({}, headers=_by(site, attempts))

    async def _choose(self, request: web.Request) -> tuple[str, int]:
        """Who answers, and at which attempt."""
        full = self.waiting["home"] >= self.overflow
        stays = request.headers.get(RESIDENT) == "bank"
        first = "home" if stays or not full else "cloud"
        if first not in self.lost:
            return first, 1
        # Until the others take over, whoever was sent there waits, and is sent elsewhere at a second attempt.
        attempts = 1 if self.taken.is_set() else 2
        await self.taken.wait()
        if stays and not self.broken:
            raise web.HTTPServiceUnavailable
        return next(name for name in SITES if name not in self.lost), attempts

    async def _chat(self, _request: web.Request) -> web.Response:
        said = {"choices": [{"message": {"content": "x"}}], "usage": {"completion_tokens": 1}}
        return web.json_response(said)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response({"error": "wrong key"}, status=401)
        await request.json()
        site, attempts = await self._choose(request)
        self.waiting[site] += 1
        async with self._free[site]:
            self.waiting[site] -= 1
            self.running[site] += 1
            try:
                await asyncio.sleep(self.seconds)
                response = web.StreamResponse(
                    headers={"Content-Type": "text/event-stream", **_by(site, attempts)}
                )
                await response.prepare(request)
                for event in (
                    {"token": {"text": "a"}},
                    {"token": {"text": "b"}, "generated_text": "ab", "details": {"generated_tokens": 2}},
                ):
                    await response.write(f"data:{json.dumps(event)}\n\n".encode())
                return response
            finally:
                self.running[site] -= 1

    async def _site(self, request: web.Request) -> web.Response:
        name = request.match_info["site"]
        self.tokens.append(request.headers.get("Authorization", ""))
        if name in self.silent:
            return web.json_response({}, status=503)
        ready = 0 if name in self.lost else 1
        said = {
            "waiting": self.waiting[name], "running": self.running[name], "slots": self.slots, "ready": ready,
            "billed": 1, "unread": 0, "ageSeconds": 0.1,
        }  # fmt: skip
        return web.json_response({"version": 1, "site": name, "models": {"chat": said}})


def _by(site: str, attempts: int) -> dict[str, str]:
    return {"x-berth-backend": site, "x-envoy-attempt-count": str(attempts)}


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short phases; and no verdict that says how fast this machine is."""
    monkeypatch.setattr("berth.operations.drill.run._LEAST_SECONDS", 1.0)
    monkeypatch.setattr("berth.operations.drill.traffic._MEASURE_SECONDS", 1.0)
    monkeypatch.setattr("berth.operations.drill.judge.FAILOVER_SECONDS", 300.0)


@pytest.fixture
async def router() -> AsyncIterator[StandInRouter]:
    made = StandInRouter()
    await made.start()
    yield made
    await made.stop()
