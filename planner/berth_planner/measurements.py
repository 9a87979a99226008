"""Measurements of live endpoints, as data: what one replica did at each concurrency.

    found = read_measurements(Path("stacks/measurements"))
    found[0].points[0].tokens_per_second  # a Range over its repeats

`./berth calibrate` writes them; docs/planner.md describes the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from berth_catalogue.errors import CatalogueError
from berth_catalogue.planning import Range
from berth_catalogue.reading import Entry

from berth_planner.errors import PlannerError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from pathlib import Path

FOLDER = "measurements"
"""Beside the stacks' files."""
CPU = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One replica under so many requests at once; low and high are the extremes of the repeats.

    Attributes:
        concurrency: requests at once, each followed by the next.
        repeats: how often it was measured.
        requests_per_second: answered whole.
        tokens_per_second: generated.
        first_token_p50: median seconds to the first token.
        first_token_p95: seconds that 95 % of the first tokens came within.
    """

    concurrency: int
    repeats: int
    requests_per_second: Range
    tokens_per_second: Range
    first_token_p50: Range
    first_token_p95: Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One calibration.

    Attributes:
        model: key in the catalogue.
        quantisation: of its weights.
        engine: its name in the catalogue.
        version: of the engine; "" where nobody said.
        accelerator: key in the catalogue, or cpu.
        count: accelerators of the replica; on a CPU the cores that its engine may use.
        machine: what it ran on, in words.
        input_tokens: of a request, on average.
        output_tokens: of an answer, on average.
        points: by rising concurrency.
        memory_gib: what the engine held at the most; None where nobody said.
        load_seconds: from its start until it answered; None where nobody said.
        day: when.
        source: how it was measured.
    """

    model: str
    quantisation: str
    engine: str
    version: str
    accelerator: str
    count: float
    machine: str
    input_tokens: float
    output_tokens: float
    points: tuple[Point, ...]
    memory_gib: float | None
    load_seconds: float | None
    day: date
    source: str

    def to_data(self) -> dict[str, Any]:
        """As a file has it; `read_measurement` takes it back."""
        data: dict[str, Any] = {
            "model": self.model,
            "quantisation": self.quantisation,
            "engine": self.engine,
            "version": self.version,
            "hardware": {"accelerator": self.accelerator, "count": self.count, "machine": self.machine},
            "tokens": {"input": round(self.input_tokens, 1), "output": round(self.output_tokens, 1)},
            "memory_gib": self.memory_gib,
            "load_seconds": self.load_seconds,
            "date": self.day.isoformat(),
            "source": self.source,
            "points": [
                {
                    "concurrency": one.concurrency,
                    "repeats": one.repeats,
                    **{name: _listed(getattr(one, name)) for name in _RANGES},
                }
                for one in self.points
            ],
        }
        return {key: value for key, value in data.items() if value is not None and value != ""}


_RANGES = ("requests_per_second", "tokens_per_second", "first_token_p50", "first_token_p95")


def _listed(one: Range) -> list[float]:
    return [round(value, 4) for value in (one.low, one.expected, one.high)]


def read_measurements(folder: Path) -> tuple[Measurement, ...]:
    """All measurements of a folder, by file; none where it is not there.

    Raises:
        PlannerError: a file is wrong; the message names it, the key and what is allowed.
    """
    return tuple(read_measurement(file) for file in sorted(folder.glob("*.yaml")))


def read_measurement(file: Path) -> Measurement:
    """One measurement.

    Raises:
        PlannerError: the file is wrong.
    """
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 - a safe loader
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PlannerError(f"{file}: cannot be read: {' '.join(str(error).split())}") from None
    try:
        return _measurement(file, content)
    except CatalogueError as error:
        raise PlannerError(str(error)) from None


def _measurement(file: Path, content: object) -> Measurement:
    entry = Entry(str(file), "", content)
    hardware, tokens = entry.entry("hardware"), entry.entry("tokens")
    points = entry.list_of_entries("points")
    made = Measurement(
        model=entry.text("model"),
        quantisation=entry.text("quantisation"),
        engine=entry.text("engine"),
        version=entry.maybe_text("version") or "",
        accelerator=hardware.text("accelerator"),
        count=hardware.number("count"),
        machine=hardware.text("machine"),
        input_tokens=tokens.number("input"),
        output_tokens=tokens.number("output"),
        points=tuple(map(_point, points)),
        memory_gib=entry.number("memory_gib") if entry.has("memory_gib") else None,
        load_seconds=entry.number("load_seconds") if entry.has("load_seconds") else None,
        day=entry.day("date"),
        source=entry.text("source"),
    )
    for one in (entry, hardware, tokens):
        one.end()
    levels = [one.concurrency for one in made.points]
    if not levels or levels != sorted(set(levels)):
        raise PlannerError(f"{file}: points: must be by rising concurrency, each once, got {levels}")
    return made


def _point(entry: Entry) -> Point:
    ranges = {name: _range(entry, name) for name in _RANGES}
    point = Point(
        concurrency=entry.whole("concurrency"),
        repeats=entry.whole("repeats"),
        requests_per_second=ranges["requests_per_second"],
        tokens_per_second=ranges["tokens_per_second"],
        first_token_p50=ranges["first_token_p50"],
        first_token_p95=ranges["first_token_p95"],
    )
    entry.end()
    return point


def _range(entry: Entry, key: str) -> Range:
    low, expected, high = values = entry.numbers(key, 3)
    if not low <= expected <= high:
        raise entry.wrong(key, list(values), "low, expected and high, rising")
    return Range(low, expected, high)


def at_concurrency(measured: Measurement, concurrency: float) -> Point | None:
    """What a replica does under so many requests at once; None outside of what was measured.

    Between two measured points a straight line is drawn; beyond them nothing is.
    """
    points = measured.points
    for before, after in zip(points, points[1:] or points, strict=False):
        if before.concurrency <= concurrency <= after.concurrency:
            span = after.concurrency - before.concurrency
            share = (concurrency - before.concurrency) / span if span else 0.0
            between: Mapping[str, Range] = {
                name: _between(getattr(before, name), getattr(after, name), share) for name in _RANGES
            }
            return Point(
                concurrency=round(concurrency),
                repeats=min(before.repeats, after.repeats),
                requests_per_second=between["requests_per_second"],
                tokens_per_second=between["tokens_per_second"],
                first_token_p50=between["first_token_p50"],
                first_token_p95=between["first_token_p95"],
            )
    return None


def _between(one: Range, other: Range, share: float) -> Range:
    def part(low: float, high: float) -> float:
        return low + (high - low) * share

    return Range(part(one.low, other.low), part(one.expected, other.expected), part(one.high, other.high))
