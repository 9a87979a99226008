"""The value of a metric for a selector: what all Ready gateways together say, or why there is no such value.

What an autoscaler must never be told is a number that is too low because somebody was silent. So:

- every Ready gateway has a reading: their sum;
- none has one: an error. The HorizontalPodAutoscaler then holds its replicas and shows ScalingActive=False;
- some have one: their sum is a lower bound. It is told only where it is above everything that was told in the
  `MEMORY_SECONDS` before the silence began, since then it can only scale up; otherwise it is an error, which
  holds the replicas. While the silence lasts, what is told does not fall.

A model that sleeps has no pods: what waits for it is held by routers of its namespace, and is told as its
queue depth. Where no pod is left and every Ready router answers, what they hold is all there is; where pods
start, or a router is silent, it is a lower bound, told under the rule above.

`MEMORY_SECONDS` is the HPA's usual memory (its scale-down window of 300 s): within it, a value that is not
the highest may be one that scales down.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from berth_agents.metrics_adapter.gateways import Gateway, Gateways
from berth_agents.metrics_adapter.names import METRICS
from berth_agents.metrics_adapter.readings import GatewayReader, Reading, Silence
from berth_agents.metrics_adapter.selectors import Selector

MEMORY_SECONDS = 300.0
MAX_SERIES = 1024  # selectors whose past is remembered; the least recently asked is forgotten first
NAMED = 5  # gateways that an error names
_DEPTH, _ = METRICS
_INSTANCE = "app.kubernetes.io/instance"


class NoSignal(Exception):  # noqa: N818 - the absence of a value is what it says
    """There is no value to tell. `status` is the HTTP status to answer with."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Value:
    """A sum over gateways, and when the oldest reading in it was asked for."""

    total: int
    asked: datetime
    silent: int = 0


@dataclass(slots=True)
class History:
    """What was told for one namespace, metric and selector."""

    complete: deque[tuple[float, int]] = field(default_factory=deque)  # falling values, rising times
    told_in_silence: int = -1

    def remember(self, now: float, total: int) -> None:
        """Note a complete sum. Only what can still be the highest is kept, so it stays short."""
        while self.complete and self.complete[-1][1] <= total:
            self.complete.pop()
        self.complete.append((now, total))
        while self.complete[0][0] < now - MEMORY_SECONDS:
            self.complete.popleft()
        self.told_in_silence = -1

    def lower_bound(self, total: int) -> int | None:
        """Return what may be told of an incomplete sum, or `None` where it might scale down."""
        if not self.complete or total <= self.complete[0][1]:
            return None
        self.told_in_silence = max(self.told_in_silence, total)
        return self.told_in_silence


@dataclass(frozen=True, slots=True)
class Waiting:
    """What routers hold for a model.

    Attributes:
        total: requests.
        named: readings of the routers that know the model; none: it is no model that sleeps.
        silences: routers of the namespace that say nothing.
    """

    total: int
    named: Sequence[Reading]
    silences: Sequence[Silence]


