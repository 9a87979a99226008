"""A site that is lost: real processes behind a real Envoy, of a dead node, frozen, and killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from berth_agents.router import resources
from berth_agents.router.document import Host, parse

from tests.agents.router_world import PATIENCE, Gateway, Router, document, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Lone:
    """A gateway that is a process."""

    process: asyncio.subprocess.Process
    host: Host

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def line(self) -> str:
        assert self.process.stdout
        return (await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)).decode().strip()


@asynccontextmanager
async def lone(name: str) -> AsyncIterator[Lone]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.agents.lone_gateway", name,
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    made = Lone(process, Host("127.0.0.1", 0))
    try:
        made.host = Host("127.0.0.1", int(await made.line()))
        yield made
    finally:
        if process.returncode is None:
            process.kill()  # also where it is frozen
        await process.wait()


def two_sites(**parts: Any) -> dict[str, Any]:
    """Home by Service, asked; cloud takes over. Residents may be at home only."""
    service = {"service": {"namespace": "models", "name": "chat"}, "asked": True}
    return {
        "backends": {"home": service, "cloud": {"service": {"namespace": "models", "name": "cloud"}}},
        "variants": {"home": {"backends": ["home", "cloud"]}, "bank-home": {"backends": ["home"]}},
        "routes": [
            {"name": "bank", "match": {"headers": {"x-bank": "yes"}}, "weights": {"bank-home": 100}},
            {"name": "all", "weights": {"home": 100}},
        ],
        "retries": {"resets": True},
        **parts,
    }


async def backend(router: Router, path: str = "/generate", **headers: str) -> str:
    status, answered, body = await router.get(path, **headers)
    assert status == 200, body
    return str(answered["x-berth-backend"])


async def served_by(router: Router, name: str, **headers: str) -> None:
    """Wait until a backend answers: Envoy's workers hear of a change a moment after it was made."""
    async with asyncio.timeout(PATIENCE):
        found = ""
        while found != name:
            # One that was sent to a frozen process has no end.
            with contextlib.suppress(TimeoutError):
                found = await asyncio.wait_for(backend(router, **headers), 5)


async def none_of(router: Router, stat: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while await router.stat(stat):  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.02)


@asynccontextmanager
async def two(folder: Path, **parts: Any) -> AsyncIterator[tuple[Router, Lone, Gateway]]:
    cloud = await Gateway("cloud").start()
    try:
        async with lone("home") as home:
            where = {"home": [home.host], "cloud": [cloud.host]}
            async with running(folder, where, **two_sites(**parts)) as router:
                yield router, home, cloud
    finally:
        await cloud.stop()


async def test_a_dead_site_fails_nothing_that_it_had_not_begun_to_answer(tmp_path: Path) -> None:
    async with two(tmp_path) as (router, home, cloud):
        assert await backend(router) == "home"
        stream = await router.session.post(f"http://127.0.0.1:{router.port}/stream")
        assert stream.headers["x-berth-backend"] == "home"
        assert await stream.content.readexactly(6) == b"first "
        held = [asyncio.create_task(backend(router, "/held")) for _ in range(4)]
        for _ in held:
            assert await home.line() == "held"
        resident = asyncio.create_task(router.get("/held", x_bank="yes"))
        assert await home.line() == "held"
        home.send(signal.SIGUSR2)
        # What it had not begun to answer is answered elsewhere; no request waits for the dead.
        assert await asyncio.gather(*held) == ["cloud"] * 4
        assert [await backend(router) for _ in range(5)] == ["cloud"] * 5
        # A stream that was begun is cut, not left to hang; and who must stay at home is told so.
        with pytest.raises(aiohttp.ClientError):
            await stream.read()
        status, answered, _ = await resident
        assert status == 503
        assert answered["retry-after"] == "1"
        assert (await router.get(x_bank="yes"))[0] == 503
        assert cloud.requests == 9


