"""One burst as a picture (SVG): what waited, what ran, and when each link moved. Readable without colour."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .measured import BACK, LINKS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .measured import Burst
    from .watch import Sample

_WIDTH, _LEFT, _RIGHT = 960, 230, 24
_PLOT, _ROW, _TOP = 90, 20, 64
_STEPS, _MARKS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 3600), 12
_ROOM = 70
"""For a bar's figure after it."""
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#111}.small{font-size:11px;fill:#444}"
    ".axis{stroke:#999;stroke-width:1}.grid{stroke:#ddd;stroke-width:1}.line{fill:none;stroke:#111;stroke-width:2}"
    ".area{fill:#d9e3f0;stroke:#4a6fa5;stroke-width:1.5}.bar{fill:#4a6fa5}.back{fill:#fff;stroke:#4a6fa5;stroke-width:1.5}"
)


def picture(burst: Burst, title: str) -> str:
    """The timeline of a burst.

    Args:
        burst: what was seen.
        title: above it.
    """
    end = max(1.0, max((one.at for one in burst.samples), default=burst.ended) - burst.began)
    rows = _rows(burst)
    height = _TOP + 3 * (_PLOT + 30) + 30 + _ROW * len(rows) + 50

    def x(seconds: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * seconds / end

    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
            f'aria-label="{escape(title)}"><style>{_STYLE}</style>'
        ),
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="24" style="font-size:16px">{escape(title)}</text>',
        (
            f'<text x="{_LEFT}" y="44" class="small">seconds from the first request of burst {burst.number}; '
            "nodes are simulated: sandboxes of one machine</text>"
        ),
    ]
    top = _TOP
    for name, value in _PLOTS:
        parts += _plot(name, [(one.at - burst.began, value(one)) for one in burst.samples], x, top)
        top += _PLOT + 30
    bottom = top + _ROW * len(rows)
    parts += _seconds(end, x, _TOP, bottom)
    for number, (label, since, at, is_back) in enumerate(rows):
        parts += _bar(label, since, at, x, top + number * _ROW, is_back=is_back)
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


_PLOTS: tuple[tuple[str, Callable[[Sample], int | None]], ...] = (
    ("requests waiting", lambda one: one.queue),
    ("replicas Ready", lambda one: one.ready),
    ("new nodes Ready", lambda one: one.nodes),
)


def _rows(burst: Burst) -> list[tuple[str, float, float, bool]]:
    """Label, from when, until when, and whether it belongs to the way back."""
    rows = []
    for _, event, meaning in LINKS:
        if (at := burst.seconds(event)) is not None:
            rows.append((meaning, 0.0, at, False))
    rows.sort(key=lambda row: row[2])
    ended = burst.ended - burst.began
    for _, event, meaning in BACK:
        if (at := burst.seconds(event, burst.ended)) is not None:
            rows.append((meaning, ended, ended + at, True))
    return rows


def _plot(
    name: str, points: Sequence[tuple[float, int | None]], x: Callable[[float], float], top: int
) -> list[str]:
    known = [(at, value) for at, value in points if value is not None]
    most = max((value for _, value in known), default=0) or 1
    base = top + _PLOT

    def y(value: float) -> float:
        return base - (_PLOT - 12) * value / most

    parts = [
        f'<text x="{_LEFT - 12}" y="{base - _PLOT / 2 + 4}" text-anchor="end">{escape(name)}</text>',
        f'<text x="{_LEFT - 12}" y="{y(most) + 4}" text-anchor="end" class="small">{most}</text>',
        f'<line x1="{_LEFT}" y1="{base}" x2="{_WIDTH - _RIGHT}" y2="{base}" class="axis"/>',
    ]
    if known:
        steps = [f"M{x(known[0][0]):.1f},{base}"]
        last = 0.0
        for at, value in known:
            steps.append(f"L{x(at):.1f},{y(last):.1f}L{x(at):.1f},{y(value):.1f}")
            last = value
        steps.append(f"L{x(known[-1][0]):.1f},{base}Z")
        parts.append(f'<path d="{"".join(steps)}" class="area"/>')
    return parts


def _seconds(end: float, x: Callable[[float], float], top: int, bottom: int) -> list[str]:
    step = next((one for one in _STEPS if end / one <= _MARKS), _STEPS[-1])
    parts = []
    for mark in range(0, int(end) + 1, step):
        parts.append(f'<line x1="{x(mark):.1f}" y1="{top}" x2="{x(mark):.1f}" y2="{bottom}" class="grid"/>')
        parts.append(
            f'<text x="{x(mark):.1f}" y="{bottom + 16}" text-anchor="middle" class="small">{mark} s</text>'
        )
    return parts


def _bar(
    label: str, since: float, until: float, x: Callable[[float], float], top: int, *, is_back: bool
) -> list[str]:
    shape = "back" if is_back else "bar"
    width = max(2.0, x(until) - x(since))
    after = x(since) + width + 6
    fits = after < _WIDTH - _ROOM
    anchor, place = ("start", after) if fits else ("end", x(since) - 6)
    seconds = f"{until - since:.1f} s"
    return [
        f'<text x="{_LEFT - 12}" y="{top + 14}" text-anchor="end">{escape(label)}</text>',
        f'<rect x="{x(since):.1f}" y="{top + 4}" width="{width:.1f}" height="{_ROW - 8}" class="{shape}"/>',
        f'<text x="{place:.1f}" y="{top + 14}" text-anchor="{anchor}" class="small">{seconds}</text>',
    ]
