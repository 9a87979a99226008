"""Replicas that a planned load needs, and what service it then gets, from measurements."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from berth_catalogue.planning import Range

from berth_planner.figures import Figure, exact
from berth_planner.measurements import CPU, at_concurrency
from berth_planner.plan import Check, Section
from berth_planner.suggest import fits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from berth_planner.asked import Asked, Load
    from berth_planner.measurements import Measurement, Point

ALIKE = 0.25
"""Share that lengths of prompts and answers may be away from the measured ones: both cost time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is predicted for one model at one site.

    Attributes:
        section: for the page.
        replicas: that the load needs; None where nothing was measured, or no load is planned.
        fewest: that carry it at all, each busy all the time, as an autoscaler that follows the queue may have
            them; None as above.
        tokens_per_second: that the load generates; None where no load is planned.
    """

    section: Section
    replicas: Range | None
    fewest: Range | None = None
    tokens_per_second: float | None


def service(asked: Asked, measurements: Iterable[Measurement]) -> Service:
    """Throughput, replicas and time to first token of a model at a site, at its planned load."""
    load = asked.load
    if load is None:
        said = "replicas, first token: unknown, for no load is planned (load of the model)"
        return Service(section=_section(asked, unknown=(said,)), replicas=None, tokens_per_second=None)
    tokens = load.requests_per_second * load.output_tokens
    found = _measured(asked, measurements)
    if isinstance(found, str):
        check = Check(
            subject=asked.subject,
            name="replicas",
            status="unknown",
            found=found,
            wanted=str(load),
            why="nothing but a measurement says how fast an engine is on a device",
            remedy="./berth calibrate where such a replica runs",
        )
        return Service(section=_section(asked, (check,)), replicas=None, tokens_per_second=tokens)
    measured, point = found
    needed = _needed(load, point, load.utilisation), _needed(load, point, 1.0)
    replicas, fewest = needed
    checks = [_replicas(asked, load, replicas, measured)]
    if load.first_token_seconds is not None:
        checks.append(_first_token(asked, load.first_token_seconds, point, measured))
    section = _section(asked, tuple(checks), _figures(asked, load, point, needed, measured))
    return Service(section=section, replicas=replicas, fewest=fewest, tokens_per_second=tokens)


def _measured(asked: Asked, measurements: Iterable[Measurement]) -> tuple[Measurement, Point] | str:
    """The latest that fits, at as many requests as the engine takes at once; else why there is none."""
    load = asked.load
    if load is None:
        raise AssertionError(asked.subject)
    where = f"{asked.accelerators} x {asked.accelerator}" if asked.accelerator else f"{asked.cpus:g} cores"
    alike = [one for one in measurements if _is_same(one, asked)]
    if not alike:
        return f"no measurement of {asked.name} ({asked.quantised_as}) on {asked.engine}, {where}"
    near = [
        one
        for one in alike
        if abs(one.input_tokens - load.input_tokens) <= ALIKE * load.input_tokens
        and abs(one.output_tokens - load.output_tokens) <= ALIKE * load.output_tokens
    ]
    if not near:
        lengths = ", ".join(f"{one.input_tokens:g} in and {one.output_tokens:g} out" for one in alike)
        return f"measured with other lengths only: {lengths}"
    for one in sorted(near, key=lambda one: one.day, reverse=True):
        point = at_concurrency(one, asked.slots)
        if point is not None:
            return one, point
    levels = [point.concurrency for one in near for point in one.points]
    return f"measured from {min(levels)} to {max(levels)} requests at once, not at {asked.slots}"


def _is_same(one: Measurement, asked: Asked) -> bool:
    where = (CPU, asked.cpus) if not asked.accelerator else (asked.accelerator, asked.accelerators)
    same_version = not one.version or not asked.version or one.version == asked.version
    return (
        (one.model, one.quantisation, one.engine) == (asked.name, asked.quantised_as, asked.engine)
        and (one.accelerator, one.count) == where
        and same_version
    )


def _needed(load: Load, point: Point, utilisation: float) -> Range:
    def count(tokens_per_second: float) -> float:
        each = tokens_per_second / load.output_tokens * utilisation
        return float(ceil(load.requests_per_second / each))

    rate = point.tokens_per_second
    return Range(count(rate.high), count(rate.expected), count(rate.low))


def _replicas(asked: Asked, load: Load, replicas: Range, measured: Measurement) -> Check:
    return Check(
        subject=asked.subject,
        name="replicas",
        status=fits(replicas, exact(asked.most_replicas)),
        found=f"{replicas.expected:g} ({replicas.low:g} to {replicas.high:g}) are needed",
        wanted=f"at most {asked.most_replicas}",
        why=f"{load}; {_cited(measured)}",
        remedy="more replicas at the most, faster accelerators, or a smaller load",
    )


def _first_token(asked: Asked, most: float, point: Point, measured: Measurement) -> Check:
    value = point.first_token_p95
    return Check(
        subject=asked.subject,
        name="first token",
        status=fits(value, exact(most)),
        found=f"{value.expected:.2f} s ({value.low:.2f} to {value.high:.2f})",
        wanted=f"95 % within {most:g} s",
        why=f"with {asked.slots} requests at once, every slot busy and none waiting; {_cited(measured)}",
        remedy="fewer concurrency.slots, faster accelerators, or another firstTokenP95Seconds",
    )


def _figures(
    asked: Asked, load: Load, point: Point, needed: tuple[Range, Range], measured: Measurement
) -> tuple[Figure, ...]:
    by = {"slots": float(asked.slots), "measured": _cited(measured)}
    needs: dict[str, float | str] = {
        "requests/s": load.requests_per_second,
        "output tokens": load.output_tokens,
        "tokens/s": point.tokens_per_second.expected,
        "utilisation": load.utilisation,
    }
    replicas, fewest = needed
    full = {**needs, "utilisation": 1.0}
    formula = "requests/s / (tokens/s / output tokens * utilisation), rounded up"
    return (
        _figure("a replica's throughput", "tokens/s", point.tokens_per_second, "measured, at slots", by),
        _figure("first token, 95 %", "s", point.first_token_p95, "measured, at slots", by),
        _figure("replicas needed", "replicas", replicas, formula, needs),
        _figure("replicas, no reserve", "replicas", fewest, formula, full),
    )


def _figure(
    name: str, unit: str, value: Range, formula: str, inputs: dict[str, float | str] | dict[str, object]
) -> Figure:
    return Figure(
        name=name,
        unit=unit,
        value=value.expected,
        low=value.low,
        high=value.high,
        formula=formula,
        inputs={key: one for key, one in inputs.items() if isinstance(one, (float, int, str))},
    )


def _cited(one: Measurement) -> str:
    return f"measured {one.day} on {one.machine}"


def _section(
    asked: Asked,
    checks: tuple[Check, ...] = (),
    figures: tuple[Figure, ...] = (),
    unknown: tuple[str, ...] = (),
) -> Section:
    return Section(
        subject=asked.subject, title="service level", checks=checks, figures=figures, unknown=unknown
    )
