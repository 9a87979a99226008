"""What was measured: the time of each link in each burst, and what the usual chain would have taken."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .watch import Event, Sample

# In the order of the chain: the key in JSON, the event that it waits for, what it means.
LINKS: tuple[tuple[str, str, str], ...] = (
    ("burst_to_queue_seconds", "queue", "the queue is above its target"),
    ("burst_to_desired_seconds", "desired", "more replicas are wanted"),
    ("burst_to_created_seconds", "pod created", "a new pod is there"),
    ("burst_to_pending_seconds", "pod pending", "no node has a GPU for it"),
    ("burst_to_node_requested_seconds", "node requested", "a node is asked for"),
    ("burst_to_node_ready_seconds", "node ready", "a new node is Ready"),
    ("burst_to_scheduled_seconds", "pod scheduled", "the new pod has a node"),
    ("burst_to_weights_seconds", "weights there", "its weights are there"),
    ("burst_to_engine_seconds", "engine started", "its engine runs"),
    ("burst_to_ready_seconds", "pod ready", "the first new replica is Ready"),
    ("burst_to_all_ready_seconds", "all ready", "every wanted replica is Ready"),
    ("burst_to_queue_normal_seconds", "queue normal", "the queue is within its target"),
)
BACK: tuple[tuple[str, str, str], ...] = (
    ("end_to_desired_seconds", "fewer desired", "fewer replicas are wanted"),
    ("end_to_replicas_gone_seconds", "replicas gone", "they are gone"),
    ("end_to_pool_empty_seconds", "pool empty", "the pool has no node"),
)
SCRAPE_SECONDS, POLL_SECONDS = 15.0, 30.0
_DRAWS = 2000


@dataclass(frozen=True)
class Burst:
    """One burst.

    Attributes:
        number: from 1.
        began, ended: of its load, in seconds of the monotonic clock.
        events: what was seen from its beginning until the pool was as before.
        samples: queue, replicas and nodes, twice a second.
        clients: who asked at once.
        requests: of them: how many by what came of them.
    """

    number: int
    began: float
    ended: float
    events: tuple[Event, ...]
    samples: tuple[Sample, ...]
    clients: int
    requests: dict[str, int] = field(default_factory=dict)

    def seconds(self, name: str, since: float | None = None) -> float | None:
        """When an event was first seen, in seconds from the burst's beginning."""
        start = self.began if since is None else since
        return next(
            (event.at - start for event in self.events if event.name == name and event.at >= start), None
        )

    def to_json(self) -> dict[str, Any]:
        """The burst as plain data; times in seconds from its beginning."""
        return {
            "number": self.number,
            "clients": self.clients,
            "load_seconds": round(self.ended - self.began, 3),
            "requests": self.requests,
            "links": {key: _rounded(self.seconds(event)) for key, event, _ in LINKS},
            "back": {key: _rounded(self.seconds(event, self.ended)) for key, event, _ in BACK},
            "events": [
                {"at": round(event.at - self.began, 3), "event": event.name, "detail": event.detail}
                for event in self.events
            ],
            "samples": [
                {"at": round(one.at - self.began, 3), "queue": one.queue, "desired": one.desired,
                 "ready": one.ready, "nodes": one.nodes}
                for one in self.samples
            ],
        }  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def spread(values: Sequence[float | None]) -> dict[str, Any]:
    """The values of one link over all bursts, with percentiles by nearest rank; `None` is one not seen."""
    known = sorted(value for value in values if value is not None)
    found: dict[str, Any] = {"values": [_rounded(value) for value in values]}
    if known:
        found |= {f"p{share}": _rounded(nearest_rank(known, share)) for share in (50, 95)}
        found["max"] = _rounded(known[-1])
    return found


def nearest_rank(ordered: Sequence[float], share: float) -> float:
    """A percentile of ordered values: the smallest that so many percent do not pass."""
    return ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)]


def numbers(bursts: Sequence[Burst]) -> dict[str, Any]:
    """Every link over all bursts."""
    found = {key: spread([one.seconds(event) for one in bursts]) for key, event, _ in LINKS}
    found |= {key: spread([one.seconds(event, one.ended) for one in bursts]) for key, event, _ in BACK}
    return found


def usual_chain(bursts: Sequence[Burst], seed: int = 0) -> dict[str, Any]:
    """What a 15 s scrape and a 30 s poll would have added to the same bursts. Computed, not measured.

    The metric then is as old as the last scrape when it is polled, and the poll as old when the autoscaler
    looks: each a uniform part of its period. Everything after is as measured.
    """
    chance = random.Random(seed)  # noqa: S311 - phases of timers, no secrets
    ready = [value for one in bursts if (value := one.seconds("pod ready")) is not None]
    draws = sorted(
        value + chance.uniform(0, SCRAPE_SECONDS) + chance.uniform(0, POLL_SECONDS)
        for value in ready
        for _ in range(max(1, _DRAWS // len(ready)))
    )
    found: dict[str, Any] = {
        "computed": True,
        "scrape_seconds": SCRAPE_SECONDS,
        "poll_seconds": POLL_SECONDS,
    }
    if draws:
        found |= {f"p{share}": _rounded(nearest_rank(draws, share)) for share in (50, 95)}
    return found
