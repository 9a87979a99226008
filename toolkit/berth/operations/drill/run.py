"""A drill from its first look to its report: steady, overload, fault, recovery."""

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from berth.operations.completion import ask
from berth.operations.drill.judge import LAST_PROBES, NORMAL, failover_seconds, taken_over
from berth.operations.drill.report import Drilled
from berth.operations.drill.seen import LOAD, PROBE, Phase, Record
from berth.operations.drill.traffic import Traffic
from berth.operations.drill.watch import watching
from berth.operations.errors import EndpointUnreachable
from berth.operations.load.prompts import packaged_prompts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from berth.operations.drill.ground import Ground
    from berth.operations.drill.settings import DrillSettings

STEADY_SHARE = 0.25
"""Of the overload's rate, before it and after the fault."""
_FIRST_ANSWER_SECONDS = 60.0
_READY_SECONDS = 30.0
_LEAST_SECONDS, _MOST_SECONDS = 5.0, 20.0
_TAKEN_OVER_SECONDS = 60.0
_LOOK_SECONDS = 0.2
_SAY_SECONDS = 5.0
_ALL_PERCENT = 99.9


class Lever(Protocol):
    """Who does the fault. `text` says in words what it does, and to whom."""

    text: str

    async def pull(self) -> None:
        """Do it; returns once it is done."""

    async def hold(self) -> None:
        """Do it to what has come meanwhile; called about once a second."""

    async def release(self) -> None:
        """Undo everything; may be called twice, and where nothing was done."""


