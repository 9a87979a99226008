"""A value is never too low because somebody was silent. Gateways are stand-ins, the clock is ours."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from berth_agents.metrics_adapter import readings
from berth_agents.metrics_adapter import signal as queue_signal
from berth_agents.metrics_adapter.gateways import Gateway, gateway_of
from berth_agents.metrics_adapter.readings import GatewayReader, held_by
from berth_agents.metrics_adapter.selectors import Selector, matches, parse
from berth_agents.metrics_adapter.signal import NoSignal, QueueSignal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SELECTOR = "app.kubernetes.io/instance=chat"


class Clock:
    """Monotonic seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pods:
    """What the watch of pods would have found."""

    problem: str | None = None

    def __init__(self) -> None:
        self.all: list[Gateway] = []

    def matching(self, namespace: str, selector: Selector) -> list[Gateway]:
        here = [one for one in self.all if one.namespace == namespace and not one.routes]
        return [one for one in here if matches(selector, one.labels)]

    def routers(self, namespace: str) -> list[Gateway]:
        return [one for one in self.all if one.namespace == namespace and one.routes and one.ready]


class Bench:
    """The signal with its clock, its pods and the stand-in gateways."""

    def __init__(self, world: Any, session: aiohttp.ClientSession) -> None:
        self.world, self.clock, self.pods = world, Clock(), Pods()
        self.reader = GatewayReader(session, world.gateway_port, self.clock)
        self.routers = GatewayReader(session, 0, self.clock, understand=held_by)
        self.signal = QueueSignal(self.pods, self.reader, self.routers, self.clock)  # type: ignore[arg-type]

    async def gateway(self, number: int, depth: int) -> Any:
        gateway = await self.world.gateway(number)
        gateway.depth = depth
        self.pods.all.append(gateway_of(self.world.kube.pods[f"uid-models-gateway-{number}"]))
        return gateway

    async def router(self, number: int, **held: int) -> Any:
        router = await self.world.router(number)
        router.held = held
        self.pods.all.append(gateway_of(self.world.kube.pods[f"uid-models-router-{number}"]))
        return router

    async def ask(self, metric: str = "berth_queue_depth") -> int:
        return (await self.signal.value("models", metric, parse(SELECTOR), SELECTOR)).total

    async def refusal(self) -> NoSignal:
        with pytest.raises(NoSignal) as caught:
            await self.ask()
        return caught.value


@pytest.fixture
async def bench(world: Any) -> AsyncIterator[Bench]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        yield Bench(world, session)


async def test_sums_up_ready_gateways(bench: Bench) -> None:
    first, second = await bench.gateway(2, 3), await bench.gateway(3, 4)
    first.running, second.running = 2, 1
    assert await bench.ask() == 7
    assert await bench.ask("berth_running_requests") == 3


async def test_a_reading_of_one_second_is_used_again_and_an_older_one_is_not(bench: Bench) -> None:
    gateway = await bench.gateway(2, 3)
    assert await bench.ask() == 3
    gateway.depth = 9
    bench.clock.now += 1.0
    assert await bench.ask() == 3
    assert gateway.asked == 1
    bench.clock.now += 0.01
    assert await bench.ask() == 9


async def test_a_hundred_questions_at_once_ask_each_gateway_once(bench: Bench) -> None:
    gateways = [await bench.gateway(number, number) for number in range(2, 7)]
    answers = await asyncio.gather(*(bench.ask() for _ in range(100)))
    assert set(answers) == {2 + 3 + 4 + 5 + 6}
    assert [gateway.asked for gateway in gateways] == [1] * 5


@pytest.mark.parametrize("mode", ["hang", "error", "garbage", "huge", "down"])
async def test_a_silent_gateway_counts_for_five_seconds_then_there_is_an_error(
    bench: Bench, mode: str
) -> None:
    gateway = await bench.gateway(2, 3)
    assert await bench.ask() == 3
    gateway.mode = mode
    if mode == "down":
        await gateway.stop()
    bench.clock.now += 5.0
    assert await bench.ask() == 3
    bench.clock.now += 0.01
    refusal = await bench.refusal()
    assert refusal.status == 503
    assert "None of 1 Ready gateways answers" in str(refusal)
    assert "gateway-2" in str(refusal)
    assert SELECTOR in str(refusal)


async def test_a_gateway_that_never_answered_is_an_error_and_never_zero(bench: Bench) -> None:
    (await bench.gateway(2, 0)).mode = "hang"
    assert (await bench.refusal()).status == 503


