"""What a dashboard is, before it becomes Grafana's JSON: panels with queries, in sections. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from berth_catalogue.engines import engines

from berth_components.monitoring.facts import GATEWAY

if TYPE_CHECKING:
    from collections.abc import Callable

    from berth_components.monitoring.facts import Server


GIVEN: dict[str, tuple[str, Callable[[Server], bool]]] = {
    "priced": ("a server that was told its price per hour", lambda server: server.priced),
    "filtered": ("a server with filters", lambda server: server.filtered),
    "refusals": (
        "a server with a filter of the category refusal on its output",
        lambda server: server.refusals,
    ),
    "tls": ("a server that serves by HTTPS", lambda server: server.tls),
    "kv_cache": (
        "an engine that tells the use of its key-value cache, which llama.cpp and TGI do not",
        lambda server: bool(engines()[server.engine].metrics.get("kv_cache")),
    ),
}
"""What only some servers have, in words, and whether one has it."""


class Kind(StrEnum):
    """How a panel shows its values."""

    LINES = "timeseries"
    NUMBER = "stat"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Query:
    """One expression of PromQL, and what its series are called.

    Attributes:
        expr: PromQL; `$site`, `$model`, `$variant` and `$__rate_interval` are filled in.
        legend: name of a series, with `{{label}}`; in a table, the column's title.
        line: whether it is a limit to compare with, drawn dashed.
    """

    expr: str
    legend: str = ""
    line: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel.

    Attributes:
        title: what it shows, in few words; unique in its dashboard.
        text: what it means and how to read it, in plain words.
        unit: Grafana's name of the values' unit.
        queries: what is asked.
        kind: how the values are shown.
        sources: scrape jobs that its series come from; it is shown where all are deployed.
        needs: what else has to be there for it to have data, in plain words; "" is nothing.
        given: what a server has to have for these series, of `GIVEN`; "" is nothing. Where none has it, the
            panel says so.
        gate: PromQL that yields a value where that is there; "" where nothing tells.
        slo: name of the objective whose threshold is drawn, where one is.
        limits: values above which it turns orange and red; below, where the second is the smaller.
        width: columns of 24.
        stacked: whether lines add up.
    """

    title: str
    text: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Kind = Kind.LINES
    sources: tuple[str, ...] = (GATEWAY,)
    needs: str = ""
    given: str = ""
    gate: str = ""
    slo: str = ""
    limits: tuple[float, float] | None = None
    width: int = 8
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One page.

    Attributes:
        name: of its file, and after `berth-` its uid.
        title: for people.
        text: which questions it answers.
        sections: what is on it.
        variables: of `site`, `model`, `variant`, `router`: those that its queries use.
        source: a scrape job without which the page is not made; "" makes it everywhere.
    """

    name: str
    title: str
    text: str
    sections: tuple[Section, ...]
    variables: tuple[str, ...] = ("site", "model", "variant")
    source: str = ""

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All of its panels, in order."""
        return tuple(panel for section in self.sections for panel in section.panels)
