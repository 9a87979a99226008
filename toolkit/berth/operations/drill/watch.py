"""Looks at the weights of a router and at what its sites say of themselves, once a second."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx

from berth.operations.errors import ClusterReadError
from berth.operations.kube import KubeReader
from berth.operations.kubeconfig import read_access

from .ground import DrilledSite, Ground
from .seen import Reading, Record, SiteReading

EVERY_SECONDS = 1.0
_READ_SECONDS = 2.0
_ENTRY, _ROUTE = "weights.json", "all"
_OK = 200


@asynccontextmanager
async def watching(ground: Ground, record: Record, now: Callable[[], float]) -> AsyncIterator[None]:
    """Add a reading to the record every second.

    Raises:
        KubeconfigError: the router's cluster cannot be reached.
    """
    async with AsyncExitStack() as stack:
        kube = None
        if ground.kubeconfig:
            access = await read_access(ground.kubeconfig, ground.context)
            kube = await stack.enter_async_context(KubeReader(access))
        client = await stack.enter_async_context(
            httpx.AsyncClient(
                headers={"Authorization": f"Bearer {ground.token}"}, timeout=_READ_SECONDS, trust_env=False
            )
        )
        task = asyncio.create_task(_look(ground, record, now, kube, client))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()


async def _look(
    ground: Ground,
    record: Record,
    now: Callable[[], float],
    kube: KubeReader | None,
    client: httpx.AsyncClient,
) -> None:
    while True:
        at = now()
        asked = asyncio.gather(*(_site(ground, one, client) for one in ground.sites))
        weights, sites = await asyncio.gather(_weights(ground, kube), asked)
        told = dict(zip((one.name for one in ground.sites), sites, strict=True))
        record.readings.append(Reading(at, weights, told))
        await asyncio.sleep(max(0.0, at + EVERY_SECONDS - now()))


async def _weights(ground: Ground, kube: KubeReader | None) -> dict[str, float] | None:
    if kube is None:
        return None
    path = f"/api/v1/namespaces/{ground.namespace}/configmaps/{ground.router}-weights"
    try:
        async with asyncio.timeout(_READ_SECONDS):
            found = await kube.get(path)
    except (ClusterReadError, TimeoutError):
        return None
    return weights_of((found.get("data") or {}).get(_ENTRY), ground, datetime.now(UTC))


def weights_of(text: str | None, ground: Ground, now: datetime) -> dict[str, float] | None:
    """Percent by site, as somebody set it for a while; all at the preferred site where that is over.

    `None`: the text cannot be read.
    """
    usual = {one.name: 100.0 if one == ground.preferred else 0.0 for one in ground.sites}
    if not text:
        return usual
    try:
        said = json.loads(text)
        until = said.get("until")
        if until is not None and datetime.fromisoformat(until) <= now:
            return usual
        given = said["routes"].get(_ROUTE)
        if given is None:
            return usual
        return {one.name: float(given.get(one.name, 0.0)) for one in ground.sites}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


async def _site(ground: Ground, site: DrilledSite, client: httpx.AsyncClient) -> SiteReading | None:
    if not site.reporter:
        return None
    try:
        async with asyncio.timeout(_READ_SECONDS):
            response = await client.get(f"{site.reporter.rstrip('/')}/v1/site")
        if response.status_code != _OK:
            return None
        return reading_of(response.json(), ground.model, site)
    except (httpx.HTTPError, TimeoutError, ValueError):
        return None


def reading_of(said: Any, model: str, site: DrilledSite) -> SiteReading | None:
    """What a reporter's answer says of a model; `None` where it says nothing that can be read."""
    try:
        one: Mapping[str, Any] = said["models"][model]
        billed = int(one["billed"])
        price = site.cost_per_replica_hour
        return SiteReading(
            waiting=int(one["waiting"]),
            running=int(one["running"]),
            ready=int(one["ready"]),
            billed=billed,
            cost=None if price is None else billed * price,
            slots=int(one.get("slots") or 0),
        )
    except (KeyError, TypeError, ValueError):
        return None