async def test_a_frozen_site_is_out_until_it_wakes(tmp_path: Path) -> None:
    async with two(tmp_path) as (router, home, cloud):
        held = asyncio.create_task(backend(router, "/held"))
        assert await home.line() == "held"
        home.send(signal.SIGSTOP)
        await router.until("cluster.home.health_check.failure", 2)
        await none_of(router, "cluster.home.membership_healthy")
        await served_by(router, "cloud")
        assert [await backend(router) for _ in range(5)] == ["cloud"] * 5
        assert cloud.requests == 6
        home.send(signal.SIGCONT)
        home.send(signal.SIGUSR1)
        # Its kernel answered all the time, so what it had begun is its own.
        assert await held == "home"
        await router.until("cluster.home.membership_healthy", 1)
        await served_by(router, "home")
        assert await backend(router, x_bank="yes") == "home"


async def test_a_killed_site_fails_no_request(tmp_path: Path) -> None:
    async with two(tmp_path) as (router, home, _):
        assert await backend(router) == "home"
        held = [asyncio.create_task(router.get("/held")) for _ in range(4)]
        for _ in held:
            assert await home.line() == "held"
        home.send(signal.SIGKILL)
        for status, answered, _ in await asyncio.gather(*held):
            assert (status, answered["x-berth-backend"]) == (200, "cloud")
            assert answered["x-envoy-attempt-count"] == "2"
        assert [await backend(router) for _ in range(20)] == ["cloud"] * 20


async def test_without_resets_what_was_sent_is_not_sent_again(tmp_path: Path) -> None:
    async with two(tmp_path, retries={}) as (router, home, cloud):
        held = asyncio.create_task(router.get("/held"))
        assert await home.line() == "held"
        home.send(signal.SIGUSR2)
        assert (await held)[0] == 503
        assert cloud.requests == 0
        # What is asked for now goes elsewhere.
        assert await backend(router) == "cloud"


async def test_a_draining_gateway_keeps_its_streams(tmp_path: Path) -> None:
    home = await Gateway("home", mode="stream").start()
    cloud = await Gateway("cloud").start()
    try:
        where = {"home": [home.host], "cloud": [cloud.host]}
        async with (
            running(tmp_path, where, **two_sites()) as router,
            router.session.post(f"http://127.0.0.1:{router.port}/generate_stream") as response,
        ):
            home.chunks.put_nowait(b"begun ")
            assert await response.content.readexactly(6) == b"begun "
            home.mode = "full"  # 503 to everything, its probe among them
            before = await router.stat("cluster.home.health_check.success")
            await router.until("cluster.home.health_check.success", before + 4)
            assert [await backend(router) for _ in range(5)] == ["cloud"] * 5
            # Kubernetes no longer names it: it is drained, though it is well.
            await router.tell({"home": [], "cloud": [cloud.host]}, **two_sites())
            await none_of(router, "cluster.home.membership_total")
            home.chunks.put_nowait(b"ended")
            home.chunks.put_nowait(None)
            assert await response.read() == b"ended"
    finally:
        await home.stop()
        await cloud.stop()


async def test_nobody_but_the_router_says_which_backend_answered(tmp_path: Path) -> None:
    async with two(tmp_path) as (router, _, cloud):
        await router.tell({"home": [], "cloud": [cloud.host]}, **two_sites())
        await served_by(router, "cloud", x_berth_backend="home")
        assert "x-berth-backend" not in cloud.seen[-1]
        await router.tell({"home": [], "cloud": []}, **two_sites())
        await none_of(router, "cluster.cloud.membership_total")
        async with asyncio.timeout(PATIENCE):
            while (await router.get())[0] == 200:
                pass
        status, answered, _ = await router.get()
        assert status == 503
        assert "x-berth-backend" not in answered


def test_a_dead_address_is_out_within_five_seconds() -> None:
    found = resources.clusters(parse(json.dumps(document(**two_sites()))), Path("/run"))
    (check,) = found["home"]["health_checks"]
    times = [float(check[name].rstrip("s")) for name in ("interval", "timeout")]
    assert sum(times) * check["unhealthy_threshold"] <= 5
    (option,) = found["home"]["upstream_bind_config"]["socket_options"]
    assert int(option["int_value"]) <= 5000
    assert "health_checks" not in found["cloud"], "a Service is asked where it is said"
    hosts = {"hosts": [{"address": "models.example", "port": 443}]}
    for given, asked in ((hosts, True), ({**hosts, "asked": False}, False)):
        backends = {**two_sites()["backends"], "cloud": given}
        found = resources.clusters(parse(json.dumps(document(**two_sites(backends=backends)))), Path("/run"))
        assert ("health_checks" in found["cloud"]) == asked
