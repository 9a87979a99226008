"""Closed-loop load at rising concurrency, each level several times."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

from berth.operations.calibrate.settings import CalibrationSettings, lengthened
from berth.operations.completion import ask, headers
from berth.operations.errors import CalibrationError
from berth.operations.load import LoadSettings, packaged_prompts
from berth.operations.load.outcomes import percentile
from berth.operations.load.requests import Requester

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from berth.operations.load.outcomes import Outcome

# The chat's last event tells how many tokens the prompt had, and models are tuned for their template.
ROUTE = "/v1/chat/completions"
FIRST_ANSWER_SECONDS = 60.0
LEAST_REQUESTS = 3
"""Of each client in each repeat, however long they take."""
_REFUSED = "status 429"

Range = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class MeasuredLevel:
    """One replica under so many requests at once; each range is lowest, median and highest of the repeats.

    Attributes:
        concurrency: requests at once, for one replica.
        repeats: how often it was measured.
        requests: answered whole, in all repeats.
        requests_per_second: of one replica.
        tokens_per_second: generated, of one replica.
        first_token_p50: seconds.
        first_token_p95: seconds.
    """

    concurrency: int
    repeats: int
    requests: int
    requests_per_second: Range
    tokens_per_second: Range
    first_token_p50: Range
    first_token_p95: Range


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What came out.

    Attributes:
        levels: by rising concurrency.
        input_tokens: of a prompt with its template, on average; 0 where the endpoint does not say.
        output_tokens: of an answer, on average.
        refused: the level at which the endpoint refused requests; `None` where it did not.
    """

    levels: tuple[MeasuredLevel, ...]
    input_tokens: float
    output_tokens: float
    refused: int | None


@dataclass(frozen=True, slots=True)
class CalibrationProgress:
    """Where it is: the repeat that begins, and what the last one gave."""

    level: int
    repeat: int
    repeats: int
    seconds: float
    tokens_per_second: float | None


@dataclass(slots=True)
class _Repeat:
    requests_per_second: float
    tokens_per_second: float
    first_tokens: list[float]
    outcomes: list[Outcome]


@dataclass(slots=True)
class _Client:
    """One client's own time: what ends last does not dilute the others' rate."""

    began: float
    ended: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return len(self.outcomes) / (self.ended - self.began)

    @property
    def tokens(self) -> int:
        return sum(one.tokens for one in self.outcomes)


async def calibrate(
    settings: CalibrationSettings,
    on_progress: Callable[[CalibrationProgress], None] = lambda _: None,
    now: Callable[[], float] = time.monotonic,
) -> Calibrated:
    """Measure each level several times. Cancelled, it stops sending at once.

    A level at which requests are refused (429) ends it: the endpoint takes no more.

    Raises:
        EndpointError: the endpoint does not answer, or not with this key.
        CalibrationError: requests failed otherwise, or the first level was refused: nothing can be said.
    """
    prompts = settings.prompts or packaged_prompts()
    await ask(
        settings.endpoint, settings.key, prompts[0], max_new_tokens=1, wait_seconds=FIRST_ANSWER_SECONDS
    )
    # No connection is kept: see Requester.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(
        headers=headers(settings.key), limits=limits, timeout=settings.request_seconds, trust_env=False
    ) as client:
        return await _Calibration(settings, client, prompts, on_progress, now).run()