class QueueSignal:
    """Answers what the sum of a metric is."""

    def __init__(
        self,
        gateways: Gateways,
        reader: GatewayReader,
        routers: GatewayReader,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gateways, self._reader, self._routers, self._clock = gateways, reader, routers, clock
        self._histories: OrderedDict[tuple[str, str, Selector], History] = OrderedDict()

    async def value(self, namespace: str, metric: str, selector: Selector, selector_text: str) -> Value:
        """Return the sum of `metric` over the Ready gateways of `namespace` that `selector` takes.

        Of queue depth, with what routers of the namespace hold for the model that it names.

        Raises:
            NoSignal: there is none that is safe to tell; the message says which gateways are why.
        """
        where = f"namespace {namespace}, label selector {selector_text!r}"
        if self._gateways.problem:
            raise NoSignal(503, f"The gateways are not known: {self._gateways.problem}")
        matching = self._gateways.matching(namespace, selector)
        ready = [gateway for gateway in matching if gateway.ready]
        (readings, silences), waiting = await asyncio.gather(
            self._reader.read(ready), self._waiting(namespace, metric, _instance(selector))
        )
        key = (namespace, metric, selector)
        if not ready:
            return self._asleep(key, matching, waiting, where)
        if not readings:
            raise NoSignal(
                503, f"None of {len(ready)} Ready gateways answers ({where}): {_reasons(silences)}"
            )
        # A router that is silent hides nothing here: it holds nothing for who has ready pods.
        total = sum(reading.values[metric] for reading in readings) + waiting.total
        history = self._history(key)
        if not silences:
            history.remember(self._clock(), total)
        else:
            bound = history.lower_bound(total)
            if bound is None:
                raise NoSignal(
                    503,
                    f"{len(silences)} of {len(ready)} Ready gateways are silent ({where}); the others sum up "
                    f"to {total}, no proof of more load than before, so replicas are held: "
                    f"{_reasons(silences)}",
                )
            total = bound
        return Value(total, _oldest(readings), len(silences))

    async def _waiting(self, namespace: str, metric: str, model: str | None) -> Waiting:
        routers = self._gateways.routers(namespace) if model else []
        readings, silences = await self._routers.read([one for one in routers if one.port])
        unasked = [Silence(one, "it has no container port named load") for one in routers if not one.port]
        named = [reading for reading in readings if model in reading.values]
        total = sum(reading.values[str(model)] for reading in named) if metric == _DEPTH else 0
        return Waiting(total, named, [*silences, *unasked])

    def _asleep(
        self, key: tuple[str, str, Selector], matching: list[Gateway], waiting: Waiting, where: str
    ) -> Value:
        """The value where no gateway is Ready.

        Raises:
            NoSignal: no router knows of the model, or what is known is no proof of more load.
        """
        silent = f"{len(waiting.silences)} Ready routers are silent ({_reasons(waiting.silences)})"
        if not waiting.named and matching:
            raise NoSignal(503, f"None of {len(matching)} gateways is Ready ({where}): {_names(matching)}")
        if not waiting.named and waiting.silences:
            raise NoSignal(503, f"No pod matches ({where}), and what may wait for it is not known: {silent}")
        if not waiting.named:
            raise NoSignal(
                404,
                f"No pod with the label berth.dev/queue-metrics=true matches ({where}), and no Ready router "
                "holds requests for it. "
                "Compare the metric's selector in the HorizontalPodAutoscaler with the pods' labels.",
            )
        history = self._history(key)
        starting = [gateway for gateway in matching if not gateway.leaving]
        if not starting and not waiting.silences:
            history.remember(self._clock(), waiting.total)
            return Value(waiting.total, _oldest(waiting.named))
        bound = history.lower_bound(waiting.total)
        if bound is None:
            reason = f"none of {len(starting)} gateways is Ready: {_names(starting)}" if starting else silent
            raise NoSignal(
                503,
                f"Routers hold {waiting.total} ({where}), no proof of more load than before, so replicas are "
                f"held: {reason}",
            )
        return Value(bound, _oldest(waiting.named), len(starting) + len(waiting.silences))

    def _history(self, key: tuple[str, str, Selector]) -> History:
        history = self._histories.setdefault(key, History())
        self._histories.move_to_end(key)
        if len(self._histories) > MAX_SERIES:
            self._histories.popitem(last=False)
        return history


def _instance(selector: Selector) -> str | None:
    """The model that a selector names: whose pods it takes, if it takes those of one."""
    for one in selector:
        if one.key == _INSTANCE and one.operator == "in" and len(one.values) == 1:
            return next(iter(one.values))
    return None


def _oldest(readings: Sequence[Reading]) -> datetime:
    return min(reading.asked for reading in readings)


def _names(gateways: list[Gateway]) -> str:
    more = f" and {len(gateways) - NAMED} more" if len(gateways) > NAMED else ""
    return ", ".join(gateway.name for gateway in gateways[:NAMED]) + more


def _reasons(silences: Sequence[Silence]) -> str:
    more = f"; and {len(silences) - NAMED} more" if len(silences) > NAMED else ""
    return "; ".join(f"{silence.gateway.name}: {silence.reason}" for silence in silences[:NAMED]) + more
