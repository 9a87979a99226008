"""The controller as a process beside a real Envoy; the API server that it follows is a stand-in."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.agents.api_world import CONFIG_MAPS, SLICES
from tests.agents.pod_world import end, running_pod, until
from tests.agents.router_world import document

if TYPE_CHECKING:
    from pathlib import Path


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
        (
            {
                "BERTH_ROUTER_FOLDER": "/tmp",  # noqa: S108 - exists everywhere
                "BERTH_ROUTER_DOCUMENT": "/nowhere",
                "BERTH_ROUTER_KEYS": "keys",
            },
            "BERTH_ROUTER_KEYS is 'keys'; it must be an absolute path",
        ),
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
