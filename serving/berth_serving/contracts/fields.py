"""Reading the fields of a JSON object, with errors that name field, value and what is allowed."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from berth_serving.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

_SHOWN = 60
_TYPE_NAMES = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a request body.

    Raises:
        ValidationError: not JSON, or not an object.
    """
    try:
        data = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValidationError(f"the body must be a JSON object: {error}", code="invalid_json") from None
    except RecursionError:
        raise ValidationError(
            "the body must be a JSON object: nested too deeply", code="invalid_json"
        ) from None
    if not isinstance(data, dict):
        raise ValidationError(f"the body must be a JSON object, got {kind(data)}", code="invalid_json")
    return data


def kind(value: object) -> str:
    """What a JSON value is, for a message: `a string`, `an array`."""
    return _TYPE_NAMES.get(type(value), "a number")


def show(value: object) -> str:
    """A JSON value, shortened, for a message to the client who sent it."""
    try:
        text = msgspec.json.encode(value).decode()
    except (msgspec.MsgspecError, RecursionError, ValueError, OverflowError):
        text = kind(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def whole(value: Any) -> Any:
    """The value; an int where it is a float without a fraction, which JSON does not tell from one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Fields:
    """The fields of one object; each is read once, and what nobody read is refused.

    Args:
        data: the object; null counts as absent.
        path: how messages name it, for example `parameters.`.
    """

    def __init__(self, data: dict[str, Any], path: str = "") -> None:
        self._data = data
        self._path = path
        self._read: set[str] = set()

    def raw(
        self, name: str, schema: Mapping[str, Any], *, example: object = None, needed: bool = False
    ) -> Any:
        """The value as it is, or None; the caller checks it.

        Args:
            name: the field's.
            schema: what the caller accepts, as JSON schema; `declared.Declared` publishes it.
            example: a value that it accepts.
            needed: whether the caller insists on one.
        """
        del schema, example, needed
        self._read.add(name)
        return self._data.get(name)

    def _value(self, name: str) -> Any:
        self._read.add(name)
        return self._data.get(name)

    def has(self, name: str) -> bool:
        """Whether the key is there, null or not."""
        return name in self._data

    def wrong(self, name: str, must: str) -> ValidationError:
        """The error for one field."""
        path = self._path + name
        return ValidationError(f"`{path}` must be {must}, got {show(self._data.get(name))}", param=path)

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
        """A number within exclusive (above, below) and inclusive (low, high) bounds."""
        value = self._value(name)
        if value is None:
            return default
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        # Compared before it becomes a float: a whole number may be larger than any.
        if not fits or not (above < value < below and low <= value <= high):
            raise self.wrong(name, "a number" + _bounds(above, below, low, high))
        try:
            return float(value)
        except OverflowError:
            raise self.wrong(name, "a number that a computer has") from None

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        """A whole number in low..high."""
        value = whole(self._value(name))
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(name, f"a whole number from {low} to {high}")
        return value

    def optional_integer(self, name: str, *, low: int, high: int) -> int | None:
        """As `integer`, or None where absent."""
        return None if self._value(name) is None else self.integer(name, low, low=low, high=high)

    def boolean(self, name: str, *, default: bool = False) -> bool:
        """`true` or `false`."""
        value = self._value(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        value = self._value(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.wrong(name, "a string")
        return value

    def required(self, name: str, *, pattern: str = ".") -> str:
        """A string that is there and not empty, all of it of a regular expression's kind."""
        value = self._value(name)
        if not isinstance(value, str) or not value:
            path = self._path + name
            raise ValidationError(f"`{path}` must be a string that is not empty", param=path)
        if pattern != "." and not re.fullmatch(pattern, value):
            raise self.wrong(name, f"a string of {pattern}")
        return value

    def choice(self, name: str, allowed: Sequence[str]) -> str:
        """One of `allowed`; it must be there."""
        value = self._value(name)
        if not isinstance(value, str) or value not in allowed:
            raise self.wrong(name, "one of " + ", ".join(allowed))
        return value

    def strings(self, name: str, most: int) -> tuple[str, ...]:
        """A list of at most `most` strings, none of them empty."""
        value = self._value(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            raise self.wrong(name, "an array of strings that are not empty")
        if len(value) > most:
            path = self._path + name
            raise ValidationError(f"`{path}` must hold at most {most} strings, got {len(value)}", param=path)
        return tuple(value)

    def fixed(self, name: str, values: Sequence[object], must: str) -> None:
        """A field that may only say what is so anyway.

        Args:
            name: the field's.
            values: what it may say; null may always stand there.
            must: how a message says that.
        """
        value = self._value(name)
        # 0 equals false in Python, in JSON it does not.
        if value is not None and not any(value == one and type(value) is type(one) for one in values):
            raise self.wrong(name, must)

    def inner(self, name: str) -> Fields | None:
        """The fields of an object within, or None where absent."""
        value = self.mapping(name)
        return None if value is None else Fields(value, f"{self._path}{name}.")

    def needed(self, name: str) -> Fields:
        """The fields of an object within, which must be there."""
        found = self.inner(name)
        if found is None:
            raise self.wrong(name, "an object")
        return found

    def items(self, name: str, read: Callable[[Fields], T], *, most: int, optional: bool = False) -> list[T]:
        """A list of at least one object, each read by `read`; none of it where it is optional and absent."""
        value = self._value(name)
        if optional and value in (None, []):
            return []
        if not isinstance(value, list) or not value:
            raise self.wrong(name, "an array of at least one object")
        if len(value) > most:
            path = self._path + name
            raise ValidationError(f"`{path}` must hold at most {most} objects, got {len(value)}", param=path)
        return [read(self._item(name, index, one)) for index, one in enumerate(value)]

    def _item(self, name: str, index: int, value: object) -> Fields:
        path = f"{self._path}{name}[{index}]"
        if not isinstance(value, dict):
            raise ValidationError(f"`{path}` must be an object, got {show(value)}", param=path)
        return Fields(value, path + ".")

    def mapping(self, name: str) -> dict[str, Any] | None:
        """An object, or None where absent."""
        value = self._value(name)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return value

    def variants(self, *kinds: Mapping[str, Any]) -> None:
        """The kinds of object that there are: what each says otherwise than the fields as they are read.

        The caller checks it; `declared.Declared` publishes it.
        """

    def finish(self) -> None:
        """Refuse what nobody read: a field without effect would be a lie.

        Raises:
            ValidationError: naming the first unknown field and those that are known.
        """
        for name in self._data:
            if name not in self._read:
                path = f"{self._path}{name}"[:_SHOWN]
                known = ", ".join(sorted(self._read))
                raise ValidationError(
                    f"`{path}` is unknown; known: {known}", param=path, code="unknown_parameter"
                )


def _bounds(above: float, below: float, low: float, high: float) -> str:
    said = []
    if above > -math.inf:
        said.append(f"> {above:g}")
    if low > -math.inf:
        said.append(f">= {low:g}")
    if below < math.inf:
        said.append(f"< {below:g}")
    if high < math.inf:
        said.append(f"<= {high:g}")
    return " " + " and ".join(said) if said else ""
