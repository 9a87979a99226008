"""The arrival process is exact, and no answer, however slow, moves it."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from berth.operations.load.arrivals import LATE_SECONDS, drive, offsets
from berth.operations.load.profiles import Step


class VirtualClock:
    """Seconds that pass only by sleeping; `busy` makes this machine miss moments."""

    def __init__(self) -> None:
        self.time = 100.0
        self.busy = 0.0

    def now(self) -> float:
        return self.time

    async def sleep_until(self, moment: float) -> None:
        await asyncio.sleep(0)
        self.time = max(self.time, moment) + self.busy


def test_constant_arrivals_are_evenly_spaced_and_all_there() -> None:
    assert list(offsets("constant", 4.0, [Step(1.0, 1)], 0)) == [0.0, 0.25, 0.5, 0.75]
    assert len(list(offsets("constant", 7.0, [Step(3600.0, 1)], 0))) == 7 * 3600
    assert list(offsets("constant", 0.1, [Step(5.0, 1)], 0)) == [0.0]


def test_poisson_arrivals_are_the_same_for_a_seed_and_exponential() -> None:
    first = list(offsets("poisson", 50.0, [Step(400.0, 1)], 7))
    assert first == list(offsets("poisson", 50.0, [Step(400.0, 1)], 7))
    assert first != list(offsets("poisson", 50.0, [Step(400.0, 1)], 8))
    assert all(0 <= offset < 400 for offset in first)
    gaps = [after - before for before, after in itertools.pairwise(first)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(1 / 50, rel=0.02)
    assert deviation == pytest.approx(mean, rel=0.03)  # as no other spacing has it
    assert sum(gap > mean for gap in gaps) / len(gaps) == pytest.approx(0.3679, rel=0.03)


async def test_requests_begin_at_their_moments_though_none_is_ever_answered() -> None:
    clock, began, held = VirtualClock(), [], asyncio.Event()

    async def begin(number: int, moment: float) -> None:
        began.append((number, moment, clock.now()))
        await held.wait()

    moments = [100 + offset for offset in offsets("poisson", 20.0, [Step(30.0, 1)], 3)]
    running = await drive(
        moments, begin, max_outstanding=10_000, on_unsent=pytest.fail, on_late=pytest.fail, clock=clock
    )
    await asyncio.sleep(0)
    assert [moment for _, moment, _ in began] == moments
    assert [number for number, _, _ in began] == list(range(len(moments)))
    assert len(running) == len(moments)
    held.set()
    await asyncio.gather(*running)


async def test_what_cannot_be_sent_in_time_is_counted_and_never_sent_later() -> None:
    clock, began, held, unsent = VirtualClock(), [], asyncio.Event(), []

    async def begin(_number: int, moment: float) -> None:
        began.append(moment)
        await held.wait()

    running = await drive(
        [100.0 + second for second in range(10)],
        begin,
        max_outstanding=3,
        on_unsent=lambda: unsent.append(clock.now()),
        on_late=pytest.fail,
        clock=clock,
    )
    assert began == [100.0, 101.0, 102.0]
    assert unsent == [103.0 + second for second in range(7)]
    held.set()
    await asyncio.gather(*running)


async def test_a_busy_machine_is_noted_and_moments_stay_what_they_were() -> None:
    clock, began, late = VirtualClock(), [], []
    clock.busy = LATE_SECONDS * 2

    async def begin(_number: int, moment: float) -> None:
        began.append(moment)

    await drive(
        [100.0, 200.0],
        begin,
        max_outstanding=5,
        on_unsent=pytest.fail,
        on_late=lambda: late.append(clock.now()),
        clock=clock,
    )
    await asyncio.sleep(0)
    assert began == [100.0, 200.0]  # latency is measured from these
    assert len(late) == 2


async def test_cancelled_it_leaves_nothing_running() -> None:
    ended = []

    async def begin(number: int, _moment: float) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    class Stuck(VirtualClock):
        async def sleep_until(self, moment: float) -> None:
            if moment > 102:
                await asyncio.Event().wait()
            await super().sleep_until(moment)

    driving = asyncio.create_task(
        drive(
            [100.0, 101.0, 102.0, 103.0],
            begin,
            max_outstanding=5,
            on_unsent=pytest.fail,
            on_late=pytest.fail,
            clock=Stuck(),
        )
    )
    for _ in range(20):
        await asyncio.sleep(0)
    driving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await driving
    for _ in range(5):
        await asyncio.sleep(0)
    assert sorted(ended) == [0, 1, 2]
