"""Exceptions from policies that a change brings or takes away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from .model import ExceptionChange

_FIELDS = ("rule", "stack", "object", "reason", "owner", "expires")


class ExceptionsError(ValueError):
    """A file of exceptions cannot be read."""


def changed_exceptions(before: str, after: str) -> tuple[ExceptionChange, ...]:
    """What differs between two versions of a file of exceptions; one that is changed is gone and new.

    Args:
        before: its text; empty where there was none.
        after: the same now.

    Raises:
        ExceptionsError: a text is not a list of exceptions.
    """
    old, new = _entries(before), _entries(after)
    come = [_change("add", one) for one in new if one not in old]
    gone = [_change("delete", one) for one in old if one not in new]
    return tuple(
        sorted([*come, *gone], key=lambda one: (one.kind, one.rule, one.stack, one.object, one.reason))
    )


def _entries(text: str) -> list[Mapping[str, Any]]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ExceptionsError(f"line {mark.line + 1 if mark else 1}: not YAML") from None
    if isinstance(found, Mapping):  # under one key
        found = next((value for value in found.values() if isinstance(value, list)), [])
    if not isinstance(found or [], list) or not all(isinstance(one, Mapping) for one in found or []):
        raise ExceptionsError("is no list of exceptions")
    return found or []


def _change(kind: Any, entry: Mapping[str, Any]) -> ExceptionChange:
    return ExceptionChange(kind, *(str(entry.get(field, "")) for field in _FIELDS))
