"""What the waiting rooms hold: for autoscalers (`/load`) and for Prometheus (`/metrics`), on one port.

berth_router_held_requests{backend, service}         requests that wait for a ready pod now
berth_router_held_total{backend, service, outcome}   what waited or was not let wait, by what came of it
berth_router_held_seconds{backend, service}          how long they waited (histogram)
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from aiohttp import web

from berth_agents.listening import exposition

OUTCOMES = ("let_go", "too_long", "too_many", "client_gone", "no_key", "ended")
SECONDS = (1, 5, 15, 30, 60, 120, 300, 600, 1800)
"""Upper ends of the histogram's buckets."""


@dataclass
class Held:
    """What one backend's room holds and held.

    Attributes:
        service: the Service whose pods are waited for.
        now: requests that wait.
    """

    backend: str
    service: str
    now: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    waits: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    seconds: float = 0.0

    def count(self, outcome: str, seconds: float | None = None) -> None:
        """Count one request that is over, and how long it waited, if it did."""
        self.outcomes[outcome] += 1
        if seconds is not None:
            self.waits[bisect_left(SECONDS, seconds)] += 1
            self.seconds += seconds

    @property
    def _labels(self) -> str:
        return f'backend="{self.backend}",service="{self.service}"'

    def gauge(self) -> list[str]:
        """Its lines of the gauge."""
        return [f"berth_router_held_requests{{{self._labels}}} {self.now}"]

    def counters(self) -> list[str]:
        """Its lines of the counter; what never happened is 0, so that rates begin with it."""
        return [
            f'berth_router_held_total{{{self._labels},outcome="{outcome}"}} {self.outcomes[outcome]}'
            for outcome in OUTCOMES
        ]

    def histogram(self) -> list[str]:
        """Its lines of the histogram."""
        name, lines, total = "berth_router_held_seconds", [], 0
        for end, count in zip([*map(str, SECONDS), "+Inf"], self.waits, strict=True):
            total += count
            lines.append(f'{name}_bucket{{{self._labels},le="{end}"}} {total}')
        return [
            *lines,
            f"{name}_sum{{{self._labels}}} {self.seconds:.3f}",
            f"{name}_count{{{self._labels}}} {total}",
        ]


def render(held: Iterable[Held]) -> str:
    """Everything in Prometheus' text format."""
    rooms = sorted(held, key=lambda one: one.backend)
    lines: list[str] = []
    for name, kind, text, of in (
        ("requests", "gauge", "Requests that wait for a ready pod", Held.gauge),
        ("total", "counter", "Requests for models that slept, by what came of them", Held.counters),
        ("seconds", "histogram", "How long requests waited for a ready pod", Held.histogram),
    ):
        lines += [f"# HELP berth_router_held_{name} {text}", f"# TYPE berth_router_held_{name} {kind}"]
        lines += [line for one in rooms for line in of(one)]
    return "\n".join([*lines, ""])


def load(held: Iterable[Held]) -> dict[str, dict[str, int]]:
    """What `/load` says: requests held, by the Service whose pods they wait for."""
    found: Counter[str] = Counter()
    for one in held:
        found[one.service] += one.now
    return {"held": dict(found)}


def application(held: Callable[[], Iterable[Held]]) -> web.Application:
    """The port's routes."""

    async def tell_load(_: web.Request) -> web.Response:
        return web.json_response(load(held()))

    async def tell_metrics(_: web.Request) -> web.Response:
        return exposition(render(held()))

    made = web.Application(client_max_size=1024)
    made.router.add_get("/load", tell_load)
    made.router.add_get("/metrics", tell_metrics)
    return made
