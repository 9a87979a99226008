"""Which panels have data, which have none, and which wait for something that is not there."""

from __future__ import annotations

import enum
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .board import Choice
from .prometheus import PrometheusError

if TYPE_CHECKING:
    from .board import Board, Window
    from .documents import Page, Panel

_AT_ONCE = 4


class State(enum.StrEnum):
    """What became of a panel."""

    DATA = "data"
    EMPTY = "no data"
    WAITS = "waits"
    NO_SOURCE = "no source"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """A panel, and whether it shows something.

    Attributes:
        page: its page's name.
        panel: its title.
        state: what became of it; EMPTY and ERROR are defects.
        reason: why it shows nothing; "" where it does.
    """

    page: str
    panel: str
    state: State
    reason: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether it ought to show something and does not."""
        return self.state in {State.EMPTY, State.ERROR}


def examine(board: Board, window: Window) -> list[Finding]:
    """Ask every query of every panel, and say of each panel what it shows."""
    panels = [(page, panel) for page in board.pages for panel in page.panels]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda pair: _finding(board, pair[0], pair[1], window), panels))


def _finding(board: Board, page: Page, panel: Panel, window: Window) -> Finding:
    if panel.kind == "text":
        first = (
            panel.content.split("\n", 1)[0].replace("*", "").replace("`", "").removeprefix("Not shown here. ")
        )
        return Finding(page.name, panel.title, State.NO_SOURCE, first)
    try:
        found = board.answers(panel, Choice(), window)
        # A dashed line is a limit or a baseline: one that nobody stated is no lack.
        silent = [each.target.legend for each in found if not each.target.dashed and not each.has_value]
        # A cell of a table may be empty: an idle server has no latency. The table may not.
        if not silent or (panel.kind == "table" and len(silent) < len(found)):
            return Finding(page.name, panel.title, State.DATA)
        if board.is_met(panel, Choice(), window) is False:
            return Finding(page.name, panel.title, State.WAITS, f"needs {panel.needs}")
    except PrometheusError as error:
        return Finding(page.name, panel.title, State.ERROR, str(error))
    reason = f"nothing from {panel.source or 'its source'} for {', '.join(silent)}"
    return Finding(page.name, panel.title, State.EMPTY, reason)
