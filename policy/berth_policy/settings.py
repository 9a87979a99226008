"""A rule's settings: typed, with the schema that Pulumi checks them by."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from pulumi_policy import PolicyConfigSchema

_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number"}


class SettingsError(ValueError):
    """The pack's configuration is wrong; the message names policy, key, value and what is allowed."""


def schema(settings: type) -> PolicyConfigSchema:
    """The JSON schema of a dataclass of settings."""
    return PolicyConfigSchema({name: _schema(hint) for name, hint in _hints(settings).items()})


def read(rule: str, settings: type | None, config: Mapping[str, Any]) -> object:
    """The settings that a configuration gives; defaults for what it leaves out.

    Raises:
        SettingsError: a key is unknown, or a value has a wrong type.
    """
    if settings is None:
        return None
    hints = _hints(settings)
    given: dict[str, object] = {}
    for key, value in config.items():
        if key not in hints:
            raise SettingsError(f"policy '{rule}': unknown setting '{key}'; allowed: {', '.join(hints)}")
        given[key] = _value(f"policy '{rule}': setting '{key}'", hints[key], value)
    return settings(**given)


def _hints(settings: type) -> dict[str, Any]:
    hints = typing.get_type_hints(settings)
    return {field.name: hints[field.name] for field in dataclasses.fields(settings)}


def _schema(hint: Any) -> dict[str, Any]:
    if hint in _TYPES:
        return {"type": _TYPES[hint]}
    origin, words = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return {"type": "array", "items": _schema(words[0])}
    return {"type": "object", "additionalProperties": _schema(words[1])}


def _value(where: str, hint: Any, value: Any) -> Any:
    origin, words = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and isinstance(value, list):
        return tuple(_value(where, words[0], one) for one in value)
    if origin is not None and origin is not tuple and isinstance(value, Mapping):
        return {key: _value(where, words[1], one) for key, one in value.items()}
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)  # every number of the protocol is a double
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is None and isinstance(value, hint) and not (hint is not bool and isinstance(value, bool)):
        return value
    allowed = _schema(hint)["type"]
    raise SettingsError(f"{where} is {value!r}; allowed: {allowed}")
