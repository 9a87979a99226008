"""Pages and a Prometheus: what a panel shows, for the servers and the time that were chosen."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from berth.operations.errors import OperationsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .documents import Page, Panel, Target, Variable
    from .prometheus import Prometheus, Series

ALL = ".*"
_POINTS = 240
_LEAST_SCRAPE = 15.0
_MOST_SECONDS = 92 * 24 * 3600
_LONGEST_VALUE, _MOST_VALUES = 253, 100
_SPECIAL = re.compile(r"[\\^$.|?*+(){}\[\]]")
_NAME = re.compile(r"\$(\w+)")


class ChoiceError(OperationsError):
    """A time, a variable or a panel that there is not. The message names it and what is allowed."""


@dataclass(frozen=True, slots=True)
class Window:
    """From when to when, in seconds since 1970.

    Raises:
        ChoiceError: it ends before it begins, or is too long.
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        """Check it."""
        fit = math.isfinite(self.start) and math.isfinite(self.end) and 0 < self.start < self.end
        if not fit or self.end - self.start > _MOST_SECONDS:
            raise ChoiceError(
                f"a time from {self.start:g} to {self.end:g}: it has to begin before it ends, and to be "
                f"{_MOST_SECONDS // 86400} days at most"
            )

    def step(self, scrape_seconds: float) -> float:
        """Seconds between two points: as many as a panel can show, and no more than were scraped."""
        return max(scrape_seconds, math.ceil((self.end - self.start) / _POINTS))

    def on_grid(self, step: float) -> tuple[float, float]:
        """Start and end on multiples of the step, so that a refresh moves no point."""
        return math.floor(self.start / step) * step, math.floor(self.end / step) * step


@dataclass(frozen=True, slots=True)
class Choice:
    """Values of variables; a variable that is left out, or has none, means all."""

    values: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            ChoiceError: a value is no label's value, or there are too many.
        """
        for name, values in self.values.items():
            if len(values) > _MOST_VALUES:
                raise ChoiceError(f"variable {name} has {len(values)} values: {_MOST_VALUES} at most")
            for value in values:
                if len(value) > _LONGEST_VALUE or not value.isprintable():
                    raise ChoiceError(f"variable {name}: a value is longer than a label's, or not printable")

    def pattern(self, name: str) -> str:
        """The regular expression of a variable, quoted for a string of PromQL."""
        values = [value for value in self.values.get(name, ()) if value]
        if not values:
            return ALL
        plain = [_SPECIAL.sub(lambda found: "\\" + found[0], value) for value in values]
        joined = plain[0] if len(plain) == 1 else f"({'|'.join(plain)})"
        return joined.replace("\\", "\\\\").replace('"', '\\"')


@dataclass(frozen=True, slots=True)
class Answer:
    """What one query of a panel gave."""

    target: Target
    series: tuple[Series, ...]

    @property
    def has_value(self) -> bool:
        """Whether there is a number in it."""
        return any(not math.isnan(value) for one in self.series for _, value in one.points)


class Board:
    """Answers for panels of these pages; nothing else is asked of Prometheus."""

    def __init__(
        self, pages: Iterable[Page], prometheus: Prometheus, *, scrape_seconds: float = 15, name: str = ""
    ) -> None:
        """Ask nothing yet.

        Args:
            pages: what `read_pages` gave.
            prometheus: in use already.
            scrape_seconds: how often targets are scraped.
            name: of the stack, for people.
        """
        self.pages = tuple(pages)
        self.name = name
        self.prometheus = prometheus
        self._scrape = scrape_seconds

    def page(self, name: str) -> Page:
        """The page of that name.

        Raises:
            ChoiceError: there is none.
        """
        for page in self.pages:
            if page.name == name:
                return page
        raise ChoiceError(f"no page {name!r}; there are: {', '.join(page.name for page in self.pages)}")

    def panel(self, page: str, number: int) -> Panel:
        """The panel of that number.

        Raises:
            ChoiceError: there is none.
        """
        found = self.page(page).panel(number)
        if found is None:
            raise ChoiceError(f"page {page} has no panel {number}")
        return found

    def values(self, page: str, choice: Choice, window: Window) -> dict[str, list[str]]:
        """What can be chosen for each variable of a page.

        Raises:
            ChoiceError: there is no such page.
            PrometheusError: Prometheus cannot tell.
        """

        def ask(variable: Variable) -> list[str]:
            series = self._filled(variable.series, choice, window)
            return self.prometheus.label_values(series, variable.label, window.start, window.end)

        return {variable.name: ask(variable) for variable in self.page(page).variables}

    def answers(self, panel: Panel, choice: Choice, window: Window) -> list[Answer]:
        """What each query of a panel gives.

        Raises:
            PrometheusError: Prometheus refuses one, or is away.
        """
        return [Answer(one, tuple(self._series(one, choice, window))) for one in panel.targets]

    def is_met(self, panel: Panel, choice: Choice, window: Window) -> bool | None:
        """Whether what a panel needs is there; None where nothing tells.

        Raises:
            PrometheusError: Prometheus refuses it, or is away.
        """
        if not panel.gate:
            return None
        found = self.prometheus.instant(self._filled(panel.gate, choice, window), window.end)
        return any(value > 0 for series in found for _, value in series.points)

    def _series(self, target: Target, choice: Choice, window: Window) -> list[Series]:
        expr = self._filled(target.expr, choice, window)
        if target.instant:
            return self.prometheus.instant(expr, window.end)
        step = window.step(self._scrape)
        start, end = window.on_grid(step)
        return self.prometheus.range(expr, start, end, step)

    def _filled(self, expr: str, choice: Choice, window: Window) -> str:
        step = window.step(self._scrape)
        # As Grafana reckons it: four scrapes at least, so that a rate always has two points; and a minute, as
        # the dashboards ask of Grafana by the least interval of their queries.
        rate = max(step + self._scrape, 4 * max(self._scrape, _LEAST_SCRAPE))
        own = {"__rate_interval": f"{math.ceil(rate)}s", "__interval": f"{math.ceil(step)}s"}
        return _NAME.sub(lambda found: own.get(found[1]) or choice.pattern(found[1]), expr)
