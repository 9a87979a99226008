"""A router's pod without Kubernetes: Envoy and the controller as processes, and a stand-in API server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from berth_agents.router import files
from berth_agents.router.document import parse
from berth_catalogue.exporters import exporters
from berth_images.programs import envoy as envoy_program

from tests.agents.api_world import Api
from tests.agents.router_world import PATIENCE, Gateway, document, free_port
from tests.agents.stand_ins import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

Json = dict[str, Any]


@dataclass
class Pod:
    """What a router's pod is: Envoy, its controller, and the folder that they share."""

    api: Api
    gateways: list[Gateway]
    port: int
    probes: int
    session: aiohttp.ClientSession
    controller: asyncio.subprocess.Process
    log: list[Json]
    load: int = 0

    async def variant(self) -> str:
        async with self.session.post(f"http://127.0.0.1:{self.port}/generate") as response:
            assert response.status == 200, await response.text()
            return str(response.headers["x-berth-variant"])

    async def probe(self) -> tuple[int, str]:
        async with self.session.get(f"http://127.0.0.1:{self.probes}/ready") as response:
            return response.status, await response.text()

    async def refused(self) -> dict[str, str]:
        """What Prometheus is told: 1 for what it passes over."""
        async with self.session.get(f"http://127.0.0.1:{self.probes}/metrics") as response:
            assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
            text = await response.text()
        kinds = re.findall(r"^# TYPE (\w+) (\w+)$", text, flags=re.MULTILINE)
        told = exporters()["router-controller"].metrics
        assert kinds == [(name, one.type) for name, one in told.items()]
        return dict(re.findall(r'^berth_router_refused\{what="(\w+)"\} ([01])$', text, flags=re.MULTILINE))

    async def held(self, service: str = "one") -> int | None:
        """Requests that wait for a Service's pods; None where the router does not wake it."""
        async with self.session.get(f"http://127.0.0.1:{self.load}/load") as response:
            found: dict[str, int] = (await response.json())["held"]
            return found.get(service)

    async def outcomes(self) -> dict[str, int]:
        """What came of those that waited for the Service `one`, without what never happened."""
        text = await self.metrics()
        found = re.findall(
            r'^berth_router_held_total\{.*service="one",outcome="(\w+)"\} (\d+)$', text, re.MULTILINE
        )
        return {outcome: int(count) for outcome, count in found if count != "0"}

    async def metrics(self) -> str:
        """What Prometheus is told of who waits."""
        async with self.session.get(f"http://127.0.0.1:{self.load}/metrics") as response:
            assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
            return await response.text()

    def documents(self, **parts: Any) -> Json:
        return document(listener={"port": self.port, "metricsPort": free_port()}, **parts)


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(AssertionError, aiohttp.ClientError):
                if found := await condition():
                    return found
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running_pod(
    tmp_path: Path, *, drain: str = "30", keys: Path | None = None, load: bool = False
) -> AsyncIterator[Pod]:
    folder = tmp_path / "run"
    folder.mkdir()
    authority = Authority(tmp_path, "ca")
    (tmp_path / "token").write_text("token")
    api = Api()
    async with AsyncExitStack() as stack:
        await api.start(authority.sign("localhost", server=True))
        stack.push_async_callback(api.stop)
        gateways = [await Gateway(name).start() for name in ("a", "b", "c")]
        for gateway in gateways:
            stack.push_async_callback(gateway.stop)
        port, probes = free_port(), free_port()
        first = document(listener={"port": port, "metricsPort": free_port()})
        (tmp_path / "router.json").write_text(json.dumps(first))
        files.begin(parse(json.dumps(first)), folder)
        errors = stack.enter_context((tmp_path / "envoy.log").open("wb"))
        envoy = await asyncio.create_subprocess_exec(
            envoy_program(), "-c", folder / files.BOOTSTRAP, "--concurrency", "1", "--disable-hot-restart",
            "--log-level", "warning", stdout=errors, stderr=errors,
        )  # fmt: skip
        stack.push_async_callback(end, envoy)
        environment = {
            **{key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")},
            "KUBERNETES_SERVICE_HOST": "localhost",
            "KUBERNETES_SERVICE_PORT": str(api.port),
            "BERTH_SERVICE_ACCOUNT_DIR": str(tmp_path),
            "BERTH_ROUTER_FOLDER": str(folder),
            "BERTH_ROUTER_DOCUMENT": str(tmp_path / "router.json"),
            "BERTH_ROUTER_NAMESPACE": "models",
            "BERTH_ROUTER_CONFIG_MAP": "front",
            "BERTH_ROUTER_HOST": "127.0.0.1",
            "BERTH_ROUTER_PORT": str(probes),
            "BERTH_ROUTER_PRE_STOP_SECONDS": "0",
            "BERTH_ROUTER_DRAIN_SECONDS": drain,
            **({"BERTH_ROUTER_LOAD_PORT": "0"} if load else {}),
            **({"BERTH_ROUTER_KEYS": str(keys)} if keys else {}),
        }
        controller = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "berth_agents.router", env=environment, stderr=asyncio.subprocess.PIPE
        )
        log: list[Json] = []

        async def read() -> None:
            assert controller.stderr
            async for line in controller.stderr:
                log.append(json.loads(line))  # noqa: PERF401 - it is read while it grows

        reader = asyncio.create_task(read())
        stack.push_async_callback(end, controller)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE))
        )
        pod = Pod(api, gateways, port, probes, session, controller, log)
        try:
            if load:

                async def told() -> int:
                    return next((one["port"] for one in log if one["message"] == "Telling what is held"), 0)

                pod.load = await until(told)
            yield pod
        except BaseException as error:
            # What a pod's logs would say.
            error.add_note("\n".join(map(str, [*log, (tmp_path / "envoy.log").read_text()])))
            raise
        await end(controller)
        await reader


async def end(process: asyncio.subprocess.Process) -> int:
    if process.returncode is None:
        process.terminate()
    return await process.wait()
