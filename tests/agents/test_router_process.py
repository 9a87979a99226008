"""The controller as a process beside a real Envoy; the API server that it follows is a stand-in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from berth_agents.router import files
from berth_agents.router.document import parse
from berth_catalogue.exporters import exporters
from berth_images.programs import envoy as envoy_program

from tests.agents.api_world import CONFIG_MAPS, SLICES, Api
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
async def running_pod(tmp_path: Path, *, drain: str = "30") -> AsyncIterator[Pod]:
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
        try:
            yield Pod(api, gateways, port, probes, session, controller, log)
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


async def test_it_follows_document_and_endpoints(tmp_path: Path) -> None:
    async with running_pod(tmp_path) as pod:
        a, b, c = pod.gateways

        async def says(words: str) -> bool:
            return words in (await pod.probe())[1]

        await until(lambda: says("models/front does not exist"))
        assert await pod.refused() == {"document": "1", "weights": "0"}
        pod.api.pods("one", a)
        pod.api.pods("two", c)
        pod.api.tell(**pod.documents(routes=[{"name": "all", "weights": {"main": 100}}]))

        async def ready() -> bool:
            return (await pod.probe()) == (200, "ready\n")

        await until(ready)
        assert await pod.variant() == "main"
        assert await pod.refused() == {"document": "0", "weights": "0"}
        # Another pod, then the first one no longer ready.
        pod.api.pods("one", b)
        pod.api.pods("one", a, ready=False)

        async def served_by_b() -> bool:
            before = a.requests
            await pod.variant()
            return a.requests == before and b.requests > 0

        await until(served_by_b)
        pod.api.tell(**pod.documents(routes=[{"name": "all", "weights": {"next": 100}}]))

        async def moved() -> bool:
            return await pod.variant() == "next"

        await until(moved)
        # A wrong document is said, and the one before stays in force.
        pod.api.tell(text='{"version": 1, "routes": []}')
        await until(lambda: says("routes is empty"))
        assert await pod.refused() == {"document": "1", "weights": "0"}
        assert (await pod.probe())[0] == 200
        assert await pod.variant() == "next"
        # So does everything while the API server is gone.
        pod.api.broken = True
        assert await pod.variant() == "next"
        assert {path for path, _ in pod.api.asked} == {CONFIG_MAPS, SLICES}
        assert {field for path, field in pod.api.asked if path == CONFIG_MAPS} == {
            "metadata.name=front",
            "metadata.name=front-weights",
        }
        assert await end(pod.controller) == 0


async def test_weights_of_others_count_and_wrong_ones_are_said(tmp_path: Path) -> None:
    async with running_pod(tmp_path) as pod:
        a, _, c = pod.gateways
        pod.api.pods("one", a)
        pod.api.pods("two", c)
        pod.api.weigh('{"version": 1, "routes": {"all": {"next": 100}}}')
        pod.api.tell(**pod.documents(routes=[{"name": "all", "weights": {"main": 100}}]))

        async def ready() -> bool:
            return (await pod.probe()) == (200, "ready\n")

        async def served_by(variant: str) -> bool:
            return await pod.variant() == variant

        await until(ready)
        assert await pod.variant() == "next", "they count from the first request on"
        pod.api.weigh('{"version": 1, "routes": {"all": {"nxt": 100}}}')

        async def said() -> bool:
            return "models/front-weights, weights.json: routes.all is 'nxt'" in (await pod.probe())[1]

        await until(said)
        await until(lambda: served_by("main"))
        assert await pod.refused() == {"document": "0", "weights": "1"}
        assert (await pod.probe())[0] == 200


async def test_it_drains_before_it_ends(tmp_path: Path) -> None:
    async with running_pod(tmp_path) as pod:
        a, *_ = pod.gateways
        a.mode = "stream"
        pod.api.pods("one", a)
        pod.api.tell(**pod.documents(routes=[{"name": "all", "weights": {"main": 100}}]))

        async def ready() -> bool:
            return (await pod.probe())[0] == 200

        await until(ready)
        async with pod.session.post(f"http://127.0.0.1:{pod.port}/generate_stream") as response:
            a.chunks.put_nowait(b"begun ")
            assert await response.content.readexactly(6) == b"begun "
            pod.controller.send_signal(signal.SIGTERM)

            async def stopping() -> bool:
                return (await pod.probe()) == (503, "stopping\n")

            await until(stopping)
            assert pod.controller.returncode is None
            a.chunks.put_nowait(b"ended")
            a.chunks.put_nowait(None)
            assert await response.read() == b"ended"
        assert await pod.controller.wait() == 0
    assert pod.log[-1]["message"] == "Drained"
    assert pod.log[-1]["cut_off"] == 0


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "BERTH_ROUTER_FOLDER is '.'"),
        ({"BERTH_ROUTER_FOLDER": "/nowhere"}, "it must be a folder, shared with Envoy"),
        ({"BERTH_ROUTER_FOLDER": "/tmp"}, "BERTH_ROUTER_DOCUMENT is '.'"),  # noqa: S108 - exists everywhere
        (
            {
                "BERTH_ROUTER_FOLDER": "/tmp",  # noqa: S108 - as above
                "BERTH_ROUTER_DOCUMENT": "/nowhere",
                "BERTH_ROUTER_NAMESPACE": "models",
                "BERTH_ROUTER_CONFIG_MAP": "front",
                "BERTH_ROUTER_DRAIN_SECONDS": "-1",
            },
            "BERTH_ROUTER_DRAIN_SECONDS is '-1'",
        ),
    ],
)
async def test_wrong_settings_are_named(variables: dict[str, str], words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "berth_agents.router", env=variables, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert words in json.loads(errors)["error"]


async def test_a_pod_begins_with_the_mounted_document(tmp_path: Path) -> None:
    (tmp_path / "router.json").write_text(json.dumps(document()))
    environment = {
        "BERTH_ROUTER_FOLDER": str(tmp_path),
        "BERTH_ROUTER_DOCUMENT": str(tmp_path / "router.json"),
        "BERTH_ROUTER_NAMESPACE": "models",
        "BERTH_ROUTER_CONFIG_MAP": "front",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "berth_agents.router", "begin", env=environment
    )
    assert await process.wait() == 0
    names = {"bootstrap.json", "cds.json", "rds.json", "eds-one.json", "eds-two.json"}
    assert names <= set(os.listdir(tmp_path))  # noqa: PTH208 - async functions may not use Path's
