"""Reads the catalogue's data files strictly: what nobody asks for is refused."""

from __future__ import annotations

from datetime import date
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import yaml

from berth_catalogue.errors import CatalogueError, unknown
from berth_catalogue.sources import Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def load(file: str) -> Entry:
    """A YAML file of this package, as one entry.

    Raises:
        CatalogueError: the file is no mapping.
    """
    # The C loader where PyYAML has it: programs read this while they are planned.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = (files("berth_catalogue") / file).read_text("utf-8")
    return Entry(file, "", yaml.load(text, Loader=loader))  # noqa: S506 - a safe loader, see above


class Entry:
    """One mapping of a file. ``end`` refuses the keys that were not read."""

    def __init__(self, file: str, where: str, value: object) -> None:
        if not isinstance(value, dict):
            raise CatalogueError(f"{file}: {where or 'the file'}: must be a mapping, got {value!r}")
        self.file = file
        self._where = where
        self._left: dict[str, Any] = {str(key): item for key, item in value.items()}
        self._all = tuple(self._left)

    def text(self, key: str, allowed: tuple[str, ...] | None = None) -> str:
        """A text, of those that are allowed."""
        value = self._take(key)
        if not isinstance(value, str) or not value:
            raise self.wrong(key, value, "a text that is not empty (quote numbers and dates)")
        if allowed is not None and value not in allowed:
            raise self.wrong(key, value, f"one of {', '.join(allowed)}")
        return value

    def maybe_text(self, key: str) -> str | None:
        """A text, or nothing where the key is left out."""
        return self.text(key) if self.has(key) else None

    def whole(self, key: str, least: int = 1) -> int:
        """A whole number."""
        value = self._take(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.wrong(key, value, f"a whole number from {least}")
        return value

    def maybe_whole(self, key: str, least: int = 1) -> int | None:
        """A whole number, or nothing where the key is left out."""
        return self.whole(key, least) if self.has(key) else None

    def number(self, key: str) -> float:
        """A number above zero."""
        value = self._take(key)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
            raise self.wrong(key, value, "a number above 0")
        return float(value)

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """So many numbers above zero."""
        value = self._take(key)
        if (
            not isinstance(value, list)
            or len(value) != count
            or not all(
                isinstance(one, (int, float)) and not isinstance(one, bool) and one > 0 for one in value
            )
        ):
            raise self.wrong(key, value, f"a list of {count} numbers above 0")
        return tuple(map(float, value))

    def texts(self, key: str, allowed: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of different texts, of those that are allowed."""
        value = self._take(key)
        if (
            not isinstance(value, list)
            or not all(isinstance(item, str) and item for item in value)
            or len(set(value)) != len(value)
        ):
            raise self.wrong(key, value, "a list of different texts")
        if allowed is not None and not set(value) <= set(allowed):
            raise self.wrong(key, value, f"a list of {', '.join(allowed)}")
        return tuple(value)

    def entry(self, key: str) -> Entry:
        """A mapping inside this one."""
        return Entry(self.file, self._path(key), self._take(key))

    def list_of_entries(self, key: str) -> tuple[Entry, ...]:
        """A list of mappings."""
        value = self._take(key)
        if not isinstance(value, list):
            raise self.wrong(key, value, "a list of mappings")
        return tuple(
            Entry(self.file, f"{self._path(key)}[{number}]", one) for number, one in enumerate(value)
        )

    def day(self, key: str) -> date:
        """A day, as year-month-day."""
        value = self.text(key)
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise self.wrong(key, value, "a day as year-month-day") from None

    def maybe_day(self, key: str) -> date | None:
        """A day, or nothing where the key is left out."""
        return self.day(key) if self.has(key) else None

    def has(self, key: str) -> bool:
        """Whether the key is there and not read yet."""
        return key in self._left

    def keys(self) -> tuple[str, ...]:
        """The keys that are left."""
        return tuple(self._left)

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """The keys that are left with their mappings."""
        for key in self.keys():
            yield key, self.entry(key)

    def cited(self, table: Mapping[str, Source]) -> tuple[Source, ...]:
        """This entry's sources, by their keys in the file's table."""
        keys = self.texts("sources")
        if not keys:
            raise self.wrong("sources", [], "a list of at least one: every figure has a source and a date")
        for key in keys:
            if key not in table:
                raise unknown(f"{self._path('sources')}: source", key, table, f"{self.file}: sources")
        return tuple(table[key] for key in keys)

    def sources(self) -> dict[str, Source]:
        """The file's table of sources, by key."""
        return {key: _source(one) for key, one in self.entry("sources").entries()}

    def end(self) -> None:
        """Refuse what was not read."""
        if self._left:
            names = ", ".join(self._path(key) for key in self._left)
            known = ", ".join(key for key in self._all if key not in self._left)
            raise CatalogueError(f"{self.file}: unknown keys: {names}; known here: {known}")

    def wrong(self, key: str, value: object, allowed: str) -> CatalogueError:
        """The error for a value of this entry."""
        return CatalogueError(f"{self.file}: {self._path(key)}: must be {allowed}, got {value!r}")

    def _path(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key

    def _take(self, key: str) -> object:
        if key not in self._left:
            raise CatalogueError(f"{self.file}: {self._path(key)} is missing")
        return self._left.pop(key)


def _source(one: Entry) -> Source:
    source = Source(what=one.text("what"), origin=one.text("from"), read=one.day("read").isoformat())
    one.end()
    return source
