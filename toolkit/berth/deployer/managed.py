"""Who wrote which field of a live object, as its managed fields say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .values import Path


@dataclass(frozen=True, order=True)
class Writer:
    """One field manager's entry.

    Attributes:
        manager: its name, for example `kubectl-edit`.
        operation: `Apply` or `Update`.
        time: when it last wrote, as the API server has it, to a second; empty where it does not say.
        subresource: `status`, `scale`, or nothing.
    """

    manager: str
    operation: str = ""
    time: str = ""
    subresource: str = ""

    def to_json(self) -> dict[str, str]:
        """The entry as plain values."""
        return {
            "manager": self.manager,
            "operation": self.operation,
            "time": self.time,
            "subresource": self.subresource,
        }


@dataclass(frozen=True)
class Entry:
    """What one writer owns: the paths, in the live object, of its leaves and of the items that it made."""

    writer: Writer
    paths: frozenset[Path] = field(default_factory=frozenset)

    def holds(self, path: Path) -> bool:
        """Whether it owns the path, something above it, or something below it."""
        return any(_related(path, own) for own in self.paths)


def _related(one: Path, other: Path) -> bool:
    length = min(len(one), len(other))
    return one[:length] == other[:length]


def entries(live: Mapping[str, Any]) -> list[Entry]:
    """Every entry of the managed fields whose format is known, the oldest first."""
    found = [
        Entry(
            Writer(
                str(raw.get("manager") or "unknown"),
                str(raw.get("operation") or ""),
                str(raw.get("time") or ""),
                str(raw.get("subresource") or ""),
            ),
            frozenset(_paths(raw.get("fieldsV1") or {}, live, ())),
        )
        for raw in live["metadata"].get("managedFields") or []
        if raw.get("fieldsType", "FieldsV1") == "FieldsV1"
    ]
    return sorted(found, key=lambda entry: (entry.writer.time, entry.writer))


def _paths(fields: Mapping[str, Any], value: Any, path: Path) -> Iterator[Path]:
    """The concrete paths of a set of fields; what is no longer in the object is left out."""
    for key, below in fields.items():
        if key == ".":
            yield path
            continue
        part = _part(key, value)
        if part is None:
            continue
        here: Path = (*path, part)
        if below:
            yield from _paths(below, value[part], here)
        else:
            yield here


def _part(key: str, value: Any) -> str | int | None:
    """The key or index that one element of a path means in the value; None where it has none."""
    sort, _, text = key.partition(":")
    if sort == "f":
        return text if isinstance(value, Mapping) and text in value else None
    if not isinstance(value, list):
        return None
    if sort == "i":
        return int(text) if int(text) < len(value) else None
    wanted = json.loads(text)
    matches = (
        (lambda item: item == wanted)
        if sort == "v"
        else (lambda item: isinstance(item, Mapping) and _has_keys(item, wanted))
    )
    return next((index for index, item in enumerate(value) if matches(item)), None)


def _has_keys(item: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(item.get(name) == value for name, value in wanted.items())


def topmost(paths: Iterable[Path], kept: Iterable[Path]) -> list[Path]:
    """The paths without those below another one of them; none that has a kept path at or below it counts."""
    above = {other[:length] for other in kept for length in range(len(other) + 1)}
    found: set[Path] = set()
    for path in sorted(set(paths) - above, key=len):
        if not any(path[:length] in found for length in range(len(path))):
            found.add(path)
    return sorted(found, key=lambda path: [str(part) for part in path])


def at(value: Any, path: Path) -> Any:
    """What stands at a path; None where nothing does."""
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value
