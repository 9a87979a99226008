"""Exceptions to rules: data that names object, rule, reason, who answers for it, and the last day."""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

FILE = "exceptions.yaml"


class ExceptionsError(ValueError):
    """The file of exceptions is wrong; the message names file, entry, key, value and what is allowed."""


@dataclass(frozen=True)
class Exemption:
    """One exception.

    Attributes:
        rule: the rule's name.
        stack: the stack's name.
        object: the exact URN.
        reason: why this object cannot follow the rule, and what protects it instead.
        owner: who answers for it.
        expires: the last day on which it counts, UTC.
    """

    rule: str
    stack: str
    object: str
    reason: str
    owner: str
    expires: dt.date

    def expired(self, today: dt.date) -> bool:
        """Whether its last day is over."""
        return today > self.expires


def read(file: Path) -> tuple[Exemption, ...]:
    """The exceptions of a file; none where there is no such file.

    Raises:
        ExceptionsError: the file is wrong.
    """
    if not file.is_file():
        return ()
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ExceptionsError(f"{file.name} is no YAML: {error}") from error
    if entries is None:
        return ()
    if not isinstance(entries, list):
        raise ExceptionsError(f"{file.name} holds {type(entries).__name__}; allowed: a list of exceptions")
    found = tuple(_read(f"{file.name}: entry {number}", entry) for number, entry in enumerate(entries, 1))
    if len({(one.rule, one.stack, one.object) for one in found}) < len(found):
        raise ExceptionsError(f"{file.name} has two exceptions of one rule for one object; keep one")
    return found


def _read(where: str, entry: object) -> Exemption:
    wanted = [field.name for field in fields(Exemption)]
    if not isinstance(entry, Mapping) or set(entry) != set(wanted):
        given = ", ".join(map(str, entry)) if isinstance(entry, Mapping) else repr(entry)
        raise ExceptionsError(f"{where} has {given}; allowed: exactly the keys {', '.join(wanted)}")
    return Exemption(**dict(_checked(where, entry)))


def _checked(where: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in entry.items():
        if key == "expires":
            if isinstance(value, dt.datetime) or not isinstance(value, dt.date):
                raise ExceptionsError(f"{where}: expires is {value!r}; allowed: a day such as 2027-03-31")
        elif not isinstance(value, str) or not value.strip():
            raise ExceptionsError(f"{where}: {key} is {value!r}; allowed: words")
        elif key == "object" and (not value.startswith("urn:pulumi:") or "*" in value):
            raise ExceptionsError(f"{where}: object is {value!r}; allowed: the exact URN of one object")
        yield key, value
