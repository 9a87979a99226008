"""What a drill asks: an open-loop load, a probe, and one client for each residency rule."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from berth.operations.completion import headers
from berth.operations.load.arrivals import Clock, RealClock, drive
from berth.operations.load.outcomes import BACKEND_HEADER
from berth.operations.load.prompts import packaged_prompts
from berth.operations.load.requests import Requester
from berth.operations.load.settings import LoadSettings
from berth.operations.tls import trusted

from .ground import Ground, Residency
from .seen import LOAD, PROBE, Answer, Record, answer_of

PROBES_PER_SECOND = 5.0
RESIDENTS_PER_SECOND = 2.0
_PROBE_PATH = "/info"
_ATTEMPTS_HEADER = "x-envoy-attempt-count"
_PROBE_SECONDS = 30.0
_OK, _REFUSED = 200, 429
_MEASURE_SECONDS = 6.0


@dataclass
class Traffic:
    """Sends everything that a drill sends, and records what comes back.

    Attributes:
        ground: whom it asks.
        record: where answers go.
        rate: requests of the load a second, now; 0 sends none.
        max_new_tokens: asked of each request.
        max_outstanding: of the load, in flight at once; an arrival above it is counted, and not sent.
        request_seconds: after this a request is given up.
        seed: of the arrivals and prompts.
        clock: seconds.
    """

    ground: Ground
    record: Record
    rate: float = 0.0
    max_new_tokens: int = 32
    max_outstanding: int = 256
    request_seconds: float = 60.0
    seed: int = 0
    clock: Clock = field(default_factory=RealClock)
    _stopped: bool = False

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Send the probe and the residents' requests meanwhile, and the load at `rate`.

        At the end only what was due next begins, and every answer is waited for.
        """
        async with AsyncExitStack() as stack:
            loops = [
                self._load(await self._requester(stack)),
                self._probe(await self._client(stack), PROBE, PROBES_PER_SECOND),
            ]
            for rule in self.ground.residency:
                if rule.can_be_asked:
                    resident = await self._client(stack, rule)
                    loops.append(self._probe(resident, rule.name, RESIDENTS_PER_SECOND))
            tasks = [asyncio.create_task(one) for one in loops]
            try:
                yield
                self._stopped = True
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def measure(self, clients: int) -> float:
        """Requests per second that so many clients get answered, who each wait for their answer.

        Never more clients than slots, so that nothing waits and no load moves meanwhile.
        """
        done, began = 0, self.clock.now()
        prompts = packaged_prompts()
        async with AsyncExitStack() as stack:
            requester = await self._requester(stack)

            async def ask(number: int) -> None:
                nonlocal done
                turn = number
                while self.clock.now() - began < _MEASURE_SECONDS:
                    outcome = await requester.send(
                        prompts[turn % len(prompts)], self.clock.now(), self.clock.now
                    )
                    done, turn = done + outcome.ok, turn + clients
                    if not outcome.ok:
                        await asyncio.sleep(0.2)  # a refusal is quick

            await asyncio.gather(*(ask(number) for number in range(clients)))
        return done / max(self.clock.now() - began, 1e-3)

    async def _client(self, stack: AsyncExitStack, rule: Residency | None = None) -> httpx.AsyncClient:
        """No connection is kept, as many clients of their own do not keep them either."""
        transport = httpx.AsyncHTTPTransport(
            verify=trusted(self.ground.ca),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            trust_env=False,
        )
        client = httpx.AsyncClient(
            headers={**headers((rule and rule.key) or self.ground.key), **(rule.headers if rule else {})},
            transport=transport,
            timeout=self.request_seconds,
            trust_env=False,
        )
        return await stack.enter_async_context(client)

    async def _requester(self, stack: AsyncExitStack) -> Requester:
        settings = LoadSettings(
            endpoint=self.ground.endpoint,
            server_name=self.ground.server_name,
            max_new_tokens=self.max_new_tokens,
            request_seconds=self.request_seconds,
        )
        return Requester(await self._client(stack), settings)

    async def _load(self, requester: Requester) -> None:
        choice = random.Random(self.seed + 1)  # noqa: S311 - a load, not a secret
        prompts = packaged_prompts()

        async def send(_number: int, moment: float) -> None:
            self.record.sent.append(moment)
            outcome = await requester.send(choice.choice(prompts), moment, self.clock.now)
            self.record.answers.append(answer_of(LOAD, moment, outcome))

        running: set[asyncio.Task[None]] = set()
        try:
            while not self._stopped:
                if self.rate <= 0:
                    await asyncio.sleep(0.05)
                    continue
                running |= await drive(
                    poisson(lambda: 0.0 if self._stopped else self.rate, self.clock.now, self.seed),
                    send,
                    max_outstanding=self.max_outstanding,
                    on_unsent=lambda: self.record.unsent.append(self.clock.now()),
                    on_late=lambda: None,
                    clock=self.clock,
                )
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()

    async def _probe(self, client: httpx.AsyncClient, stream: str, rate: float) -> None:
        """Ask for what costs nothing: it is routed as every request, and waits for no slot."""
        url = self.ground.endpoint.rstrip("/") + _PROBE_PATH
        extensions = {"sni_hostname": self.ground.server_name} if self.ground.server_name else None

        async def send(moment: float) -> None:
            backend, attempts, result, error = "", None, "failed", ""
            try:
                async with asyncio.timeout(_PROBE_SECONDS):
                    response = await client.get(url, extensions=extensions)
            except (TimeoutError, httpx.HTTPError) as problem:
                error = type(problem).__name__
            else:
                backend = response.headers.get(BACKEND_HEADER, "")
                told = response.headers.get(_ATTEMPTS_HEADER, "")
                attempts = int(told) if told.isdigit() else None
                result = {_OK: "ok", _REFUSED: "refused"}.get(response.status_code, "failed")
                error = "" if result == "ok" else f"status {response.status_code}"
            answer = Answer(stream, moment, self.clock.now(), result, backend, error, attempts=attempts)
            self.record.answers.append(answer)

        await self._regularly(rate, send)

    async def _regularly(self, rate: float, send: Callable[[float], Coroutine[Any, Any, None]]) -> None:
        """Begin a request every so often, however slow the answers are, until the drill is over."""
        running: set[asyncio.Task[None]] = set()
        due = self.clock.now()
        try:
            while not self._stopped:
                await self.clock.sleep_until(due)
                task = asyncio.ensure_future(send(due))
                running.add(task)
                task.add_done_callback(running.discard)
                # A machine that was busy for a while does not send everything it missed at once.
                due = max(due + 1 / rate, self.clock.now() - 1)
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()


def poisson(rate: Callable[[], float], now: Callable[[], float], seed: int) -> Iterator[float]:
    """Yield when requests begin, at a rate that may change; ends where it is 0.

    Args:
        rate: requests a second, asked for each gap.
        now: the clock's seconds.
        seed: of the gaps.
    """
    draw = random.Random(seed)  # noqa: S311 - a load, not a secret
    due = now()
    while (a_second := rate()) > 0:
        due += draw.expovariate(1.0) / a_second
        yield due
