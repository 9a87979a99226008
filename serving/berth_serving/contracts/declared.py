"""The JSON schema of a request, from the very code that validates it.

`schema_of(read)` runs a contract's `parse` over fields that are not there but write down what is asked of
each: its type, bounds and whether it must be there. So what is published cannot differ from what is checked.
What no schema can say (two fields together, a prompt's length in tokens) is left to the answer's 422.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from berth_serving.contracts.fields import Fields, T

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Declared(Fields):
    """Fields that note how they are read, and give back what lets the reading go on."""

    def __init__(self, path: str = "") -> None:
        super().__init__({}, path)
        self._properties: dict[str, Any] = {}
        self._required: list[str] = []
        self._closed = False
        self._variants: Sequence[Mapping[str, Any]] = ()

    def schema(self) -> dict[str, Any]:
        """What was read, as JSON schema."""
        made: dict[str, Any] = {"type": "object", "properties": self._properties}
        if self._required:
            made["required"] = self._required
        if self._closed:
            made["additionalProperties"] = False
        if self._variants:
            return {"anyOf": [_merged(made, one) for one in self._variants]}
        return made

    def has(self, name: str) -> bool:
        """Say yes, so that the reading goes on."""
        del name
        return True

    def raw(
        self, name: str, schema: Mapping[str, Any], *, example: object = None, needed: bool = False
    ) -> Any:
        """The example."""
        self._note(name, schema, required=needed)
        return example

    def number(
        self,
        name: str,
        default: float,
        *,
        above: float = -math.inf,
        below: float = math.inf,
        low: float = -math.inf,
        high: float = math.inf,
    ) -> float:
        """The default."""
        bounds = {
            "exclusiveMinimum": above,
            "exclusiveMaximum": below,
            "minimum": low,
            "maximum": high,
        }
        finite = {key: value for key, value in bounds.items() if math.isfinite(value)}
        self._note(name, {"type": ["number", "null"], **finite, **_default(default)})
        return default

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        """The default."""
        self._note(name, {"type": ["integer", "null"], "minimum": low, "maximum": high, **_default(default)})
        return default

    def optional_integer(self, name: str, *, low: int, high: int) -> int | None:
        """Nothing."""
        self._note(name, {"type": ["integer", "null"], "minimum": low, "maximum": high})
        return None

    def boolean(self, name: str, *, default: bool = False) -> bool:
        """The default."""
        self._note(name, {"type": ["boolean", "null"], "default": default})
        return default

    def text(self, name: str, default: str = "") -> str:
        """The default."""
        self._note(name, {"type": ["string", "null"]})
        return default

    def required(self, name: str, *, pattern: str = ".") -> str:
        """A letter."""
        shape = {"minLength": 1} if pattern == "." else {"pattern": f"^{pattern}$"}
        self._note(name, {"type": "string", **shape}, required=True)
        return "a"

    def choice(self, name: str, allowed: Sequence[str]) -> str:
        """The first."""
        self._note(name, {"enum": [*allowed]}, required=True)
        return allowed[0]

    def fixed(self, name: str, values: Sequence[object], must: str) -> None:
        """Note what it may say."""
        del must
        self._note(name, {"enum": [*values, None]})

    def strings(self, name: str, most: int) -> tuple[str, ...]:
        """None."""
        items = {"type": "string", "minLength": 1}
        self._note(name, {"type": ["array", "null"], "items": items, "maxItems": most})
        return ()

    def mapping(self, name: str) -> dict[str, Any] | None:
        """Nothing."""
        self._note(name, {"type": ["object", "null"]})
        return None

    def inner(self, name: str) -> Fields | None:
        """Fields that note, too."""
        below = Declared(f"{self._path}{name}.")
        self._note(name, _Later(below, nullable=True))
        return below

    def needed(self, name: str) -> Fields:
        """Fields that note, too."""
        below = Declared(f"{self._path}{name}.")
        self._note(name, _Later(below, nullable=False), required=True)
        return below

    def items(self, name: str, read: Callable[[Fields], T], *, most: int, optional: bool = False) -> list[T]:
        """One, of fields that note."""
        below = Declared(f"{self._path}{name}[].")
        one = read(below)
        listed = {"type": "array", "items": below.schema(), "maxItems": most}
        if optional:
            self._note(name, {**listed, "type": ["array", "null"]})
            return []
        self._note(name, {**listed, "minItems": 1}, required=True)
        return [one]

    def variants(self, *kinds: Mapping[str, Any]) -> None:
        """Note them."""
        self._variants = kinds

    def finish(self) -> None:
        """Note that there are no others."""
        self._closed = True

    def _note(self, name: str, schema: Any, *, required: bool = False) -> None:
        self._properties.setdefault(name, schema)
        if required and name not in self._required:
            self._required.append(name)


class _Later:
    """An object's schema, which is whole only once it has been read."""

    def __init__(self, fields: Declared, *, nullable: bool) -> None:
        self._fields = fields
        self._nullable = nullable

    def resolve(self) -> dict[str, Any]:
        """The schema."""
        found = resolved(self._fields.schema())
        return {**found, "type": ["object", "null"]} if self._nullable else found


def _merged(schema: Mapping[str, Any], kind: Mapping[str, Any]) -> dict[str, Any]:
    required = [*schema.get("required", []), *kind.get("required", [])]
    return {
        **schema,
        "properties": {**schema["properties"], **kind["properties"]},
        "required": [*dict.fromkeys(required)],
    }


def resolved(schema: Any) -> Any:
    """A schema with every part that was read meanwhile."""
    if isinstance(schema, _Later):
        return schema.resolve()
    if isinstance(schema, dict):
        return {key: resolved(value) for key, value in schema.items()}
    if isinstance(schema, list):
        return [resolved(one) for one in schema]
    return schema


def schema_of(read: Callable[[Fields], object]) -> dict[str, Any]:
    """The JSON schema of what `read` takes."""
    fields = Declared()
    read(fields)
    found: dict[str, Any] = resolved(fields.schema())
    return found


def _default(value: float) -> dict[str, Any]:
    return {"default": value} if math.isfinite(value) else {}