@dataclass
class _Drill:
    ground: "Ground"
    settings: "DrillSettings"
    lever: Lever
    traffic: Traffic
    record: Record = field(default_factory=Record)
    now: Callable[[], float] = time.monotonic
    _said: float = 0.0

    @asynccontextmanager
    async def phase(self, name: str, text: str) -> "AsyncIterator[None]":
        began = self.now()
        self.settings.say(name, text)
        try:
            yield
        finally:
            self.record.phases.append(Phase(name, began, self.now()))

    def note(self, text: str) -> None:
        self.record.notes.append((self.now(), text))

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition; say now and then how things are, and whether it came true in time."""
        end = self.now() + seconds
        while not condition():
            if self.now() > end:
                return False
            self.tell()
            await asyncio.sleep(_LOOK_SECONDS)
        return True

    async def stay(self, seconds: float) -> None:
        """Let time pass."""
        await self.until(lambda: False, seconds)

    def tell(self) -> None:
        """Say how things are, every few seconds."""
        if self.now() - self._said < _SAY_SECONDS or not self.record.readings:
            return
        self._said = self.now()
        last = self.record.readings[-1]
        parts = []
        for site in self.ground.sites:
            share = "?" if last.weights is None else f"{last.weights.get(site.name, 0):g}"
            seen = last.sites.get(site.name)
            state = f"{seen.waiting} wait, {seen.ready} ready" if seen else "silent"
            parts.append(f"{site.name} {share} %, {state}")
        self.settings.say("", "; ".join(parts))

    # -- what is waited for

    def moved(self) -> bool:
        """Whether a site that is not preferred has a share, and has answered."""
        reading = self.record.readings[-1] if self.record.readings else None
        first = self.ground.preferred
        weights = reading.weights if reading else None
        shared = weights is None or any(share > 0 for name, share in weights.items() if name != first.name)
        overload = self.record.of(LOAD)
        return shared and any(one.backend not in {"", first.backend} for one in overload)

    def taken_over(self) -> bool:
        """Whether other sites answer everything, requests that began since then among it."""
        fault = self.record.fault_at
        if fault is None:
            return False
        lost = self.ground.site(self.settings.site).backend
        if self.settings.kind.ends_in_order:
            return taken_over(self.record.of(PROBE), lost)
        seconds = failover_seconds(self.record.of(PROBE), fault, self.now(), lost)
        return seconds is not None and any(one.began >= fault + seconds for one in self.record.of(LOAD))

    def normal(self, ready_before: int) -> bool:
        """Whether the preferred site has everything again, and the site that was lost its replicas."""
        reading = self.record.readings[-1] if self.record.readings else None
        if reading is None or self.record.restored_at is None or reading.at < self.record.restored_at:
            return False
        first = self.ground.preferred
        if reading.weights is not None and reading.weights.get(first.name, 0.0) < _ALL_PERCENT:
            return False
        site = self.ground.site(self.settings.site)
        seen = reading.sites.get(site.name)
        if site.reporter and (seen is None or seen.ready < ready_before):
            return False
        probes = [one for one in self.record.of(PROBE) if one.began > self.record.restored_at]
        last = probes[-LAST_PROBES:]
        return len(last) == LAST_PROBES and all(
            one.result == "ok" and one.backend == first.backend for one in last
        )


async def drill(ground: "Ground", settings: "DrillSettings", lever: Lever) -> Drilled:
    """Overload the preferred site, do the fault, watch the recovery, and undo it, whatever happens.

    Raises:
        EndpointError: the router does not answer, or not with this key; nothing was done.
        KubeconfigError: the router's cluster cannot be reached; nothing was done.
    """
    await ask(
        ground.endpoint, ground.key, packaged_prompts()[0], max_new_tokens=1,
        wait_seconds=_FIRST_ANSWER_SECONDS, ca=ground.ca, server_name=ground.server_name,
    )  # fmt: skip
    record = Record()
    traffic = Traffic(
        ground, record, max_new_tokens=settings.max_new_tokens, request_seconds=settings.request_seconds,
        seed=settings.seed,
    )  # fmt: skip
    run = _Drill(ground, settings, lever, traffic, record)
    started_at, began = datetime.now(UTC), run.now()
    try:
        async with watching(ground, record, run.now):
            rate = settings.rate or await _measured(run)
            async with traffic.flowing():
                await _phases(run, rate)
                traffic.rate = 0.0
                settings.say("finishing", "the last answers")
    finally:
        # Also where the drill was cancelled or failed: what was broken is mended first.
        await asyncio.shield(lever.release())
    return Drilled(
        ground=ground,
        settings=settings,
        record=record,
        began=began,
        started_at=started_at,
        rate=rate,
        done=lever.text,
    )


async def _measured(run: _Drill) -> float:
    """The overload's rate: so many times what the preferred site's replicas do when nothing waits."""
    first = run.ground.preferred
    if first.reporter:
        await run.until(lambda: _ready(run, first.name) > 0, _READY_SECONDS)
    seen = run.record.readings[-1].sites.get(first.name) if run.record.readings else None
    clients = (seen.slots if seen else 0) or run.ground.slots * max(1, _ready(run, first.name))
    run.settings.say("measuring", f"what {first.name} can do: {clients} clients who wait for each answer")
    capacity = await run.traffic.measure(clients)
    if not capacity:
        raise EndpointUnreachable(
            f"{run.ground.endpoint}: {clients} clients got no whole answer, so no rate can be chosen; "
            "`./berth doctor` says what is wrong, --rate N chooses one"
        )
    run.settings.say("measuring", f"{capacity:.2f} requests/s")
    return capacity * run.settings.overload


def _ready(run: _Drill, site: str) -> int:
    seen = run.record.readings[-1].sites.get(site) if run.record.readings else None
    return seen.ready if seen else 0


async def _phases(run: _Drill, rate: float) -> None:
    settings, traffic, record = run.settings, run.traffic, run.record
    steady = rate * STEADY_SHARE
    third = min(max(_LEAST_SECONDS, settings.seconds / 3), _MOST_SECONDS)
    async with run.phase("steady", f"{steady:.2f} requests/s"):
        traffic.rate = steady
        await run.stay(third)
        ready_before = min(1, _ready(run, settings.site))
    async with run.phase("overload", f"{rate:.2f} requests/s, until other sites have a share"):
        traffic.rate = rate
        if await run.until(run.moved, settings.move_seconds):
            run.note("other sites have a share")
        else:
            run.note(f"no load moved within {settings.move_seconds:g} s")
        await run.stay(third)
    async with run.phase("fault", f"{settings.site}: {run.lever.text}"):
        record.fault_at = run.now()
        run.note(f"fault: {run.lever.text}")
        async with _pulled(run):
            await run.stay(settings.seconds)
        if settings.kind.moves:
            await run.until(run.taken_over, _TAKEN_OVER_SECONDS)
    async with run.phase("recovery", "mending, then until everything is as before"):
        traffic.rate = steady
        await run.lever.release()
        record.restored_at = run.now()
        run.note("mended")
        if await run.until(lambda: run.normal(ready_before), settings.back_seconds):
            run.note(NORMAL)
            await run.stay(_LEAST_SECONDS / 2)


@asynccontextmanager
async def _pulled(run: _Drill) -> "AsyncIterator[None]":
    """Pull the lever beside what goes on, and hold it; what fails in that fails here."""
    done = asyncio.Event()

    async def work() -> None:
        try:
            await run.lever.pull()
        finally:
            done.set()
        run.note("the fault is complete")
        while True:
            await asyncio.sleep(1.0)
            await run.lever.hold()

    task = asyncio.create_task(work())
    try:
        yield
        # A drain may take longer than the fault is to last.
        await run.until(done.is_set, math.inf)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
