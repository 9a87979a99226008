"""How much an endpoint can do: a quick closed-loop measurement, to choose an open-loop rate from."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from berth.operations.errors import EndpointUnreachable
from berth.operations.load.requests import Requester

LEVELS = (1, 2, 4, 8, 16, 32)
LEVEL_SECONDS = 4.0
LONGEST_LEVEL_SECONDS = 20.0
WORTHWHILE_GAIN = 1.1


@dataclass(frozen=True, slots=True)
class Level:
    """What came out of so many clients that each wait for their answer."""

    clients: int
    requests_per_second: float
    tokens_per_second: float
    refused: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """The best level, and all that were tried."""

    requests_per_second: float
    clients: int
    levels: tuple[Level, ...]


async def measure_capacity(
    requester: Requester, prompts: Sequence[str], now: Callable[[], float], on_level: Callable[[int], None]
) -> Capacity:
    """Double the clients until that brings less than a tenth more, or the endpoint refuses some.

    Raises:
        EndpointUnreachable: one client alone gets no answer.
    """
    levels: list[Level] = []
    supply = itertools.cycle(prompts)
    for clients in LEVELS:
        on_level(clients)
        level, errors = await _measure(requester, supply, clients, now)
        if not levels and not level.requests_per_second:
            found = (
                ", ".join(f"{kind} ({count} times)" for kind, count in errors.most_common(3))
                or "no answer in time"
            )
            raise EndpointUnreachable(f"The capacity cannot be measured: one client alone got {found}.")
        levels.append(level)
        before = max((one.requests_per_second for one in levels[:-1]), default=0.0)
        if level.refused or level.requests_per_second < before * WORTHWHILE_GAIN:
            break
    best = max(levels, key=lambda one: one.requests_per_second)
    return Capacity(best.requests_per_second, best.clients, tuple(levels))


async def _measure(
    requester: Requester, supply: "itertools.cycle[str]", clients: int, now: Callable[[], float]
) -> tuple[Level, Counter[str]]:
    started = ended = now()
    done = tokens = 0
    errors: Counter[str] = Counter()

    def more() -> bool:
        elapsed = now() - started
        short = elapsed < LEVEL_SECONDS or done < 2 * clients
        return short and elapsed < LONGEST_LEVEL_SECONDS and sum(errors.values()) <= 2 * clients

    async def client() -> None:
        nonlocal done, tokens, ended
        while more():
            outcome = await requester.send(next(supply), now(), now)
            if outcome.ok:
                done += 1
                tokens += outcome.tokens
                ended = now()
            else:
                errors[str(outcome.error)] += 1
                await asyncio.sleep(0.2)  # a refusal is quick; asking on at once would be a load of its own

    await asyncio.gather(*(client() for _ in range(clients)))
    seconds = max(ended - started, 1e-3)
    return Level(clients, done / seconds, tokens / seconds, errors["status 429"]), errors