async def test_it_recovers_at_once(bench: Bench) -> None:
    gateway = await bench.gateway(2, 5)
    gateway.mode = "hang"
    await bench.refusal()
    gateway.mode = "ok"
    assert await bench.ask() == 5


async def test_some_silent_never_tells_less_than_before_the_silence(bench: Bench) -> None:
    speaking, silent = await bench.gateway(2, 10), await bench.gateway(3, 10)
    assert await bench.ask() == 20
    silent.mode = "hang"
    bench.clock.now += 6
    refusal = await bench.refusal()  # 10 of the one that speaks might scale down
    assert refusal.status == 503
    assert "1 of 2 Ready gateways are silent" in str(refusal)
    assert "gateway-3" in str(refusal)
    assert "gateway-2" not in str(refusal)
    speaking.depth = 20  # exactly what was told last: no proof of more
    bench.clock.now += 2
    await bench.refusal()
    speaking.depth = 50  # a lower bound that scales up
    bench.clock.now += 2
    assert await bench.ask() == 50
    speaking.depth = 30  # less than told in this silence, still more than before it
    bench.clock.now += 2
    assert await bench.ask() == 50
    speaking.depth = 0
    bench.clock.now += 2
    await bench.refusal()
    silent.mode, silent.depth = "ok", 1
    bench.clock.now += 2
    assert await bench.ask() == 1  # everybody speaks: the truth


async def test_the_highest_of_the_last_five_minutes_is_what_a_lower_bound_must_exceed(bench: Bench) -> None:
    """An autoscaler that is about to scale down still remembers the burst; so must we."""
    speaking, silent = await bench.gateway(2, 30), await bench.gateway(3, 0)
    assert await bench.ask() == 30
    speaking.depth = 0
    bench.clock.now += 200
    assert await bench.ask() == 0
    silent.mode = "hang"
    speaking.depth = 5
    bench.clock.now += 2000  # the silence itself makes nothing forgotten
    await bench.refusal()
    speaking.depth = 31
    bench.clock.now += 2
    assert await bench.ask() == 31
    silent.mode, speaking.depth = "ok", 0
    bench.clock.now += 2
    assert await bench.ask() == 0  # the burst is now more than five minutes old
    silent.mode, speaking.depth = "hang", 5
    bench.clock.now += 6
    assert await bench.ask() == 5


async def test_without_any_past_a_partial_answer_is_an_error(bench: Bench) -> None:
    await bench.gateway(2, 10)
    (await bench.gateway(3, 10)).mode = "hang"
    await bench.refusal()


async def test_nobody_matches(bench: Bench) -> None:
    refusal = await bench.refusal()
    assert refusal.status == 404
    assert f"label selector '{SELECTOR}'" in str(refusal)
    assert "models" in str(refusal)


async def test_matching_but_not_ready(bench: Bench, make_pod: Callable[..., Any]) -> None:
    bench.pods.all = [
        gateway_of(make_pod("starting", "127.0.0.9", ready=False)),
        gateway_of(make_pod("leaving", "127.0.0.9", terminating=True)),
        gateway_of(make_pod("unplaced", "")),
    ]
    refusal = await bench.refusal()
    assert refusal.status == 503
    assert "None of 3 gateways is Ready" in str(refusal)
    assert "starting, leaving, unplaced" in str(refusal)


async def test_what_waits_for_a_model_that_sleeps_is_its_queue(bench: Bench) -> None:
    first, second = await bench.router(2, chat=0, other=7), await bench.router(3, chat=0)
    assert await bench.ask() == 0, "nobody waits, and that is known"
    assert await bench.ask("berth_running_requests") == 0
    first.held, second.held = {"chat": 2, "other": 7}, {"chat": 3}
    bench.clock.now += 2
    assert await bench.ask() == 5
    assert await bench.ask("berth_running_requests") == 0
    text = "app.kubernetes.io/instance=another"
    with pytest.raises(NoSignal) as caught:
        await bench.signal.value("models", "berth_queue_depth", parse(text), text)
    assert caught.value.status == 404
    assert "no Ready router holds requests for it" in str(caught.value)


async def test_with_ready_pods_it_is_added_and_a_silent_router_hides_nothing(bench: Bench) -> None:
    gateway, router = await bench.gateway(2, 4), await bench.router(3, chat=2)
    gateway.running = 1
    assert await bench.ask() == 6
    assert await bench.ask("berth_running_requests") == 1
    router.mode = "hang"
    bench.clock.now += 6
    assert await bench.ask() == 4


