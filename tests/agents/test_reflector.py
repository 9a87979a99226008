"""What is known of the pods counts only while the API server is heard. A stand-in, and our clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from berth_agents.kube import ClusterAccess, KubeClient
from berth_agents.metrics_adapter.gateways import Gateways
from berth_agents.metrics_adapter.readings import GatewayReader, held_by
from berth_agents.metrics_adapter.selectors import parse
from berth_agents.metrics_adapter.signal import NoSignal, QueueSignal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SELECTOR = "app.kubernetes.io/instance=chat"


class Watched:
    """The gateways as a reflector keeps them, and the signal over them, under one clock."""

    def __init__(self, world: Any, client: KubeClient, session: aiohttp.ClientSession) -> None:
        self.now = 1000.0
        reader = GatewayReader(session, world.gateway_port, lambda: self.now)
        self.gateways = Gateways(client, reader.forget, lambda: self.now)
        routers = GatewayReader(session, 0, lambda: self.now, understand=held_by)
        self._signal = QueueSignal(self.gateways, reader, routers, lambda: self.now)

    async def ask(self) -> int:
        return (await self._signal.value("models", "berth_queue_depth", parse(SELECTOR), SELECTOR)).total

    async def known(self) -> bool:
        return self.gateways.problem is None


@pytest.fixture
async def watched(world: Any, eventually: Callable[..., Any]) -> AsyncIterator[Watched]:
    access = ClusterAccess(
        f"https://localhost:{world.kube.port}", world.folder / "token", world.folder / "ca.crt"
    )
    async with KubeClient(access) as client, aiohttp.ClientSession() as session:
        made = Watched(world, client, session)
        running = asyncio.create_task(made.gateways.run())
        await eventually(made.known)
        yield made
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_list_that_nobody_keeps_current_is_no_longer_trusted(
    world: Any, watched: Watched, eventually: Callable[..., Any]
) -> None:
    (await world.gateway(2)).depth = 7

    async def told() -> bool:
        try:
            return await watched.ask() == 7
        except NoSignal:
            return False

    await eventually(told)
    world.kube.failing.add("pods")
    world.kube.cut_watches()

    async def failed() -> bool:
        return "500" in watched.gateways._reflector._failure

    await eventually(failed)
    watched.now += 80
    assert await watched.ask() == 7, "a short absence of the API server costs nothing"
    watched.now += 11
    with pytest.raises(NoSignal, match=r"/api/v1/pods was last heard of 91 s ago: .*500") as caught:
        await watched.ask()
    assert caught.value.status == 503
    world.kube.failing.clear()
    await eventually(told)


async def test_a_watch_without_events_keeps_what_is_known(
    world: Any, watched: Watched, eventually: Callable[..., Any]
) -> None:
    for _ in range(3):
        watches = world.kube.watches
        watched.now += 60
        world.kube.cut_watches()  # as an API server ends it after timeoutSeconds

        async def again(before: int = watches) -> bool:
            return bool(world.kube.watches > before and watched.gateways.problem is None)

        await eventually(again)
    watched.now += 89
    assert watched.gateways.problem is None


async def test_an_open_watch_counts_before_its_first_event(
    world: Any, watched: Watched, eventually: Callable[..., Any]
) -> None:
    world.kube.bookmarks = False
    watched.now += 120
    assert "120 s ago" in str(watched.gateways.problem)
    world.kube.cut_watches()
    await eventually(watched.known)
    assert world.kube.lists == 1, "nothing was listed again for it"
