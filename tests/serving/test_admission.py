"""Places, slots and the queue, without any process."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from berth_serving.admission import Admission
from berth_serving.errors import Overloaded
from berth_serving.interrupt import Interruptible


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def _hold(admission: Admission, name: str, order: list[str], release: asyncio.Event) -> None:
    with admission.enter() as place:
        await place.take_slot(30)
        order.append(name)
        await release.wait()


async def test_slots_go_to_who_came_first() -> None:
    admission, order = Admission(1, 10), list[str]()
    releases = [asyncio.Event() for _ in range(5)]
    tasks = [asyncio.create_task(_hold(admission, str(n), order, releases[n])) for n in range(5)]
    for number in range(5):
        await asyncio.sleep(0)
        while len(order) <= number:  # noqa: ASYNC110 - looks at plain state
            await asyncio.sleep(0)
        assert admission.running == 1
        assert admission.queue_depth == 4 - number
        releases[number].set()
    await asyncio.gather(*tasks)
    assert order == list("01234")
    assert (admission.running, admission.in_flight, admission.queue_depth) == (0, 0, 0)


async def test_a_place_more_than_there_are_is_refused() -> None:
    admission = Admission(1, 2)
    with admission.enter(), admission.enter(), pytest.raises(Overloaded):
        admission.enter()
    assert admission.in_flight == 0


async def test_a_slot_that_comes_as_the_wait_is_cancelled_is_not_lost() -> None:
    admission = Admission(1, 10)
    with admission.enter() as holder:
        await holder.take_slot(1)
        waiting = asyncio.create_task(_wait(admission))
        await asyncio.sleep(0)
        assert admission.queue_depth == 1
        # In one turn of the loop: the slot passes on, and its new owner is cancelled before it hears of it.
        holder.free_slot()
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
    assert (admission.running, admission.in_flight) == (0, 0)


async def _wait(admission: Admission) -> None:
    with admission.enter() as place:
        await place.take_slot(30)


async def test_retry_after_is_the_time_to_serve_the_queue() -> None:
    clock = Clock()
    admission = Admission(2, 100, clock)
    assert admission.retry_after() == 1, "nothing observed yet"
    with admission.enter() as place:
        await place.take_slot(1)
        clock.now += 8
        place.free_slot(served=True)
    assert admission.retry_after() == 4, "8 s of service, 2 slots, nobody waiting"
    holders = [admission.enter() for _ in range(2)]
    for holder in holders:
        await holder.take_slot(1)
    waiting = [asyncio.create_task(_wait(admission)) for _ in range(4)]
    await asyncio.sleep(0)
    assert admission.retry_after() == 20, "4 waiting and oneself, 8 s each, 2 at a time"
    clock.now += 1000
    for holder in holders:
        holder.free_slot(served=True)
    await asyncio.gather(*waiting)
    assert admission.retry_after() == 60, "never longer than a minute"


async def test_those_who_wait_can_be_failed_together() -> None:
    admission = Admission(1, 10)
    with admission.enter() as holder:
        await holder.take_slot(1)
        waiting = [asyncio.create_task(_wait(admission)) for _ in range(3)]
        await asyncio.sleep(0)
        admission.fail_waiting(lambda: ValueError("lost"))
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, ValueError) for result in results)
        assert admission.running == 1


async def test_an_interruption_is_raised_and_a_cancellation_passes() -> None:
    async def body(scope: Interruptible) -> None:
        async with scope:
            await asyncio.sleep(60)

    scope = Interruptible()
    task = asyncio.create_task(body(scope))
    await asyncio.sleep(0)
    scope.interrupt(ValueError("reason"))
    scope.interrupt(KeyError("too late"))
    with pytest.raises(ValueError, match="reason"):
        await task
    scope.interrupt(ValueError("nobody is there"))

    task = asyncio.create_task(body(Interruptible()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_of_two_interruptions_the_inner_lets_the_outer_through() -> None:
    outer, inner = Interruptible(), Interruptible()

    async def body() -> Any:
        async with outer, inner:
            await asyncio.sleep(60)

    task = asyncio.create_task(body())
    await asyncio.sleep(0)
    inner.interrupt(ValueError("inner"))
    outer.interrupt(KeyError("outer"))
    with pytest.raises(KeyError):
        await task


async def test_slots_go_round_the_keys_that_wait() -> None:
    admission, order = Admission(1, 100, weights={"b": 2}), list[str]()
    release = asyncio.Event()

    async def hold(key: str, name: str) -> None:
        with admission.enter(key) as place:
            await place.take_slot(30)
            order.append(name)
            await release.wait()

    names = ["a0", "a1", "a2", "a3", "b0", "b1", "b2", "c0"]
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(hold(name[0], name))
            await asyncio.sleep(0)
        assert admission.queue_depth == 7
        release.set()
    assert order == ["a0", "a1", "b0", "b1", "c0", "a2", "b2", "a3"]
    assert (admission.queue_depth, admission.running, admission.in_flight) == (0, 0, 0)


def test_greedy_keys_leave_places_for_the_next() -> None:
    admission = Admission(2, 20, several_keys=lambda: True)
    held = dict.fromkeys(("a", "b", "c"), 0)
    for key in held:
        with contextlib.suppress(Overloaded):
            while True:
                admission.enter(key)
                held[key] += 1
    assert held["a"] == 16
    assert all(held.values())
    assert Admission(1, 1, several_keys=lambda: True).enter("a"), "the only place is for whoever comes first"
    alone = Admission(2, 20)
    for _ in range(20):
        alone.enter("a")
    with pytest.raises(Overloaded, match="20 allowed"):
        alone.enter("a")
