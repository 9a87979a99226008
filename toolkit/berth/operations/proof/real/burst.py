"""A burst: many clients at once who keep asking, until they are told to stop."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx

from berth.operations.completion import headers
from berth.operations.load.outcomes import Tally
from berth.operations.load.prompts import packaged_prompts
from berth.operations.load.requests import Requester
from berth.operations.load.settings import LoadSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .workload import Workload

_ROUTE = "/generate_stream"
_TOKENS = 48
_PAUSE_SECONDS = 0.5
"""Of a client who was refused, before it asks again."""


def clients_for(work: Workload) -> int:
    """How many clients ask for every replica, and are a normal load once all are there.

    One replica alone must have more waiting than the target times one less than all; and with all of them
    what waits must be within the target: the middle of the two.
    """
    least = work.slots + work.target * (work.maximum - 1) + 1
    most = work.maximum * (work.slots + work.target)
    return round((least + most) / 2)


@asynccontextmanager
async def burst(work: Workload, url: str, key: str, now: Callable[[], float]) -> AsyncIterator[Tally]:
    """Keep the clients asking for as long as the context lasts; the tally is of their requests."""
    tally = Tally()
    prompts = itertools.cycle(packaged_prompts())
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(headers=headers(key), limits=limits, timeout=120, trust_env=False) as client:
        settings = LoadSettings(
            endpoint=url, key=key, route=_ROUTE, max_new_tokens=_TOKENS, request_seconds=120
        )
        requester = Requester(client, settings)

        async def ask() -> None:
            while True:
                outcome = await requester.send(next(prompts), now(), now)
                tally.add(outcome)
                if not outcome.ok:
                    await asyncio.sleep(_PAUSE_SECONDS)

        tasks = [asyncio.create_task(ask()) for _ in range(clients_for(work))]
        try:
            yield tally
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
