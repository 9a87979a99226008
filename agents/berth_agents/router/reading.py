"""Reads mappings strictly: every error names the place, the value and what is allowed."""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from berth_agents.errors import SettingsError

T = TypeVar("T")


class DocumentError(SettingsError):
    """A document says something that it may not say."""


def parsed(text: str, what: str = "the document") -> object:
    """What is in a JSON text.

    Raises:
        DocumentError: it is not JSON, or a key is there twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{what} is not JSON: {error}") from error


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


class Section:
    """One mapping of the document; `end` refuses what nobody asked for."""

    def __init__(self, value: object, where: str) -> None:
        self.where = where
        if not isinstance(value, Mapping):
            raise self.refuse("", value, "a mapping")
        self._left: dict[str, Any] = {str(key): item for key, item in value.items()}
        self._known: list[str] = []

    def refuse(self, key: str, value: object, allowed: str) -> DocumentError:
        """The error for a value."""
        where = ".".join(part for part in (self.where, key) if part) or "the document"
        return DocumentError(f"{where} is {value!r}; it must be {allowed}")

    def has(self, key: str) -> bool:
        """Whether the key is given."""
        self._known.append(key)
        return key in self._left

    def take(self, key: str, default: object = None) -> Any:
        """The value as it is.

        Raises:
            DocumentError: it is missing, and there is no default.
        """
        self._known.append(key)
        if key not in self._left and default is None:
            raise DocumentError(f"{self.where + '.' if self.where else ''}{key} is missing")
        return self._left.pop(key, default)

    def text(self, key: str, default: str | None = None, *, allowed: Sequence[str] = ()) -> str:
        """A string that is not empty, or one of some words."""
        value = self.take(key, default)
        if not isinstance(value, str) or not value or (allowed and value not in allowed):
            raise self.refuse(key, value, "one of " + ", ".join(allowed) if allowed else "a string")
        return value

    def maybe(self, key: str) -> Any:
        """The value as it is, or None where it is absent or null."""
        self._known.append(key)
        return self._left.pop(key, None)

    def whole(self, key: str, lowest: int, highest: int, default: int | None = None) -> int:
        """A whole number within limits, both included."""
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise self.refuse(key, value, f"a whole number from {lowest} to {highest}")
        return value

    def number(self, key: str, lowest: float, highest: float, default: float | None = None) -> float:
        """A number within limits, both included."""
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= highest:
            raise self.refuse(key, value, f"a number from {lowest:g} to {highest:g}")
        return float(value)

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise self.refuse(key, value, "true or false")
        return value

    def section(self, key: str) -> "Section":
        """A mapping in it; an empty one where it is absent."""
        return Section(self.take(key, {}), self._place(key))

    def entries(self, key: str) -> dict[str, "Section"]:
        """The mappings in it, by name; none where it is absent."""
        return {
            name: Section(value, f"{self._place(key)}.{name}") for name, value in self.mapping(key).items()
        }

    def items(self, key: str, read: Callable[[object, str], T]) -> tuple[T, ...]:
        """A list, each item read; an empty one where it is absent."""
        value = self.take(key, [])
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise self.refuse(key, value, "a list")
        return tuple(read(item, f"{self._place(key)}[{i}]") for i, item in enumerate(value))

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; an empty one where it is absent."""
        value = self.take(key, [])
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise self.refuse(key, value, "a list of strings")
        if not all(isinstance(item, str) and item for item in value):
            raise self.refuse(key, value, "a list of strings")
        return tuple(value)

    def mapping(self, key: str) -> dict[str, Any]:
        """A mapping whose values are read elsewhere; an empty one where it is absent."""
        value = self.take(key, {})
        if not isinstance(value, Mapping):
            raise self.refuse(key, value, "a mapping")
        return {str(name): item for name, item in value.items()}

    def end(self) -> None:
        """Nothing else is allowed.

        Raises:
            DocumentError: there is something else.
        """
        for key in self._left:
            near = difflib.get_close_matches(key, self._known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"allowed are {', '.join(sorted(self._known))}"
            raise DocumentError(f"{self._place(key)} does not exist; {hint}")

    def _place(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key
