"""Figures that can be recomputed by hand: value, error bar, formula, what went in, where that was read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from berth_catalogue.planning import Range

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth_catalogue.sources import Source

GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure.

    Attributes:
        name: what it is.
        unit: GiB, tokens, requests, USD/h, …
        value: the expected value.
        low: the lower end of its error bar.
        high: the upper end.
        formula: how it was computed, in the names of `inputs`; docs/planner.md explains each.
        inputs: what went in.
        sources: where constants among them were read.
    """

    name: str
    unit: str
    value: float
    low: float
    high: float
    formula: str
    inputs: Mapping[str, float | str] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()

    @property
    def range(self) -> Range:
        """Value and error bar alone."""
        return Range(self.low, self.value, self.high)

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "name": self.name,
            "unit": self.unit,
            "value": round(self.value, 6),
            "low": round(self.low, 6),
            "high": round(self.high, 6),
            "formula": self.formula,
            "inputs": dict(self.inputs),
            "sources": [f"{one.origin} (read {one.read})" for one in self.sources],
        }


def exact(value: float) -> Range:
    """A figure without an error bar."""
    return Range(value, value, value)


def add(*parts: Range) -> Range:
    """The sum, the worst with the worst."""
    return Range(
        sum(one.low for one in parts), sum(one.expected for one in parts), sum(one.high for one in parts)
    )


def less(whole: Range, *parts: Range) -> Range:
    """The rest: low where the whole is smallest and the parts are largest."""
    taken = add(*parts)
    return Range(whole.low - taken.high, whole.expected - taken.expected, whole.high - taken.low)


def times(figure: Range, factor: Range | float) -> Range:
    """The product of two that are above zero."""
    other = exact(factor) if isinstance(factor, (int, float)) else factor
    return Range(figure.low * other.low, figure.expected * other.expected, figure.high * other.high)


def most(*parts: Range) -> Range:
    """The largest."""
    return Range(
        max(one.low for one in parts), max(one.expected for one in parts), max(one.high for one in parts)
    )