class _Calibration:
    def __init__(
        self,
        settings: CalibrationSettings,
        client: httpx.AsyncClient,
        prompts: Sequence[str],
        on_progress: Callable[[CalibrationProgress], None],
        now: Callable[[], float],
    ) -> None:
        self._settings, self._now = settings, now
        self._on_progress = on_progress
        load = LoadSettings(
            endpoint=settings.endpoint,
            route=ROUTE,
            max_new_tokens=settings.output_tokens,
            request_seconds=settings.request_seconds,
        )
        self._requester = Requester(client, load)
        self._prompts = tuple(prompts)
        self._supply = _distinct(self._prompts)

    async def run(self) -> Calibrated:
        if self._settings.input_tokens is not None:
            self._supply = _distinct(await self._shaped(self._settings.input_tokens))
        # The first answers of a fresh replica are slower; they are nobody's service level.
        await self._send(1, 0)
        levels: list[MeasuredLevel] = []
        everything: list[Outcome] = []
        refused = None
        for level in self._settings.levels:
            repeats = await self._level(level)
            if repeats is None:
                refused = level
                break
            levels.append(_summed(level, repeats, self._settings.replicas))
            everything += [outcome for repeat in repeats for outcome in repeat.outcomes]
        if not levels:
            raise CalibrationError(
                f"the endpoint refused requests (429) already with {refused} at once: is it busy with others?"
            )
        return Calibrated(
            tuple(levels),
            statistics.fmean(one.prompt_tokens for one in everything),
            statistics.fmean(one.tokens for one in everything),
            refused,
        )

    async def _shaped(self, tokens: int) -> tuple[str, ...]:
        """Prompts of about so many tokens, by what the endpoint counts for one of them."""
        words = max(1, tokens // 2)
        (probe,) = lengthened(self._prompts[:1], words)
        outcome = await self._requester.send(probe, self._now(), self._now)
        if not outcome.ok or not outcome.prompt_tokens:
            raise CalibrationError(
                "the endpoint does not say how many tokens a prompt has (usage of the last event), so no "
                "prompts can be made of a length; give --prompts of that length, without --input-tokens"
            )
        return lengthened(self._prompts, max(1, round(words * tokens / outcome.prompt_tokens)))

    async def _level(self, level: int) -> list[_Repeat] | None:
        """All repeats of a level; `None` where the endpoint refused some of its requests."""
        settings = self._settings
        repeats: list[_Repeat] = []
        for number in range(1, settings.repeats + 1):
            last = repeats[-1].tokens_per_second if repeats else None
            self._on_progress(CalibrationProgress(level, number, settings.repeats, settings.seconds, last))
            clients = await self._send(level * settings.replicas, settings.seconds)
            outcomes = [outcome for client in clients for outcome in client.outcomes]
            errors = Counter(str(one.error) for one in outcomes if not one.ok)
            if errors[_REFUSED]:
                return None
            if errors:
                said = ", ".join(f"{kind} ({count} times)" for kind, count in errors.most_common(3))
                raise CalibrationError(
                    f"with {level} requests at once, {errors.total()} of {len(outcomes)} failed: {said}; "
                    "nothing was written"
                )
            first = [one.first_token for one in outcomes if one.first_token is not None]
            if not first:
                raise CalibrationError("no answer had a token: the endpoint generates nothing")
            repeats.append(
                _Repeat(
                    sum(client.rate for client in clients),
                    sum(client.tokens / (client.ended - client.began) for client in clients),
                    sorted(first),
                    outcomes,
                )
            )
        return repeats

    async def _send(self, clients: int, seconds: float) -> list[_Client]:
        """So many clients, each of which asks again once it has its answer; a failure ends them all."""
        failed = False

        async def one() -> _Client:
            nonlocal failed
            client = _Client(self._now())
            least = LEAST_REQUESTS if seconds else 1
            while not failed and (len(client.outcomes) < least or self._now() - client.began < seconds):
                outcome = await self._requester.send(next(self._supply), self._now(), self._now)
                client.outcomes.append(outcome)
                failed = failed or not outcome.ok
                client.ended = max(self._now(), client.began + 1e-6)
            return client

        async with asyncio.TaskGroup() as group:
            running = [group.create_task(one()) for _ in range(clients)]
        return [task.result() for task in running if task.result().outcomes]


def _distinct(prompts: Sequence[str]) -> Iterator[str]:
    """Prompts that begin differently: an engine that keeps beginnings would else be faster than it is."""
    for number, prompt in enumerate(itertools.cycle(prompts), 1):
        yield f"{number}. {prompt}"


def _summed(level: int, repeats: Sequence[_Repeat], replicas: int) -> MeasuredLevel:
    return MeasuredLevel(
        concurrency=level,
        repeats=len(repeats),
        requests=sum(len(one.outcomes) for one in repeats),
        requests_per_second=_range([one.requests_per_second / replicas for one in repeats]),
        tokens_per_second=_range([one.tokens_per_second / replicas for one in repeats]),
        first_token_p50=_range([percentile(one.first_tokens, 50) for one in repeats]),
        first_token_p95=_range([percentile(one.first_tokens, 95) for one in repeats]),
    )


def _range(values: Sequence[float]) -> Range:
    return min(values), statistics.median(values), max(values)
