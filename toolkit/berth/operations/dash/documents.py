"""Grafana's dashboard JSON, as far as this page draws it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from berth.operations.errors import OperationsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Json = Mapping[str, Any]

GATE = "GATE"
"""Name of the hidden query that tells whether what a panel needs is there."""
_KINDS = ("timeseries", "stat", "table", "text")
_VALUES = re.compile(r"label_values\((?P<series>.*),\s*(?P<label>[a-zA-Z_][a-zA-Z0-9_]*)\s*\)")
_LINES = {"source": "Source: ", "needs": "Needs: "}


class DocumentError(OperationsError):
    """A document is no dashboard that can be drawn; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Target:
    """One query of a panel."""

    ref: str
    expr: str
    legend: str
    instant: bool
    dashed: bool


@dataclass(frozen=True, slots=True)
class Threshold:
    """From which value on a colour counts; None is from the lowest."""

    value: float | None
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel: what is asked and how it is shown."""

    id: int
    title: str
    text: str
    kind: str
    section: str
    unit: str
    width: int
    stacked: bool
    source: str
    needs: str
    gate: str
    content: str
    targets: tuple[Target, ...]
    thresholds: tuple[Threshold, ...]
    draws_thresholds: bool
    links: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice on a page: label values of a series, both of which may depend on other variables."""

    name: str
    title: str
    series: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One dashboard."""

    name: str
    title: str
    text: str
    variables: tuple[Variable, ...]
    panels: tuple[Panel, ...]

    def panel(self, number: int) -> Panel | None:
        """The panel of that number; None where there is none."""
        return next((one for one in self.panels if one.id == number), None)


def read_pages(documents: Mapping[str, Json]) -> tuple[Page, ...]:
    """Read dashboards by file name.

    Raises:
        DocumentError: one has what this page cannot draw.
    """
    return tuple(_page(name, document) for name, document in documents.items())


def _page(name: str, document: Json) -> Page:
    try:
        return Page(
            name=name.removesuffix(".json"),
            title=document["title"],
            text=document.get("description", ""),
            variables=tuple(_variables(document.get("templating", {}).get("list", []), name)),
            panels=tuple(_panels(document["panels"], name)),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DocumentError(f"{name} is no dashboard that can be drawn: {error!r}") from error


def _variables(entries: Iterable[Json], where: str) -> Iterable[Variable]:
    for entry in entries:
        if entry["type"] == "datasource":
            continue
        found = _VALUES.fullmatch(str(entry.get("query", ""))) if entry["type"] == "query" else None
        if found is None:
            raise DocumentError(f"{where}: variable {entry['name']} is no label_values(series, label)")
        yield Variable(entry["name"], entry.get("label") or entry["name"], found["series"], found["label"])


def _panels(entries: Iterable[Json], where: str) -> Iterable[Panel]:
    section = ""
    for entry in entries:
        if entry["type"] == "row":
            section = entry["title"]
        elif entry["type"] in _KINDS:
            yield _panel(entry, section)
        else:
            raise DocumentError(
                f"{where}: panel {entry.get('title')!r} is a {entry['type']}; "
                f"this page draws {', '.join(_KINDS)}"
            )


def _panel(entry: Json, section: str) -> Panel:
    said, source, needs = _description(entry.get("description", ""))
    config = entry.get("fieldConfig", {})
    defaults = config.get("defaults", {})
    custom = defaults.get("custom", {})
    dashed = _dashed(config.get("overrides", []))
    targets = entry.get("targets", [])
    return Panel(
        id=entry["id"],
        title=entry["title"],
        text=said,
        kind=entry["type"],
        section=section,
        unit=defaults.get("unit", "short"),
        width=entry["gridPos"]["w"],
        stacked=custom.get("stacking", {}).get("mode") == "normal",
        source=source,
        needs=needs,
        gate=next((one["expr"] for one in targets if one["refId"] == GATE), ""),
        content=entry.get("options", {}).get("content", ""),
        targets=tuple(
            Target(
                one["refId"],
                one["expr"],
                one.get("legendFormat", ""),
                bool(one.get("instant")),
                one["refId"] in dashed,
            )
            for one in targets
            if one["refId"] != GATE
        ),
        thresholds=tuple(
            Threshold(step.get("value"), step["color"])
            for step in defaults.get("thresholds", {}).get("steps", [])
        ),
        draws_thresholds=custom.get("thresholdsStyle", {}).get("mode", "off") != "off",
        links=tuple((one["title"], one["url"]) for one in entry.get("links", [])),
    )


def _description(text: str) -> tuple[str, str, str]:
    """What a panel says, its source, and what it needs: lines of their own at the end."""
    found = dict.fromkeys(_LINES, "")
    rest = []
    for block in text.split("\n\n"):
        key = next((key for key, start in _LINES.items() if block.startswith(start)), "")
        if key:
            found[key] = block.removeprefix(_LINES[key]).removesuffix(".")
        else:
            rest.append(block)
    return "\n\n".join(rest), found["source"], found["needs"]


def _dashed(overrides: Iterable[Json]) -> set[str]:
    return {
        one["matcher"]["options"]
        for one in overrides
        if one["matcher"]["id"] == "byFrameRefID"
        and any(
            each["id"] == "custom.lineStyle" and each["value"]["fill"] == "dash" for each in one["properties"]
        )
    }
