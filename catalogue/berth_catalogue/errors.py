"""The one error of the catalogue."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class CatalogueError(ValueError):
    """The data are wrong, or lack what was asked for; it names file, key, value and what is allowed."""


def unknown(kind: str, value: str, known: Iterable[str], file: str) -> CatalogueError:
    """The error for a name that the data lack: it lists those that are there, and names the closest."""
    names = sorted(known)
    close = get_close_matches(value.casefold(), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return CatalogueError(f"{kind} {value!r} is not in {file}; {hint}known: {', '.join(names)}")
