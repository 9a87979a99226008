"""Which JSON schemas llama.cpp's grammar compiler (llguidance) takes.

Its server does not say when it takes none: it logs a line and answers without
any constraint. So the gateway looks first, and refuses by name. Recorded by
asking the server with one schema per keyword and format
(xllamacpp 2026.10.11549, 2026-11-23).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from berth_serving.engines.protocol import EngineRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

_TYPES = frozenset({"string", "number", "integer", "boolean", "null", "object", "array"})
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)  # fmt: skip
# Keyword → what its value holds: other schemas, or nothing to look into.
_ONE, _MANY, _NAMED, _LEAF = "schema", "list of schemas", "schemas by name", "leaf"
_KEYWORDS = {
    **dict.fromkeys(("items", "additionalProperties"), _ONE),
    **dict.fromkeys(("anyOf", "allOf", "prefixItems"), _MANY),
    **dict.fromkeys(("properties", "patternProperties", "$defs", "definitions"), _NAMED),
    **dict.fromkeys(
        (
            "type", "enum", "const", "$ref", "required", "minItems", "maxItems", "minProperties",
            "maxProperties", "minLength", "maxLength", "pattern", "format", "minimum", "maximum",
            "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
        ),
        _LEAF,
    ),
    # What says something about a value without limiting it.
    **dict.fromkeys(
        (
            "$schema", "$id", "$comment", "$anchor", "title", "description", "default", "examples",
            "deprecated", "readOnly", "writeOnly",
        ),
        _LEAF,
    ),
}  # fmt: skip
_RANGES = (
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
    ("minimum", "maximum"),
)
_LOOK_AROUND = re.compile(r"\(\?<?[=!]|\\[bB1-9]|\\k")
_DEEPEST = 64
# Identifiers it would look up, and finds nowhere.
_DROPPED = ("$schema", "$id")


def prepare(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema as the engine is to be given it.

    Raises:
        EngineRefused: naming the path in the schema and what is wrong there.
    """
    _check(schema, "schema", schema, 0)
    return {name: value for name, value in schema.items() if name not in _DROPPED}


def _check(schema: Any, path: str, root: dict[str, Any], depth: int) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise EngineRefused(f"{path} must be a JSON schema")
    if depth > _DEEPEST:
        raise EngineRefused(f"{path[:100]}… is nested more than {_DEEPEST} deep")
    for name, value in schema.items():
        if name.startswith("x-"):
            continue
        if name not in _KEYWORDS:
            known = ", ".join(sorted(_KEYWORDS))
            raise EngineRefused(f"{path}.{name[:40]} is not supported; supported: {known}")
        for below, one in _below(_KEYWORDS[name], value, f"{path}.{name}"):
            _check(one, below, root, depth + 1)
    _check_values(schema, path, root)
    _check_possible(schema, path)


def _below(holds: str, value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The schemas within a keyword's value, each with its path."""
    if holds == _ONE:
        yield path, value
    elif holds == _MANY:
        if not isinstance(value, list) or not value:
            raise EngineRefused(f"{path} must be a list of schemas that is not empty")
        yield from ((f"{path}[{index}]", one) for index, one in enumerate(value))
    elif holds == _NAMED:
        if not isinstance(value, dict):
            raise EngineRefused(f"{path} must be an object of schemas")
        yield from ((f"{path}.{key[:40]}", one) for key, one in value.items())


def _check_values(schema: dict[str, Any], path: str, root: dict[str, Any]) -> None:
    kinds = schema.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if not isinstance(kind, str) or kind not in _TYPES:
            raise EngineRefused(f"{path}.type must be one of {', '.join(sorted(_TYPES))}")
    for name in ("enum", "required"):
        value = schema.get(name, [""])
        if not isinstance(value, list) or (not value and name == "enum"):
            raise EngineRefused(
                f"{path}.{name} must be a list" + (" that is not empty" if name == "enum" else "")
            )
    if not all(isinstance(one, str) for one in schema.get("required", [])):
        raise EngineRefused(f"{path}.required must be a list of strings")
    sort = schema.get("format", "date")
    if not isinstance(sort, str) or sort not in _FORMATS:
        raise EngineRefused(f"{path}.format must be one of {', '.join(sorted(_FORMATS))}")
    if "pattern" in schema:
        _check_pattern(schema["pattern"], f"{path}.pattern")
    if "$ref" in schema:
        _check_reference(schema["$ref"], f"{path}.$ref", root)


def _check_possible(schema: dict[str, Any], path: str) -> None:
    """What nothing could satisfy; the commonest cases, not all."""
    for low, high in _RANGES:
        least, most = schema.get(low), schema.get(high)
        if isinstance(least, (int, float)) and isinstance(most, (int, float)) and least > most:
            raise EngineRefused(f"{path}.{low} is larger than {high}: nothing could be answered")
    if schema.get("additionalProperties") is False and "patternProperties" not in schema:
        missing = set(schema.get("required", [])) - set(schema.get("properties", {}))
        if missing:
            raise EngineRefused(f"{path}.required names {min(missing)!r}, which additionalProperties forbids")


def _check_pattern(pattern: Any, path: str) -> None:
    if not isinstance(pattern, str):
        raise EngineRefused(f"{path} must be a string")
    if _LOOK_AROUND.search(pattern):
        raise EngineRefused(f"{path} must do without look-around, word boundaries and back-references")
    try:
        re.compile(pattern)
    except re.error as error:
        raise EngineRefused(f"{path} is no regular expression: {error}") from None


def _check_reference(reference: Any, path: str, root: dict[str, Any]) -> None:
    at: Any = root
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise EngineRefused(f"{path} must point into this schema, as #/$defs/name does")
    for part in reference.split("/")[1:]:
        at = at.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(at, dict) else None
    if at is None:
        raise EngineRefused(f"{path} points to nothing")
