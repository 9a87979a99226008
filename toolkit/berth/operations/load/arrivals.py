"""When requests begin: an arrival process that does not care how the server fares."""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Protocol

from berth.operations.load.profiles import Step

# The event loop wakes up about a millisecond late; what is later than this is this machine's failure.
LATE_SECONDS = 0.1


class Clock(Protocol):
    """Monotonic seconds, and waiting for one of them."""

    def now(self) -> float:
        """Return the seconds."""

    async def sleep_until(self, moment: float) -> None:
        """Return at `moment`, or at once (after other tasks had their turn) where it has passed."""


class RealClock:
    """The machine's clock."""

    def now(self) -> float:
        """Return the monotonic seconds."""
        return time.monotonic()

    async def sleep_until(self, moment: float) -> None:
        """Sleep until `moment`."""
        await asyncio.sleep(max(0.0, moment - time.monotonic()))


def offsets(process: str, rate: float, steps: Iterable[Step], seed: int) -> Iterator[float]:
    """Yield when requests begin, in seconds from the start of the first step.

    `constant` has one every 1/`rate` seconds, from 0; `poisson` has exponential gaps, drawn from the seed.
    Where a step's multiple is not 1, arrivals are as much closer together: each comes where the rate, added
    up over time, has reached the next mark of a process of rate one.

    Args:
        process: constant or poisson.
        rate: requests per second where the multiple is 1.
        steps: stretches of the load.
        seed: of the random process.
    """
    marks: Iterator[float] = itertools.count() if process == "constant" else _unit_marks(seed)
    mark, began, reached = next(marks), 0.0, 0.0
    for step in steps:
        here = rate * step.multiple
        until = reached + here * step.seconds
        while mark < until:
            yield began + (mark - reached) / here
            mark = next(marks)
        began, reached = began + step.seconds, until


def _unit_marks(seed: int) -> Iterator[float]:
    draw = random.Random(seed)  # noqa: S311 - a load, not a secret
    return itertools.accumulate(draw.expovariate(1.0) for _ in itertools.count())


async def drive(
    moments: Iterable[float],
    begin: Callable[[int, float], Awaitable[None]],
    *,
    max_outstanding: int,
    on_unsent: Callable[[], None],
    on_late: Callable[[], None],
    clock: Clock,
) -> set[asyncio.Task[None]]:
    """Begin a request at each moment and return those that are still running after the last one began.

    Nothing is ever delayed by a slow answer: where `max_outstanding` requests are running, the arrival is
    not sent but counted (`on_unsent`). One that began more than `LATE_SECONDS` late is counted too
    (`on_late`); its latency is measured from when it should have begun.

    `moments` are the clock's seconds, rising; `begin` runs one request, given its number and its moment.
    """
    running: set[asyncio.Task[None]] = set()
    try:
        for number, moment in enumerate(moments):
            await clock.sleep_until(moment)
            if len(running) >= max_outstanding:
                on_unsent()
                continue
            if clock.now() - moment > LATE_SECONDS:
                on_late()
            task = asyncio.ensure_future(begin(number, moment))
            running.add(task)
            task.add_done_callback(running.discard)
    except BaseException:
        for task in running:
            task.cancel()
        raise
    return running
