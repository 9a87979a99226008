"""One load from its first look to its report."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from berth.operations.completion import ask, headers
from berth.operations.load.arrivals import Clock, RealClock, drive, offsets
from berth.operations.load.capacity import Capacity, measure_capacity
from berth.operations.load.outcomes import Tally
from berth.operations.load.prompts import packaged_prompts, prompts_near_limit
from berth.operations.load.recording import Recorder, recording_to
from berth.operations.load.report import LoadReport, ScaleDown, scaling_report
from berth.operations.load.requests import Requester
from berth.operations.load.scaling import ScalingWatch, watching
from berth.operations.load.settings import LoadSettings
from berth.operations.tls import trusted

PROGRESS_SECONDS = 1.0
FIRST_ANSWER_SECONDS = 15.0
SMALL_BUFFER = 4096
"""Of a client that stalls, bytes: what the kernel takes for it, it has not stopped reading."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a load is. `phase`: measuring, settling, loading, finishing or scaling down.

    Attributes:
        seconds: since the phase began; `of` is how long it lasts at most (0: not known).
        clients: of the capacity's measurement.
        desired, ready, queue_depth: of what is watched; `None` where it is not.
    """

    phase: str
    seconds: float
    of: float
    sent: int = 0
    ok: int = 0
    failed: int = 0
    outstanding: int = 0
    clients: int = 0
    desired: int | None = None
    ready: int | None = None
    queue_depth: int | None = None


OnProgress = Callable[[Progress], None]


async def run(settings: LoadSettings, on_progress: OnProgress | None = None) -> LoadReport:
    """Run a load and return its report. Cancelled, it stops sending at once.

    `on_progress` is told about once a second where it is.

    Raises:
        EndpointError: the endpoint does not answer, or not with this key; nothing was loaded.
        ClusterReadError: the target cannot be watched; nothing was loaded.
    """
    await ask(
        settings.endpoint, settings.key, packaged_prompts()[0], max_new_tokens=1,
        wait_seconds=FIRST_ANSWER_SECONDS, ca=settings.ca, server_name=settings.server_name,
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(_client(settings))
        prompts = settings.prompts or (
            await prompts_near_limit(client, settings.endpoint, settings.seed, settings.server_name)
            if settings.kind.long_prompts
            else packaged_prompts()
        )
        watch = await stack.enter_async_context(watching(settings.target)) if settings.target else None
        stalling = (
            await stack.enter_async_context(_client(settings, SMALL_BUFFER))
            if settings.kind.stalling
            else client
        )
        load = _Load(settings, prompts, (client, stalling), watch, on_progress or (lambda _: None))
        return await load.run()


def _client(settings: LoadSettings, buffer: int | None = None) -> httpx.AsyncClient:
    """No connection is kept: see Requester. `buffer` is what the kernel takes for one, bytes."""
    options = [] if buffer is None else [(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)]
    return httpx.AsyncClient(
        headers=headers(settings.key),
        transport=httpx.AsyncHTTPTransport(
            verify=trusted(settings.ca),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            socket_options=options,
            trust_env=False,
        ),
        timeout=settings.request_seconds,
        trust_env=False,
    )


class _Load:
    def __init__(
        self,
        settings: LoadSettings,
        prompts: Sequence[str],
        clients: tuple[httpx.AsyncClient, httpx.AsyncClient],
        watch: ScalingWatch | None,
        on_progress: OnProgress,
    ) -> None:
        self._settings, self._prompts, self._watch = settings, prompts, watch
        self._on_progress = on_progress
        self._clock: Clock = RealClock()
        self._tally = Tally()
        self._recorder: Recorder | None = None
        self._requester, self._stalling = (Requester(client, settings) for client in clients)
        # Of their own, so that the choice of prompts and of clients that stall does not move the arrivals.
        self._choice = random.Random(settings.seed + 1)  # noqa: S311 - a load, not a secret
        self._stalls = random.Random(settings.seed + 2)  # noqa: S311 - as above

    async def run(self) -> LoadReport:
        settings, capacity = self._settings, None
        rate = settings.rate
        if rate is None:
            capacity = await self._measured()
            rate = capacity.requests_per_second * settings.share
        before = (self._watch.state.desired or 0) if self._watch else 0
        known = frozenset(self._watch.state.pods if self._watch else ())
        started_at, started = datetime.now(UTC), self._clock.now()
        async with AsyncExitStack() as stack:
            if settings.recording:
                recording = recording_to(
                    settings.recording, settings.profile, lambda: self._tally.outstanding
                )
                self._recorder = await stack.enter_async_context(recording)
            last_arrival = await self._load(rate, started)
        elapsed = self._clock.now() - started
        scaling = None
        if self._watch and settings.target:
            scale_down = await self._scaled_down(self._watch, before, started, last_arrival)
            scaling = scaling_report(
                self._watch,
                settings.target,
                before=before,
                known_pods=known,
                started=started,
                scale_down=scale_down,
            )
        return LoadReport(
            settings=settings,
            started_at=started_at.isoformat(timespec="seconds"),
            rate=rate,
            capacity=capacity,
            tally=self._tally,
            elapsed=elapsed,
            scaling=scaling,
            recorded=self._recorder.to_json() if self._recorder else None,
        )

    async def _load(self, rate: float, started: float) -> float:
        """Send everything, wait for every answer, and return when the time for arrivals was over."""
        settings, tally = self._settings, self._tally

        def unsent() -> None:
            tally.unsent += 1
            if self._recorder:
                self._recorder.unsent()

        def late() -> None:
            tally.late += 1

        steps = settings.kind.shape(settings.duration_seconds)
        due = offsets(settings.arrivals, rate, steps, settings.seed)
        over = started + settings.duration_seconds
        async with self._telling("loading", settings.duration_seconds):
            running = await drive(
                (started + offset for offset in due),
                self._send,
                max_outstanding=settings.max_outstanding,
                on_unsent=unsent,
                on_late=late,
                clock=self._clock,
            )
            await self._clock.sleep_until(over)
        async with self._telling("finishing", settings.request_seconds):
            await asyncio.gather(*running)
        return over

    async def _send(self, _number: int, moment: float) -> None:
        self._tally.sent += 1
        prompt = self._choice.choice(self._prompts)
        stalls = self._stalls.random() < self._settings.kind.stalling
        requester, seconds = (
            (self._stalling, self._settings.stall_seconds) if stalls else (self._requester, 0.0)
        )
        outcome = await requester.send(prompt, moment, self._clock.now, seconds)
        self._tally.add(outcome)
        if self._recorder:
            self._recorder.add(outcome)

    async def _measured(self) -> Capacity:
        """Measure the capacity; where that made the autoscaler act, wait until it is back."""
        before = (self._watch.state.desired or 0) if self._watch else 0
        clients = 0

        def note(level: int) -> None:
            nonlocal clients
            clients = level

        async with self._telling("measuring", 0, lambda: clients):
            capacity = await measure_capacity(self._requester, self._prompts, self._clock.now, note)
        if self._watch:
            async with self._telling("settling", self._settings.scale_down_seconds):
                await self._wait_for_replicas(self._watch, before, self._settings.scale_down_seconds)
        return capacity

    async def _scaled_down(
        self, watch: ScalingWatch, before: int, started: float, over: float
    ) -> ScaleDown | None:
        """Wait for as few replicas as before; `None` where there were never more."""
        state, longest = watch.state, self._settings.scale_down_seconds
        if not any(replicas > before for moment, replicas in state.desired_changes if moment > started):
            return None
        async with self._telling("scaling down", longest):
            complete = await self._wait_for_replicas(watch, before, longest)
        desired = next((m - over for m, n in reversed(state.desired_changes) if n <= before), None)
        gone = max((pod.gone for pod in state.pods.values() if pod.gone is not None), default=None)
        return ScaleDown(
            complete=complete,
            waited=self._clock.now() - over,
            desired=desired,
            gone=None if gone is None else gone - over,
        )

    async def _wait_for_replicas(self, watch: ScalingWatch, most: int, seconds: float) -> bool:
        """Wait until no more than `most` replicas are desired and there; say whether that came in time."""
        try:
            async with asyncio.timeout(seconds):
                await watch.until(lambda state: state.present <= most and (state.desired or 0) <= most)
        except TimeoutError:
            return False
        return True

    @asynccontextmanager
    async def _telling(
        self, phase: str, longest: float, clients: Callable[[], int] = lambda: 0
    ) -> AsyncIterator[None]:
        """Tell about once a second where the load is, for as long as the context lasts."""
        began = self._clock.now()

        async def tell() -> None:
            while True:
                tally, state = self._tally, self._watch.state if self._watch else None
                self._on_progress(
                    Progress(
                        phase=phase,
                        seconds=self._clock.now() - began,
                        of=longest,
                        sent=tally.sent,
                        ok=tally.ok,
                        failed=tally.failed,
                        outstanding=tally.outstanding,
                        clients=clients(),
                        desired=state.desired if state else None,
                        ready=state.ready if state else None,
                        queue_depth=state.queue_depth if state else None,
                    )
                )
                await asyncio.sleep(PROGRESS_SECONDS)

        teller = asyncio.create_task(tell())
        try:
            yield
        finally:
            teller.cancel()
            await asyncio.wait([teller])
            # A callback that failed is the caller's mistake and must not pass unseen.
            if not teller.cancelled():
                teller.result()
