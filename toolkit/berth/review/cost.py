"""What a change costs, from what the stacks' plans say; US dollars an hour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .model import Resource

TYPE = "berth:stacks:Environment"
"""The resource in which our stacks say it."""
_FEWEST, _PLANNED, _MOST = "usdPerHourFewest", "usdPerHourPlanned", "usdPerHourMost"
_LOCAL = "local"


def in_words(before: Iterable[Resource] | None, after: Iterable[Resource]) -> str:
    """What a stack costs, and by how much that differs; "" where it rents nothing or does not say.

    Args:
        before: its resources; None where they are not known.
        after: its resources as planned.
    """
    now = _figures(after)
    if now is None:
        return ""
    then = _figures(before) if before is not None else None
    if not _is_known(now):
        was = f", was {_span(then)}" if then is not None and _is_known(then) else ""
        return f"unknown{was}"
    text = _span(now)
    if then is None:
        return text
    if not _is_known(then):
        return f"{text}, was unknown"
    changes = [_difference(name, then[key], now[key]) for name, key in _EXTREMES if now[key] != then[key]]
    return f"{text}, {' and '.join(changes)}" if changes else f"{text}, as before"


_EXTREMES = (("fewest", _FEWEST), ("most", _MOST))


def _figures(resources: Iterable[Resource]) -> Mapping[str, Any] | None:
    for one in resources:
        if one.type == TYPE:
            if one.inputs.get("environment") == _LOCAL:
                return None
            found = one.inputs.get("cost")
            return found if isinstance(found, dict) else {}
    return None


def _is_known(figures: Mapping[str, Any]) -> bool:
    return all(isinstance(figures.get(key), int | float) for _, key in _EXTREMES)


def _span(figures: Mapping[str, Any]) -> str:
    planned = figures.get(_PLANNED)
    middle = f" (planned {planned:,.2f})" if isinstance(planned, int | float) else ""
    fewest, most = figures[_FEWEST], figures[_MOST]
    return f"{fewest:,.2f}{'' if fewest == most else f' to {most:,.2f}'} USD/h{middle}"


def _difference(name: str, before: float, after: float) -> str:
    return f"{after - before:+,.2f} at the {name}"
