"""A drill as a picture (SVG): share, latency, queue and cost by site over time. Readable without colour."""

from collections.abc import Callable, Iterator, Sequence
from html import escape

from berth.operations.drill.report import Drilled
from berth.operations.drill.timeline import Second

_WIDTH, _LEFT, _RIGHT, _TOP = 960, 170, 24, 92
_PLOT, _GAP = 92, 34
_STEPS, _MARKS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 3600), 12
# By site, in order of preference: colour, and dashes for who sees none.
_LINES = (("#2f5d9b", ""), ("#c2571a", "7 4"), ("#3f7d4e", "2 3"), ("#7a4a9e", "9 3 2 3"))
_WRONG = (("failed", "#a11"), ("cut", "#c2571a"), ("refused", "#999"))
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#111}.small{font-size:11px;fill:#444}"
    ".axis{stroke:#999;stroke-width:1}.grid{stroke:#ddd;stroke-width:1}.line{fill:none;stroke-width:2}"
    ".cap{stroke:#a11;stroke-width:1.5;stroke-dasharray:3 3}.fault{fill:#f6e3e3}"
)
Point = tuple[float, float | None]


def picture(drilled: Drilled) -> str:
    """The timeline of a drill."""
    seconds = drilled.seconds
    end = max(1.0, float(len(seconds)))
    sites = drilled.ground.sites
    plots: list[tuple[str, str, list[list[Point]], float | None]] = [
        (
            "share of answers",
            "%",
            [_points(seconds, _share(site.backend)) for site in sites],
            None,
        ),
        (
            "weights",
            "%",
            [_points(seconds, _weight(site.name)) for site in sites],
            None,
        ),
        ("latency, p50", "s", [_points(seconds, _latency(site.backend)) for site in sites], None),
        ("requests waiting", "", [_points(seconds, _waiting(site.name)) for site in sites], None),
        (
            "dollars per hour",
            "$",
            [_points(seconds, _dollars(site.name)) for site in sites],
            drilled.ground.cost_cap_per_hour,
        ),
    ]
    height = _TOP + (len(plots) + 1) * (_PLOT + _GAP) + 30

    def x(at: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * at / end

    title = f"{drilled.settings.fault} of {drilled.settings.site}, stack {drilled.ground.stack}"
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
            f'aria-label="{escape(title)}"><style>{_STYLE}</style>'
        ),
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="24" style="font-size:16px">{escape(title)}</text>',
        f'<text x="{_LEFT}" y="42" class="small">{escape(_subtitle(drilled))}</text>',
        *_legend(drilled),
    ]
    bottom = height - 30 - _GAP
    parts += _band(drilled, x, bottom)
    parts += _grid(end, x, bottom)
    top = _TOP
    for name, unit, lines, cap in plots:
        parts += _plot((name, unit), lines, x, top, cap)
        top += _PLOT + _GAP
    parts += _wrong(seconds, x, top)
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _subtitle(drilled: Drilled) -> str:
    simulated = f"; {drilled.ground.simulated}" if drilled.ground.simulated else ""
    return f"{drilled.started_at:%Y-%m-%d %H:%M} UTC, seconds from the beginning{simulated}"


def _points(seconds: Sequence[Second], value: Callable[[Second], float | None]) -> list[Point]:
    return [(float(one.at), value(one)) for one in seconds]


def _share(backend: str) -> Callable[[Second], float | None]:
    def value(one: Second) -> float | None:
        share = one.share(backend)
        return None if share is None else 100 * share

    return value


def _weight(site: str) -> Callable[[Second], float | None]:
    return lambda one: None if one.weights is None else one.weights.get(site, 0.0)


def _latency(backend: str) -> Callable[[Second], float | None]:
    return lambda one: one.backends[backend].p50 if backend in one.backends else None


def _waiting(site: str) -> Callable[[Second], float | None]:
    def value(one: Second) -> float | None:
        seen = one.sites.get(site)
        return None if seen is None else float(seen.waiting)

    return value


def _dollars(site: str) -> Callable[[Second], float | None]:
    return lambda one: one.dollars.get(site, 0.0)


def _style(number: int) -> str:
    colour, dashes = _LINES[number % len(_LINES)]
    return f'stroke="{colour}"' + (f' stroke-dasharray="{dashes}"' if dashes else "")


def _legend(drilled: Drilled) -> Iterator[str]:
    at = _LEFT
    for number, site in enumerate(drilled.ground.sites):
        price = site.cost_per_replica_hour
        text = f"{site.name} ({'price unknown' if price is None else f'{price:g} dollars per replica hour'})"
        yield f'<line x1="{at}" y1="60" x2="{at + 34}" y2="60" class="line" {_style(number)}/>'
        yield f'<text x="{at + 40}" y="64" class="small">{escape(text)}</text>'
        at += 60 + 7 * len(text)


