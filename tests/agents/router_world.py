"""A real Envoy on loopback, and stand-in gateways behind it that do what a test tells them."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import aiohttp
from aiohttp import web
from berth_agents.router import files
from berth_agents.router.delivery import Delivery
from berth_agents.router.document import Document, Host, parse
from berth_agents.router.envoy import Envoy
from berth_images.programs import envoy as envoy_program

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

Json = dict[str, Any]
PATIENCE = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Gateway:
    """A gateway's client port. `mode`: ok, stream, full (503), broken (500), cut (mid-stream) or reset.

    With `tls` it serves by HTTPS.
    """

    name: str
    mode: str = "ok"
    port: int = 0
    requests: int = 0
    received: int = 0
    seen: list[Mapping[str, str]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    chunks: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    tls: ssl.SSLContext | None = None
    _runner: web.AppRunner | None = None

    async def start(self) -> Self:
        application = web.Application(client_max_size=64 << 20)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=0, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self.tls).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    @property
    def host(self) -> Host:
        return Host("127.0.0.1", self.port)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/ready":  # Envoy's own question
            return web.Response(status=503 if self.mode == "full" else 200)
        return await self._served(request)

    async def _served(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self.seen.append(request.headers)
        match self.mode:
            case "full":
                return web.Response(status=503, headers={"retry-after": "1"})
            case "held-full":
                await self.gate.wait()
                return web.Response(status=503)
            case "broken":
                return web.Response(status=500)
            case "reset":
                assert request.transport
                await request.read()
                request.transport.abort()
                return web.Response()
        body = await request.read()
        self.received += len(body)
        if self.mode in {"stream", "cut"}:
            response = web.StreamResponse()
            await response.prepare(request)
            while (chunk := await self.chunks.get()) is not None:
                await response.write(chunk)
            if self.mode == "cut":
                assert request.transport
                request.transport.abort()
            return response
        return web.json_response({"from": self.name})


def document(router: Router | None = None, **parts: Any) -> Json:
    """The JSON of two variants, each with a backend of its own, all else as given."""
    ports = {"port": router.port, "metricsPort": router.metrics_port} if router else {}
    listener = {**ports, **parts.pop("listener", {})}
    whole: Json = {
        "version": 1,
        "listener": listener,
        "backends": {name: {"service": {"namespace": "models", "name": name}} for name in ("one", "two")},
        "variants": {"main": {"backends": ["one"]}, "next": {"backends": ["two"]}},
        "routes": [{"name": "all", "weights": {"main": 90, "next": 10}}],
    }
    return {**whole, **parts}


def read(**parts: Any) -> Document:
    return parse(json.dumps(document(**parts)))


@dataclass
class Router:
    """One Envoy, as a process, told by a `Delivery` of this process."""

    folder: Path
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    session: aiohttp.ClientSession = field(init=False)
    envoy: Envoy = field(init=False)
    delivery: Delivery = field(init=False)
    now: Document = field(init=False)
    where: dict[str, list[Host]] = field(default_factory=dict)
    process: asyncio.subprocess.Process = field(init=False)

    @property
    def log(self) -> str:
        return (self.folder / "envoy.log").read_text()

    def access_log(self) -> list[Json]:
        return [json.loads(line) for line in (self.folder / "access.log").read_text().splitlines()]

    async def tell(self, where: dict[str, list[Host]] | None = None, **parts: Any) -> None:
        """Change the document, the endpoints or both."""
        self.now = parse(json.dumps(document(self, **parts)))
        self.where = self.where if where is None else where
        await self.delivery.deliver(self.now, self.where)

    async def get(self, path: str = "/generate", **headers: str) -> tuple[int, Mapping[str, str], str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(f"http://127.0.0.1:{self.port}{path}", headers=named) as response:
            return response.status, response.headers, await response.text()

    async def variants(self, count: int, *, at_once: int = 16, **headers: str) -> Counter[str]:
        """Which variant served, of so many requests."""
        found: Counter[str] = Counter()
        left = iter(range(count))

        async def work() -> None:
            for _ in left:
                status, answered, _body = await self.get(**headers)
                assert status == 200, (answered, _body)
                found[answered["x-berth-variant"]] += 1

        await asyncio.gather(*(work() for _ in range(at_once)))
        return found

    async def stat(self, name: str) -> int:
        return int((await self.envoy.stats(f"^{name.replace('.', '[.]')}$")).get(name, "0"))

    async def until(self, stat: str, at_least: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while await self.stat(stat) < at_least:  # noqa: ASYNC110 - it is in another process
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running(folder: Path, where: dict[str, list[Host]], **parts: Any) -> AsyncIterator[Router]:
    """Start an Envoy for a document and its endpoints; ends it, and says so where it had ended itself."""
    router = Router(folder, where=where)
    router.now = parse(json.dumps(document(router, **parts)))
    files.begin(router.now, folder, where)
    async with AsyncExitStack() as stack:
        errors = stack.enter_context((folder / "envoy.log").open("wb"))
        out = stack.enter_context((folder / "access.log").open("wb"))
        router.process = await asyncio.create_subprocess_exec(
            envoy_program(), "-c", folder / files.BOOTSTRAP, "--concurrency", "2",
            "--disable-hot-restart", "--log-level", "warning", "--file-flush-interval-msec", "50",
            stdout=out, stderr=errors,
        )  # fmt: skip
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        router.session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, timeout=timeout)
        )
        router.envoy = await stack.enter_async_context(Envoy(folder))
        router.delivery = Delivery(folder, router.envoy)
        try:
            async with asyncio.timeout(PATIENCE):
                while not await router.envoy.is_live():
                    assert router.process.returncode is None, router.log
                    await asyncio.sleep(0.02)
            yield router
            assert router.process.returncode is None, router.log
        finally:
            if router.process.returncode is None:
                router.process.terminate()
            await router.process.wait()
