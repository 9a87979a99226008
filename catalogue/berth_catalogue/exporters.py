"""Exporters: their series that rules and dashboards name. One file per exporter in exporters/.

Keys of a file:

    title     what people call it
    job       the scrape job that its series come with
    metrics   by name, as its /metrics shows it: type (counter, gauge, histogram, untyped), unit ("1" is a
              plain count or a ratio), labels besides those that the scrape job adds, text
    sources   where names and labels were read, and when

Not every series that an exporter has: those that something here asks for. A test joins the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING

from berth_catalogue.reading import Entry, load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth_catalogue.sources import Source

TYPES = ("counter", "gauge", "histogram", "untyped")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedMetric:
    """One metric of an exporter."""

    name: str
    type: str
    unit: str
    labels: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    """An exporter, as its file describes it."""

    name: str
    title: str
    job: str
    metrics: Mapping[str, ExportedMetric]
    sources: tuple[Source, ...]


@cache
def exporters() -> Mapping[str, Exporter]:
    """All exporters by name.

    Raises:
        CatalogueError: a file says something wrong.
    """
    folder = files("berth_catalogue").joinpath("exporters")
    names = sorted(one.name.removesuffix(".yaml") for one in folder.iterdir() if one.name.endswith(".yaml"))
    return MappingProxyType({name: _exporter(name, load(f"exporters/{name}.yaml")) for name in names})


def _exporter(name: str, top: Entry) -> Exporter:
    sources = tuple(top.sources().values())
    made = Exporter(
        name=name,
        title=top.text("title"),
        job=top.text("job"),
        metrics=MappingProxyType({key: _metric(key, one) for key, one in top.entry("metrics").entries()}),
        sources=sources,
    )
    top.end()
    return made


def _metric(name: str, one: Entry) -> ExportedMetric:
    made = ExportedMetric(
        name=name,
        type=one.text("type", TYPES),
        unit=one.text("unit"),
        labels=one.texts("labels") if one.has("labels") else (),
        text=one.text("text"),
    )
    one.end()
    return made