def _band(drilled: Drilled, x: Callable[[float], float], bottom: int) -> Iterator[str]:
    """The fault as a band, and the name of each phase above it."""
    record, began = drilled.record, drilled.began
    for phase in record.phases:
        left, right = x(max(0.0, phase.began - began)), x(phase.ended - began)
        if phase.name == "fault":
            yield (
                f'<rect x="{left:.1f}" y="{_TOP - 6}" width="{max(1.0, right - left):.1f}" '
                f'height="{bottom - _TOP + 6}" class="fault"/>'
            )
        yield f'<line x1="{left:.1f}" y1="{_TOP - 14}" x2="{left:.1f}" y2="{bottom}" class="axis"/>'
        yield f'<text x="{left + 3:.1f}" y="{_TOP - 9}" class="small">{escape(phase.name)}</text>'


def _grid(end: float, x: Callable[[float], float], bottom: int) -> Iterator[str]:
    step = next((one for one in _STEPS if end / one <= _MARKS), _STEPS[-1])
    for mark in range(0, int(end) + 1, step):
        yield f'<line x1="{x(mark):.1f}" y1="{_TOP}" x2="{x(mark):.1f}" y2="{bottom}" class="grid"/>'
        yield f'<text x="{x(mark):.1f}" y="{bottom + 16}" text-anchor="middle" class="small">{mark} s</text>'


def _plot(
    title: tuple[str, str],
    lines: Sequence[Sequence[Point]],
    x: Callable[[float], float],
    top: int,
    cap: float | None,
) -> Iterator[str]:
    known = [value for line in lines for _, value in line if value is not None]
    most = max([*known, cap or 0.0, 0.001])
    base = top + _PLOT

    def y(value: float) -> float:
        return base - (_PLOT - 14) * value / most

    name, unit = title
    yield f'<text x="{_LEFT - 12}" y="{base - _PLOT / 2 + 4}" text-anchor="end">{escape(name)}</text>'
    yield (
        f'<text x="{_LEFT - 12}" y="{y(most) + 4:.1f}" text-anchor="end" class="small">'
        f"{most:.3g} {escape(unit)}</text>"
    )
    yield f'<line x1="{_LEFT}" y1="{base}" x2="{_WIDTH - _RIGHT}" y2="{base}" class="axis"/>'
    if cap is not None:
        yield f'<line x1="{_LEFT}" y1="{y(cap):.1f}" x2="{_WIDTH - _RIGHT}" y2="{y(cap):.1f}" class="cap"/>'
        yield (
            f'<text x="{_WIDTH - _RIGHT}" y="{y(cap) - 3:.1f}" text-anchor="end" class="small">'
            f"cap {cap:g}</text>"
        )
    for number, line in enumerate(lines):
        if path := "".join(_path(line, x, y)):
            yield f'<path d="{path}" class="line" {_style(number)}/>'


def _path(line: Sequence[Point], x: Callable[[float], float], y: Callable[[float], float]) -> Iterator[str]:
    """Steps; a gap where nothing is known."""
    pen = "M"
    for at, value in line:
        if value is None:
            pen = "M"
            continue
        yield f"{pen}{x(at):.1f},{y(value):.1f}H{x(at + 1):.1f}"
        pen = "L"


def _wrong(seconds: Sequence[Second], x: Callable[[float], float], top: int) -> Iterator[str]:
    """Requests that were not answered whole, as bars."""
    most = max((sum(one.results[name] for name, _ in _WRONG) for one in seconds), default=0) or 1
    base = top + _PLOT
    yield f'<text x="{_LEFT - 12}" y="{base - _PLOT / 2 - 6}" text-anchor="end">failed, cut,</text>'
    yield f'<text x="{_LEFT - 12}" y="{base - _PLOT / 2 + 10}" text-anchor="end">refused (429)</text>'
    yield f'<text x="{_LEFT - 12}" y="{top + 18}" text-anchor="end" class="small">{most}</text>'
    yield f'<line x1="{_LEFT}" y1="{base}" x2="{_WIDTH - _RIGHT}" y2="{base}" class="axis"/>'
    at = _LEFT
    for name, colour in _WRONG:
        total = sum(one.results[name] for one in seconds)
        yield f'<rect x="{at}" y="{top - 2}" width="10" height="10" fill="{colour}"/>'
        yield f'<text x="{at + 14}" y="{top + 7}" class="small">{name}: {total}</text>'
        at += 110
    for one in seconds:
        under = float(base)
        for name, colour in _WRONG:
            if number := one.results[name]:
                size = (_PLOT - 24) * number / most
                under -= size
                width = max(1.0, x(1) - x(0) - 0.5)
                yield (
                    f'<rect x="{x(one.at):.1f}" y="{under:.1f}" width="{width:.1f}" height="{size:.1f}" '
                    f'fill="{colour}"/>'
                )
