"""Who may enter, and who is next: bounded admission and a fair queue for engine slots.

Everything runs on one event loop, so counters need no locks. A request first
takes a *place* (refused at once when all are taken), later waits for a *slot*
of the engine, and gives both back however it ends.

Fair between keys: slots go round the keys that wait, each its weight's worth
of turns, first come first served within a key. And no key takes every place:
where there are several keys, one may hold at most `_GREED` times as many as
would stay free, so that the next one finds some, however many are greedy.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

from berth_serving.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

_RETRY_LOW, _RETRY_HIGH = 1, 60
_SMOOTHING = 0.2
_GREED = 4
_ALONE = ""


class _Line:
    """The requests of one key that wait, and the turns that are left to it in this round."""

    __slots__ = ("turns", "waiters", "weight")

    def __init__(self, weight: int) -> None:
        self.weight = self.turns = weight
        self.waiters: deque[asyncio.Future[None]] = deque()


class Admission:
    """Counts places and slots.

    Args:
        slots: sequences the engine runs at once.
        capacity: places, at least `slots`; the rest is the queue.
        clock: monotonic seconds.
        weights: turns of a key in each round, by its name; 1 where it is not named.
        several_keys: whether there is more than one key to be fair between.
    """

    def __init__(
        self,
        slots: int,
        capacity: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        weights: Mapping[str, int] = MappingProxyType({}),
        several_keys: Callable[[], bool] = bool,
    ) -> None:
        self.slots = slots
        self.capacity = capacity
        self.clock = clock
        self.in_flight = 0
        self.running = 0
        self._several_keys = several_keys
        self._weights = weights
        self._held: dict[str, int] = {}
        # In the order of this round; a key that waits for nothing is in none.
        self._lines: dict[str, _Line] = {}
        self._mean_service: float | None = None

    @property
    def queue_depth(self) -> int:
        """Requests admitted and waiting for a slot."""
        return sum(len(line.waiters) for line in self._lines.values())

    def enter(self, key: str = _ALONE) -> Place:
        """Take a place for a key.

        Raises:
            Overloaded: when there is none; carries Retry-After.
        """
        self.require_place(key)
        self.in_flight += 1
        self._held[key] = self._held.get(key, 0) + 1
        return Place(self, key)

    def require_place(self, key: str = _ALONE) -> None:
        """Look whether there is a place for a key, without taking it.

        Raises:
            Overloaded: there is none.
        """
        held = self._held.get(key, 0)
        left = self.capacity - self.in_flight - 1
        if held and 0 <= left <= held / _GREED and self._several_keys():
            raise Overloaded(
                f"Model is overloaded: this API key has {held} requests in flight, and the {left + 1} free "
                "places are kept for others (MAX_CONCURRENT_REQUESTS)",
                retry_after=self.retry_after(),
            )
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
        lines, self._lines = self._lines, {}
        for line in lines.values():
            for waiter in line.waiters:
                if not waiter.done():
                    waiter.set_exception(error())

    def _served(self, seconds: float) -> None:
        mean = self._mean_service
        self._mean_service = seconds if mean is None else mean + _SMOOTHING * (seconds - mean)

    def _free_slot(self) -> None:
        waiter = self._next()
        if waiter is None:
            self.running -= 1
        else:
            # The slot passes on: `running` stays as it is.
            waiter.set_result(None)

    def _next(self) -> asyncio.Future[None] | None:
        """Who is next, by the round: weighted between keys, first come first served within each."""
        while self._lines:
            key, line = next(iter(self._lines.items()))
            while line.waiters and line.waiters[0].done():
                line.waiters.popleft()
            if not line.waiters:
                del self._lines[key]
                continue
            waiter = line.waiters.popleft()
            line.turns -= 1
            if line.turns <= 0 or not line.waiters:
                # To the end of the round, if there is anything left to wait for.
                del self._lines[key]
                if line.waiters:
                    line.turns = line.weight
                    self._lines[key] = line
            return waiter
        return None

    async def _take_slot(self, key: str, seconds: float) -> None:
        if self.running < self.slots and not self.queue_depth:
            self.running += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(self._weights.get(key, 1))
        line.waiters.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            self._give_up(key, waiter)
            raise Overloaded(
                f"Model is overloaded: no engine slot became free within {seconds:g} s "
                "(BERTH_QUEUE_TIMEOUT_SECONDS)",
                retry_after=self.retry_after(),
            ) from None
        except asyncio.CancelledError:
            self._give_up(key, waiter)
            raise

    def _give_up(self, key: str, waiter: asyncio.Future[None]) -> None:
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            # The slot came in the same moment as the end of the wait.
            self._free_slot()
            return
        line = self._lines.get(key)
        if line is not None and waiter in line.waiters:
            line.waiters.remove(waiter)
            if not line.waiters:
                del self._lines[key]

    def _leave(self, key: str) -> None:
        self.in_flight -= 1
        left = self._held[key] - 1
        if left:
            self._held[key] = left
        else:
            del self._held[key]


class Place:
    """One admitted request. Use it as a context manager; leaving gives back the slot and the place."""

    __slots__ = ("_admission", "_key", "_slot_since")

    def __init__(self, admission: Admission, key: str) -> None:
        self._admission = admission
        self._key = key
        self._slot_since: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free_slot()
        self._admission._leave(self._key)  # noqa: SLF001 - Place is the other half of Admission

    async def take_slot(self, seconds: float) -> None:
        """Wait for a slot, in turn.

        Raises:
            Overloaded: after `seconds`.
        """
        await self._admission._take_slot(self._key, seconds)  # noqa: SLF001 - as above
        self._slot_since = self._admission.clock()

    def free_slot(self, *, served: bool = False) -> None:
        """Give the slot back early; `served` says that a whole answer came of it: Retry-After counts it."""
        if self._slot_since is None:
            return
        if served:
            self._admission._served(self._admission.clock() - self._slot_since)  # noqa: SLF001 - as above
        self._slot_since = None
        self._admission._free_slot()  # noqa: SLF001 - as above
