"""A record second by second: what was asked, who answered, what waited and what it cost."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from berth.operations.drill.ground import Ground
from berth.operations.drill.seen import (
    LOAD,
    PROBE,
    RESULTS,
    Answer,
    Reading,
    Record,
    SiteReading,
    cost,
    count,
)
from berth.operations.load.outcomes import percentile

NOBODY = "nobody"
"""Stands for the backend of answers that no backend gave: the router's own, and none at all."""


@dataclass(frozen=True)
class BackendSecond:
    """Answers of a backend that ended in a second.

    Attributes:
        answers, ok: of the load: how many, and how many whole.
        probes: answers to probes.
        p50, most: seconds of whole answers of the load, from when the request should have begun.
    """

    answers: int
    ok: int
    probes: int
    p50: float | None
    most: float | None


@dataclass(frozen=True)
class Second:
    """One second of a drill.

    Attributes:
        at: from the drill's beginning.
        phase: in which it began; "" between two.
        sent, unsent: requests of the load that began, and arrivals that were not sent.
        results: how many ended, by what became of them.
        backends: by who answered.
        weights: percent by site; `None` where they could not be read.
        sites: what each said; `None` for one that said nothing.
        dollars: an hour, by site; a silent one costs what it last said.
    """

    at: int
    phase: str
    sent: int
    unsent: int
    results: dict[str, int]
    backends: dict[str, BackendSecond]
    weights: dict[str, float] | None
    sites: dict[str, SiteReading | None]
    dollars: dict[str, float]

    @property
    def answers(self) -> int:
        """How many requests ended."""
        return sum(self.results.values())

    def share(self, backend: str) -> float | None:
        """Of the answers that any backend gave, to load and probes; `None` where there was none."""
        given = sum(one.answers + one.probes for name, one in self.backends.items() if name != NOBODY)
        if not given or backend not in self.backends:
            return None
        return (self.backends[backend].answers + self.backends[backend].probes) / given

    def to_json(self) -> dict[str, Any]:
        """The second as plain data."""
        return asdict(self)


def seconds_of(record: Record, ground: Ground, began: float) -> list[Second]:
    """Cut a record into seconds from `began` on."""
    answers = record.of(LOAD)
    moments = [one.ended for one in answers] + [one.at for one in record.readings] + record.sent
    if not moments:
        return []
    names = [site.backend for site in ground.sites]
    found, reading, last = [], None, dict[str, float]()
    ended, probed = _by_second(answers, began), _by_second(record.of(PROBE), began)
    readings = {math.floor(one.at - began): one for one in record.readings}
    sent, unsent = _tally(record.sent, began), _tally(record.unsent, began)
    for at in range(math.floor(max(moments) - began) + 1):
        reading = readings.get(at, reading)
        if reading is not None:
            last = cost(reading, last)[1]
        here = ended.get(at, [])
        by, probes = _by_backend(here, names), _by_backend(probed.get(at, []), names)
        found.append(
            Second(
                at=at,
                phase=next((one.name for one in record.phases if began + at in one), ""),
                sent=sent.get(at, 0),
                unsent=unsent.get(at, 0),
                results=count(here) if here else dict.fromkeys(RESULTS, 0),
                backends={name: _second(group, len(probes[name])) for name, group in by.items()},
                weights=_weights(reading),
                sites={site.name: reading.sites.get(site.name) if reading else None for site in ground.sites},
                dollars={site.name: round(last.get(site.name, 0.0), 4) for site in ground.sites},
            )
        )
    return found


def _weights(reading: Reading | None) -> dict[str, float] | None:
    return None if reading is None or reading.weights is None else dict(reading.weights)


def _by_second(answers: Sequence[Answer], began: float) -> dict[int, list[Answer]]:
    found: dict[int, list[Answer]] = {}
    for one in answers:
        found.setdefault(math.floor(one.ended - began), []).append(one)
    return found


def _tally(moments: Sequence[float], began: float) -> dict[int, int]:
    found: dict[int, int] = {}
    for moment in moments:
        at = max(0, math.floor(moment - began))
        found[at] = found.get(at, 0) + 1
    return found


def _by_backend(answers: Sequence[Answer], names: Sequence[str]) -> dict[str, list[Answer]]:
    found = {name: [one for one in answers if one.backend == name] for name in names}
    return {**found, NOBODY: [one for one in answers if one.backend not in names]}


def _second(answers: Sequence[Answer], probes: int) -> BackendSecond:
    times = sorted(one.seconds for one in answers if one.result == "ok")
    return BackendSecond(
        answers=len(answers),
        ok=len(times),
        probes=probes,
        p50=round(percentile(times, 50), 4) if times else None,
        most=round(times[-1], 4) if times else None,
    )


def latencies(answers: Sequence[Answer]) -> dict[str, float | int]:
    """Count and percentiles of answers that came whole, in seconds."""
    times = sorted(one.seconds for one in answers if one.result == "ok")
    if not times:
        return {"count": 0}
    found: dict[str, float | int] = {"count": len(times)}
    found.update({f"p{share}": round(percentile(times, share), 4) for share in (50, 95, 99)})
    return {**found, "max": round(times[-1], 4)}
