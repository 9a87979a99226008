"""Reading `/load` of gateways: fresh where it can be had, the last value for a short silence, or nothing."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp

from berth_agents.metrics_adapter.gateways import Gateway
from berth_agents.metrics_adapter.names import METRICS

log = logging.getLogger(__name__)

FRESH_SECONDS = 1.0  # a reading this young is not asked for again
STALE_SECONDS = 5.0  # a silent gateway's last reading counts for this long
READ_SECONDS = 0.3  # a gateway that takes longer is silent
GATHER_SECONDS = 1.5  # all readings of one question together; below the 2 s within which the adapter answers
# Few enough that the work of reading them all does not itself use up READ_SECONDS.
PARALLEL = 64
MAX_BODY_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Reading:
    """What a gateway said, and when it was asked: `asked_at` in seconds of the monotonic clock.

    `values`: by metric; of a router, requests that it holds by model. `slots`: requests that its engine works
    on at a time; 0 where it does not say.
    """

    values: dict[str, int]
    asked_at: float
    asked: datetime
    slots: int = 0


@dataclass(frozen=True, slots=True)
class Silence:
    """A gateway that said nothing usable, and why."""

    gateway: Gateway
    reason: str


class GatewayReader:
    """Asks gateways, each at most once at a time and once per `FRESH_SECONDS`, whoever wants to know.

    Args:
        port: where gateways are asked that do not say another one.
        clock: monotonic seconds.
        understand: takes values and slots out of the body of `/load`; a ValueError says why it cannot.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        port: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        understand: Callable[[bytes, str], tuple[dict[str, int], int]] | None = None,
    ) -> None:
        self._session, self._port, self._clock = session, port, clock
        self._understand = understand or _values
        self._last: dict[str, Reading] = {}
        self._reasons: dict[str, str] = {}
        self._flights: dict[str, asyncio.Task[None]] = {}
        self._limit = asyncio.Semaphore(PARALLEL)

    async def read(self, gateways: Sequence[Gateway]) -> tuple[list[Reading], list[Silence]]:
        """Return a reading of every gateway that has one, and the others, within `GATHER_SECONDS`."""
        flights = [self._flight(gateway) for gateway in gateways if self._age(gateway) > FRESH_SECONDS]
        if flights:
            await asyncio.wait(flights, timeout=GATHER_SECONDS)
        readings, silences = [], []
        for gateway in gateways:
            if self._age(gateway) <= STALE_SECONDS:
                readings.append(self._last[gateway.uid])
            else:
                silences.append(Silence(gateway, self._reasons.get(gateway.uid, "no answer in time")))
        return readings, silences

    def forget(self, uid: str) -> None:
        """Drop what is known of a gateway that is gone."""
        flight = self._flights.get(uid)
        if flight is not None:
            flight.cancel()
        self._last.pop(uid, None)
        self._reasons.pop(uid, None)

    def _age(self, gateway: Gateway) -> float:
        last = self._last.get(gateway.uid)
        return self._clock() - last.asked_at if last else float("inf")

    def _flight(self, gateway: Gateway) -> asyncio.Task[None]:
        flight = self._flights.get(gateway.uid)
        if flight is None:
            flight = asyncio.create_task(self._ask(gateway), name=f"read {gateway.namespace}/{gateway.name}")
            self._flights[gateway.uid] = flight
            flight.add_done_callback(lambda _: self._flights.pop(gateway.uid, None))
        return flight

    async def _ask(self, gateway: Gateway) -> None:
        host = f"[{gateway.address}]" if ":" in gateway.address else gateway.address
        url = f"http://{host}:{gateway.port or self._port}/load"
        async with self._limit:
            asked_at, asked = self._clock(), datetime.now(UTC)
            try:
                async with asyncio.timeout(READ_SECONDS):
                    body = await self._fetch(url)
                values, slots = self._understand(body, url)
                self._last[gateway.uid] = Reading(values, asked_at, asked, slots)
                if self._reasons.pop(gateway.uid, None):
                    log.info(
                        "A silent gateway answers again",
                        extra={"pod": gateway.name, "namespace": gateway.namespace},
                    )
            except TimeoutError:
                self._silent(gateway, f"{url} did not answer within {READ_SECONDS:g} s")
            except (aiohttp.ClientError, OSError) as error:
                self._silent(gateway, f"{url}: {type(error).__name__}: {error}")
            except ValueError as error:
                self._silent(gateway, str(error))

    async def _fetch(self, url: str) -> bytes:
        """Return the body.

        Raises:
            ValueError: it is not a small 200.
        """
        async with self._session.get(url, allow_redirects=False) as response:
            if response.status != 200:  # noqa: PLR2004 - HTTP's OK
                raise ValueError(f"{url} answered {response.status}")
            body = b""
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise ValueError(f"{url} answered more than {MAX_BODY_BYTES} bytes")
            return body

    def _silent(self, gateway: Gateway, reason: str) -> None:
        if gateway.uid not in self._reasons:
            log.warning(
                "A gateway is silent",
                extra={"pod": gateway.name, "namespace": gateway.namespace, "reason": reason},
            )
        self._reasons[gateway.uid] = reason


def held_by(body: bytes, url: str) -> tuple[dict[str, int], int]:
    """Take out of the body of a router's `/load` how many requests it holds, by model.

    Raises:
        ValueError: it does not say so.
    """
    held = _object(body, url).get("held")
    if not isinstance(held, dict) or not all(type(count) is int and count >= 0 for count in held.values()):
        raise ValueError(f"{url}: held is {held!r}; it must be counts of at least 0, by model")
    return held, 0


def _object(body: bytes, url: str) -> dict[str, Any]:
    try:
        load = json.loads(body)
    except ValueError as error:
        raise ValueError(f"{url} did not answer with JSON: {error}") from error
    if not isinstance(load, dict):
        raise ValueError(f"{url} did not answer with a JSON object")  # noqa: TRY004 - what came over the wire is a value
    return load


def _values(body: bytes, url: str) -> tuple[dict[str, int], int]:
    """Take both metrics and the slots out of the body of `/load`.

    Raises:
        ValueError: it is not JSON, or a metric is missing or no count. A guess would scale the wrong way.
    """
    load = _object(body, url)
    found = {name: load.get(name) for name in METRICS}
    for name, value in found.items():
        if type(value) is not int or value < 0:
            raise ValueError(f"{url}: {name} is {value!r}; it must be an integer of at least 0")
    slots = load.get("slots")
    known = slots if isinstance(slots, int) and not isinstance(slots, bool) and slots > 0 else 0
    return {name: int(value) for name, value in found.items() if value is not None}, known
