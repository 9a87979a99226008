"""Who may enter, and who is next: bounded admission and a first-come-first-served queue for engine slots.

Everything runs on one event loop, so counters need no locks. A request first
takes a *place* (refused at once when all are taken), later waits for a *slot*
of the engine, and gives both back however it ends.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from typing import TYPE_CHECKING, Self

from berth_serving.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_RETRY_LOW, _RETRY_HIGH = 1, 60
_SMOOTHING = 0.2


class Admission:
    """Counts places and slots.

    Args:
        slots: sequences the engine runs at once.
        capacity: places, at least `slots`; the rest is the queue.
        clock: monotonic seconds.
    """

    def __init__(self, slots: int, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.slots = slots
        self.capacity = capacity
        self.clock = clock
        self.in_flight = 0
        self.running = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._mean_service: float | None = None

    @property
    def queue_depth(self) -> int:
        """Requests admitted and waiting for a slot."""
        return len(self._waiters)

    def enter(self) -> Place:
        """Take a place.

        Raises:
            Overloaded: when there is none; carries Retry-After.
        """
        self.require_place()
        self.in_flight += 1
        return Place(self)

    def require_place(self) -> None:
        """Look whether there is a place, without taking it.

        Raises:
            Overloaded: there is none.
        """
        if self.in_flight >= self.capacity:
            raise Overloaded(
                f"Model is overloaded: {self.in_flight} requests are in flight, "
                f"{self.capacity} allowed (MAX_CONCURRENT_REQUESTS)",
                retry_after=self.retry_after(),
            )

    def retry_after(self) -> int:
        """Whole seconds until the present queue is served at the observed rate, 1 to 60.

        Not the time until one place is free: everybody who is refused now would come back for that one.
        """
        if self._mean_service is None:
            return _RETRY_LOW
        wait = (self.queue_depth + 1) * self._mean_service / self.slots
        return min(_RETRY_HIGH, max(_RETRY_LOW, math.ceil(wait)))

    def fail_waiting(self, error: Callable[[], Exception]) -> None:
        """End every wait for a slot with an error of its own; those who hold a slot are not touched."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error())

    def _served(self, seconds: float) -> None:
        mean = self._mean_service
        self._mean_service = seconds if mean is None else mean + _SMOOTHING * (seconds - mean)

    def _free_slot(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                # The slot passes on: `running` stays as it is.
                waiter.set_result(None)
                return
        self.running -= 1

    async def _take_slot(self, seconds: float) -> None:
        if self.running < self.slots and not self._waiters:
            self.running += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            self._give_up(waiter)
            raise Overloaded(
                f"Model is overloaded: no engine slot became free within {seconds:g} s "
                "(BERTH_QUEUE_TIMEOUT_SECONDS)",
                retry_after=self.retry_after(),
            ) from None
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise

    def _give_up(self, waiter: asyncio.Future[None]) -> None:
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            # The slot came in the same moment as the end of the wait.
            self._free_slot()
        elif waiter in self._waiters:
            self._waiters.remove(waiter)


class Place:
    """One admitted request. Use it as a context manager; leaving gives back the slot and the place."""

    __slots__ = ("_admission", "_slot_since")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._slot_since: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free_slot()
        self._admission.in_flight -= 1

    async def take_slot(self, seconds: float) -> None:
        """Wait for a slot, first come first served.

        Raises:
            Overloaded: after `seconds`.
        """
        await self._admission._take_slot(seconds)  # noqa: SLF001 - Place is the other half of Admission
        self._slot_since = self._admission.clock()

    def free_slot(self, *, served: bool = False) -> None:
        """Give the slot back early; `served` says that a whole answer came of it: Retry-After counts it."""
        if self._slot_since is None:
            return
        if served:
            self._admission._served(self._admission.clock() - self._slot_since)  # noqa: SLF001 - as above
        self._slot_since = None
        self._admission._free_slot()  # noqa: SLF001 - as above