@pytest.mark.parametrize("mode", ["hang", "garbage"])
async def test_a_silent_router_puts_nothing_to_sleep(bench: Bench, mode: str) -> None:
    speaking, silent = await bench.router(2, chat=1), await bench.router(3, chat=1)
    assert await bench.ask() == 2
    silent.mode = mode
    bench.clock.now += 6
    refusal = await bench.refusal()
    assert refusal.status == 503
    assert "1 Ready routers are silent (router-3" in str(refusal)
    speaking.held = {"chat": 5}
    bench.clock.now += 2
    assert await bench.ask() == 5, "more than ever before is told"
    speaking.mode = mode
    bench.clock.now += 6
    assert "what may wait for it is not known" in str(await bench.refusal())


async def test_a_router_that_does_not_say_where_it_is_asked_is_silent(bench: Bench) -> None:
    await bench.router(2, chat=1)
    portless = await bench.world.router(3, load_port=None)
    bench.pods.all.append(gateway_of(bench.world.kube.pods["uid-models-router-3"]))
    assert portless
    assert "router-3: it has no container port named load" in str(await bench.refusal())


async def test_while_pods_start_what_waits_is_a_lower_bound(
    bench: Bench, make_pod: Callable[..., Any]
) -> None:
    router = await bench.router(2, chat=1)
    assert await bench.ask() == 1
    starting = gateway_of(make_pod("starting", "127.0.0.9", ready=False))
    bench.pods.all.append(starting)
    refusal = await bench.refusal()
    assert refusal.status == 503
    assert "none of 1 gateways is Ready: starting" in str(refusal)
    router.held = {"chat": 30}
    bench.clock.now += 2
    assert await bench.ask() == 30
    router.held = {"chat": 0}
    bench.clock.now += 2
    await bench.refusal()
    # What ends or has ended will not serve again, so it keeps nobody from being woken.
    bench.pods.all.remove(starting)
    bench.pods.all.append(gateway_of(make_pod("leaving", "127.0.0.9", terminating=True)))
    failed = make_pod("failed", "127.0.0.9", ready=False)
    failed["status"]["phase"] = "Failed"
    bench.pods.all.append(gateway_of(failed))
    assert await bench.ask() == 0


async def test_a_router_is_no_gateway(bench: Bench) -> None:
    """Whatever a selector says: a router's own labels are not its models'."""
    await bench.router(2, front=3)
    text = "app.kubernetes.io/instance=front,berth.dev/queue-metrics=router"
    value = await bench.signal.value("models", "berth_queue_depth", parse(text), text)
    assert value.total == 3
    for several in ("app.kubernetes.io/instance in (front,chat)", "app.kubernetes.io/instance!=front"):
        with pytest.raises(NoSignal) as caught:
            await bench.signal.value("models", "berth_queue_depth", parse(several), several)
        assert caught.value.status == 404


async def test_before_the_pods_are_known(bench: Bench) -> None:
    await bench.gateway(2, 1)
    bench.pods.problem = "/api/v1/pods was not listed yet"
    refusal = await bench.refusal()
    assert refusal.status == 503
    assert "not listed yet" in str(refusal)


async def test_many_silent_gateways_are_answered_for_in_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 gateways that hang are asked some at a time; what is not heard in time is silent.

    One gateway may take far longer than the whole question here: that an answer comes before that is the
    proof, however slow the machine.
    """
    monkeypatch.setattr(readings, "READ_SECONDS", 600.0)
    hanging = await bench.gateway(2, 1)
    hanging.mode = "hang"
    template = bench.pods.all[0]
    bench.pods.all = [
        Gateway(f"uid-{number}", template.namespace, f"g-{number}", template.address, True, template.labels)
        for number in range(1000)
    ]
    async with asyncio.timeout(60):
        refusal = await bench.refusal()
    assert "None of 1000 Ready gateways answers" in str(refusal)
    assert "and 995 more" in str(refusal)


async def test_nothing_is_kept_of_gateways_that_are_gone(bench: Bench) -> None:
    gateway = await bench.gateway(2, 1)
    await bench.ask()
    gateway.mode = "hang"
    bench.clock.now += 2
    asked = asyncio.create_task(bench.ask())
    await asyncio.sleep(0.05)
    bench.reader.forget("uid-models-gateway-2")
    with pytest.raises(NoSignal):
        await asked
    assert not bench.reader._last
    assert not bench.reader._flights


async def test_the_past_of_selectors_is_bounded(bench: Bench) -> None:
    await bench.gateway(2, 1)
    for number in range(queue_signal.MAX_SERIES + 10):
        text = f"{SELECTOR},!x{number}"
        await bench.signal.value("models", "berth_queue_depth", parse(text), text)
    assert len(bench.signal._histories) == queue_signal.MAX_SERIES
