"""Exceptions are data: judge, check, exact objects, reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from .errors import JudgeError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .verdict import Finding

JUDGES = ("pod-security", "schemas", "checkov")
_KEYS = {"judge", "check", "reason", "objects", "open"}


@dataclass(frozen=True)
class Excepted:
    """One check that one object of one stack need not pass."""

    judge: str
    check: str
    stack: str
    object: str
    reason: str
    open: bool
    """Whether it waits for an answer from elsewhere, as an image's digest does."""

    def to_json(self) -> dict[str, Any]:
        """What names it."""
        return {"judge": self.judge, "check": self.check, "stack": self.stack, "object": self.object}


@dataclass(frozen=True)
class Exceptions:
    """All of a file."""

    entries: tuple[Excepted, ...] = ()

    def split(
        self, judge: str, found: Iterable[Finding], stacks: Iterable[str]
    ) -> tuple[tuple[Finding, ...], tuple[tuple[Finding, Excepted], ...], tuple[Excepted, ...]]:
        """What is left of ``found``, what is excepted, and exceptions of ``stacks`` that match nothing."""
        ours = {
            (entry.check, entry.stack, entry.object): entry for entry in self.entries if entry.judge == judge
        }
        left: list[Finding] = []
        excepted: list[tuple[Finding, Excepted]] = []
        used = set()
        for finding in sorted(found):
            key = (finding.check, finding.stack, finding.object)
            if key in ours:
                used.add(key)
                excepted.append((finding, ours[key]))
            else:
                left.append(finding)
        wanted = set(stacks)
        stale = tuple(entry for key, entry in ours.items() if key not in used and entry.stack in wanted)
        return tuple(left), tuple(excepted), stale


def read_exceptions(file: Path) -> Exceptions:
    """Read a file of exceptions: a list of `{judge, check, reason, objects: {STACK: [OBJECT, …]}, open}`.

    Raises:
        JudgeError: names the file, the entry, what is wrong and what is allowed.
    """
    try:
        read = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        return Exceptions()
    except yaml.YAMLError as error:
        raise JudgeError(f"{file} is no YAML: {error}") from None
    if read is None:
        return Exceptions()
    if not isinstance(read, list):
        raise JudgeError(f"{file}: a list of exceptions is wanted, not {type(read).__name__}")
    entries: dict[tuple[str, str, str, str], Excepted] = {}
    for index, entry in enumerate(read, 1):
        for one in _entry(f"{file}: exception {index}", entry):
            key = (one.judge, one.check, one.stack, one.object)
            if key in entries:
                raise JudgeError(
                    f"{file}: exception {index}: {one.stack}, {one.object} is excepted from {one.check} twice"
                )
            entries[key] = one
    return Exceptions(tuple(entries.values()))


def _entry(where: str, entry: Any) -> list[Excepted]:
    if not isinstance(entry, dict) or set(entry) - _KEYS or not {"judge", "check", "reason"} <= set(entry):
        raise JudgeError(f"{where}: {{judge, check, reason, objects: {{STACK: [OBJECT, …]}}}} is wanted")
    if entry["judge"] not in JUDGES:
        raise JudgeError(f"{where}: judge {entry['judge']!r} is none of {', '.join(JUDGES)}")
    for key in ("check", "reason"):
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise JudgeError(f"{where}: {key} is to be a text, not {entry[key]!r}")
    if not isinstance(entry.get("open", False), bool):
        raise JudgeError(f"{where}: open is true or false, not {entry['open']!r}")
    objects = entry.get("objects")
    if not isinstance(objects, dict) or not all(
        isinstance(names, list) and names and all(isinstance(name, str) for name in names)
        for names in objects.values()
    ):
        raise JudgeError(f"{where}: objects is to be a map from stacks to lists of objects, not {objects!r}")
    return [
        Excepted(
            entry["judge"],
            entry["check"],
            str(stack),
            name,
            " ".join(entry["reason"].split()),
            entry.get("open", False),
        )
        for stack, names in objects.items()
        for name in names
    ]
