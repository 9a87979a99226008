"""The hybrid reporter and controller as processes, with what they talk to."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import aiohttp
from aiohttp import web

from tests.agents.api_world import Api
from tests.agents.router_world import PATIENCE
from tests.agents.stand_ins import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

Json = dict[str, Any]
TOKEN = "the-sites-word"


@dataclass
class Agent:
    """One process, and where it listens."""

    process: asyncio.subprocess.Process
    session: aiohttp.ClientSession
    log: list[Json]
    port: int = 0
    probes: int = 0

    async def probe(self, path: str = "/ready") -> tuple[int, str]:
        async with self.session.get(f"http://127.0.0.1:{self.probes}{path}") as response:
            return response.status, await response.text()

    async def says(self, words: str) -> bool:
        return words in (await self.probe())[1]

    async def is_ready(self) -> bool:
        return (await self.probe())[0] == 200

    def said(self, message: str) -> list[Json]:
        return [line for line in self.log if line["message"] == message]

    async def end(self) -> int:
        if self.process.returncode is None:
            self.process.terminate()
        return await self.process.wait()


@dataclass
class Site:
    """A stand-in reporter: says what a test tells it."""

    name: str
    said: Json = field(default_factory=dict)
    status: int = 200
    port: int = 0
    asked: list[str] = field(default_factory=list)
    certificate: Path | None = None
    _runner: web.AppRunner | None = None

    async def start(self) -> Self:
        app = web.Application()
        app.router.add_get("/v1/site", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0, access_log=None)
        await self._runner.setup()
        tls = None
        if self.certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(self.certificate)
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=tls).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    def says(self, *, waiting: int = 0, running: int = 0, ready: int = 2, billed: int = 2) -> None:
        self.said = {"waiting": waiting, "running": running, "slots": 4 * ready, "ready": ready,
                     "billed": billed, "unread": 0, "ageSeconds": 0.1}  # fmt: skip

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.headers.get("Authorization", ""))
        if self.asked[-1] != f"Bearer {TOKEN}":
            return web.json_response({"error": "no"}, status=401)
        body = {"version": 1, "site": self.name, "models": {"chat": self.said}, "later": "unknown today"}
        return web.json_response(body, status=self.status)


@dataclass
class Ground:
    """A folder, a stand-in API server, and the processes that a test starts."""

    folder: Path
    api: Api
    authority: Authority
    session: aiohttp.ClientSession
    stack: AsyncExitStack

    async def agent(self, word: str, variables: Mapping[str, str]) -> Agent:
        """Start one; it may still be far from ready."""
        environment = {
            **{key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")},
            "KUBERNETES_SERVICE_HOST": "localhost",
            "KUBERNETES_SERVICE_PORT": str(self.api.port),
            "BERTH_SERVICE_ACCOUNT_DIR": str(self.folder),
            **variables,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "berth_agents.hybrid", word, env=environment, stderr=asyncio.subprocess.PIPE
        )
        agent = Agent(process, self.session, [])
        listening = asyncio.Event()

        async def read() -> None:
            assert process.stderr
            async for line in process.stderr:
                agent.log.append(json.loads(line))
                if agent.log[-1]["message"] == "Listening":
                    agent.port, agent.probes = agent.log[-1]["port"], agent.log[-1]["probes"]
                    listening.set()

        reader = asyncio.create_task(read())

        async def end() -> None:
            await agent.end()
            await reader

        self.stack.push_async_callback(end)
        async with asyncio.timeout(PATIENCE):
            await listening.wait()
        return agent

    async def reporter(self, models: Json, **variables: str) -> Agent:
        document = {"version": 1, "models": models}
        (self.folder / "site.json").write_text(json.dumps(document))
        given = {
            "BERTH_SITE": "home",
            "BERTH_SITE_NAMESPACE": "models",
            "BERTH_SITE_DOCUMENT": str(self.folder / "site.json"),
            "BERTH_SITE_TOKEN_FILE": str(self.folder / "site-token"),
            "BERTH_SITE_HOST": "127.0.0.1",
            "BERTH_SITE_PORT": "0",
            "BERTH_SITE_PROBES_PORT": "0",
        }
        return await self.agent("report", {**given, **variables})

    async def site(self, name: str) -> Site:
        site = await Site(name).start()
        site.says()
        self.stack.push_async_callback(site.stop)
        return site

    def hybrid(self, *sites: Site, **parts: Any) -> Json:
        costs = {"home": 0, "cloud": 1.5}
        whole: Json = {
            "version": 1,
            "router": "front",
            "namespace": "models",
            "model": "chat",
            "everySeconds": 0.1,
            "sites": [
                {
                    "name": site.name,
                    "url": f"http://127.0.0.1:{site.port}",
                    "costPerReplicaHour": costs[site.name],
                    "mostReplicas": 4,
                    "caFile": None,
                    "serverName": None,
                }
                for site in sites
            ],
            "policy": {"costCapPerHour": 20, "silentSeconds": 1, "holdSeconds": 3600},
            "routes": {"bank": ["home"], "all": [site.name for site in sites]},
        }
        return {**whole, **parts}

    async def controller(self, document: Json) -> Agent:
        (self.folder / "hybrid.json").write_text(json.dumps(document))
        return await self.agent(
            "control",
            {
                "BERTH_HYBRID_DOCUMENT": str(self.folder / "hybrid.json"),
                "BERTH_HYBRID_TOKEN_FILE": str(self.folder / "site-token"),
                "BERTH_HYBRID_HOST": "127.0.0.1",
                "BERTH_HYBRID_METRICS_PORT": "0",
                "BERTH_HYBRID_PROBES_PORT": "0",
            },
        )


@asynccontextmanager
async def ground(folder: Path) -> AsyncIterator[Ground]:
    authority = Authority(folder, "ca")
    (folder / "token").write_text("token")
    (folder / "site-token").write_text(f"{TOKEN}\n")
    async with AsyncExitStack() as stack:
        api = Api()
        await api.start(authority.sign("localhost", server=True))
        stack.push_async_callback(api.stop)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE))
        )
        yield Ground(folder, api, authority, session, stack)
