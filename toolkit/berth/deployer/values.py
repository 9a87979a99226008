"""Pulumi's wire values as Python values, and secrets kept out of text.

A property on the wire is a protobuf Struct. Here it is plain Python (`dict`, `list`, `str`, `int`,
`float`, `bool`, `None`) with three wrappers: `UNKNOWN`, `Secret`, and `Special` for what Kubernetes has no
use for (assets, archives, resource references).
"""

from __future__ import annotations

import base64
import contextlib
import enum
import json
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import struct_pb2

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a signature of the public protocol
RESOURCE = "5cf8f73096256a8f31e491e813e4eb8e"
OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
ASSET = "c44067f5952c0a294b673a41bacd8c17"
ARCHIVE = "0def7320c3a5731c473e5ecbe6d01bc7"
UNKNOWN_STRING = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"

HIDDEN = "[secret]"
NOT_KNOWN = "[unknown]"
_MARK = "\x00"  # stands for a secret until all are replaced, so that none is found in the mark itself
_SHORTEST_SECRET = 4  # characters; hiding every "1" or "dev" would make text unreadable, paths hide those
_SHORTEST_LINE = 12  # characters of one line of a secret with several lines, such as a private key
_EXACT_INTEGERS = 2**53  # doubles are exact up to here

Path = tuple[str | int, ...]


class Unknown(enum.Enum):
    """The type of `UNKNOWN`: a value that only an `up` can know."""

    UNKNOWN = UNKNOWN_STRING

    def __repr__(self) -> str:
        return NOT_KNOWN


UNKNOWN = Unknown.UNKNOWN


@dataclass(frozen=True, eq=True)
class Secret:
    """A value that must not be shown. `str()` and `repr()` hide it; `value` is the value itself."""

    value: Any

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__


@dataclass(frozen=True)
class Special:
    """An asset, archive or resource reference: its signature and its fields as sent."""

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return {ASSET: "[asset]", ARCHIVE: "[archive]"}.get(self.kind, "[resource]")


def decode(struct: struct_pb2.Struct) -> dict[str, Any]:
    """A Struct's fields as Python values, with the wrappers described above."""
    fields = struct.fields  # sorted, since a protobuf map has an order of its own
    return {key: decode_value(fields[key]) for key in sorted(fields)}


def decode_value(value: struct_pb2.Value) -> Any:
    """One protobuf Value as a Python value; whole doubles become ints, since Kubernetes wants them so."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _decode_struct(value.struct_value)
    if kind == "list_value":
        return [decode_value(item) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) < _EXACT_INTEGERS else number
    if kind == "string_value":
        return UNKNOWN if value.string_value == UNKNOWN_STRING else value.string_value
    return value.bool_value if kind == "bool_value" else None


def _decode_struct(struct: struct_pb2.Struct) -> Any:
    signature = struct.fields[SIGNATURE].string_value if SIGNATURE in struct.fields else ""
    if not signature:
        return decode(struct)
    if signature == SECRET:
        return Secret(decode_value(struct.fields["value"]))
    if signature == OUTPUT:
        known = decode_value(struct.fields["value"]) if "value" in struct.fields else UNKNOWN
        return Secret(known) if struct.fields["secret"].bool_value else known
    fields = {key: decode_value(value) for key, value in struct.fields.items() if key != SIGNATURE}
    return Special(signature, fields)


def to_wire(value: Any) -> Any:
    """A Python value as plain JSON in Pulumi's wire form, the way it is also stored with a stack."""
    if isinstance(value, Secret):
        return {SIGNATURE: SECRET, "value": to_wire(value.value)}
    if isinstance(value, Special):
        return {SIGNATURE: value.kind, **{key: to_wire(item) for key, item in value.fields.items()}}
    if value is UNKNOWN:
        return UNKNOWN_STRING
    if isinstance(value, Mapping):
        return {str(key): to_wire(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_wire(item) for item in value]
    return value


def encode(properties: Mapping[str, Any]) -> struct_pb2.Struct:
    """Python values as a Struct."""
    struct = struct_pb2.Struct()
    struct.update(to_wire(properties))
    return struct


def from_json(text: str) -> dict[str, Any]:
    """What `to_wire` made and JSON kept, back as Python values."""
    struct = struct_pb2.Struct()
    struct.update(json.loads(text))
    return decode(struct)


def plain(value: Any) -> Any:
    """The value without `Secret` wrappers; unknowns stay."""
    if isinstance(value, Secret):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf with its path; empty maps and lists are leaves, a `Secret` is one leaf."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path, value


def has_unknown(value: Any) -> bool:
    """Whether any leaf, also inside a secret, is unknown."""
    return any(
        leaf is UNKNOWN or (isinstance(leaf, Secret) and has_unknown(leaf.value)) for _, leaf in leaves(value)
    )


def secret_paths(value: Any) -> set[Path]:
    """The paths at which a `Secret` stands."""
    return {path for path, leaf in leaves(value) if isinstance(leaf, Secret)}


def under(path: Path, roots: set[Path]) -> bool:
    """Whether the path is one of the roots or lies below one."""
    return any(path[:length] in roots for length in range(len(path) + 1))


def mark_secrets(value: Any, roots: set[Path], path: Path = ()) -> Any:
    """The value with everything at the given paths wrapped in `Secret`."""
    if path in roots:
        return value if isinstance(value, Secret) else Secret(value)
    if isinstance(value, Mapping):
        return {key: mark_secrets(item, roots, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [mark_secrets(item, roots, (*path, index)) for index, item in enumerate(value)]
    return value


def shown(value: Any) -> Any:
    """The value as JSON that may be shown: secrets and unknowns replaced by words."""
    if isinstance(value, Secret):
        return HIDDEN
    if value is UNKNOWN:
        return NOT_KNOWN
    if isinstance(value, Special):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(key): shown(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown(item) for item in value]
    return value


def dotted(path: Path) -> str:
    """A path as Pulumi writes it: `spec.ports[0].name`, `metadata.labels["a.b/c"]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z_$][\w$-]*", part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part)}]"
    return text


def parse_path(text: str) -> Path:
    """The reverse of `dotted`; `*` stands for every key or item.

    Raises:
        ValueError: the text is no property path.
    """
    parts: list[str | int] = []
    rest = text
    token = re.compile(r"""\.?([A-Za-z_$*][\w$*/-]*)|\[(\d+)\]|\[\*\]|\[("(?:[^"\\]|\\.)*")\]""")
    while rest:
        found = token.match(rest)
        if not found:
            raise ValueError(text)
        name, index, quoted = found.groups()
        parts.append(name or (int(index) if index else json.loads(quoted) if quoted else "*"))
        rest = rest[found.end() :]
    return tuple(parts)


class Redactor:
    """Replaces every secret it has been told by `[secret]`, in any text.

    A secret is found as it stands and in the forms in which Kubernetes, JSON, Python and URLs write it:
    base64, escaped, quoted; of a secret with several lines each longer line counts too. Values shorter than
    four characters are not searched for: they are hidden by their path alone.
    """

    def __init__(self) -> None:
        self._needles: set[str] = set()
        self._longest_first: list[str] = []

    def __repr__(self) -> str:
        return f"Redactor({len(self._needles)} needles)"

    def add(self, value: Any) -> None:
        """Learn a secret: a string, or any structure whose leaves are secret."""
        for _, leaf in leaves(plain(value)):
            if isinstance(leaf, (bytes, str)):
                self._add_text(leaf.decode(errors="replace") if isinstance(leaf, bytes) else leaf)
            elif isinstance(leaf, (int, float)) and not isinstance(leaf, bool):
                self._add_text(str(leaf))

    def add_secrets(self, value: Any) -> None:
        """Learn every `Secret` inside the value."""
        for _, leaf in leaves(value):
            if isinstance(leaf, Secret):
                self.add(leaf.value)

    def _add_text(self, text: str) -> None:
        if len(text.strip()) < _SHORTEST_SECRET or text in self._needles:
            return
        lines = [line for line in text.splitlines() if len(line.strip()) >= _SHORTEST_LINE]
        for part in {text, text.strip(), *lines}:
            self._needles.update(_forms(part))
        with contextlib.suppress(ValueError):  # JSON in a string: its leaves are secrets as well
            inner = json.loads(text)
            if isinstance(inner, (dict, list)):
                self.add(inner)
        with contextlib.suppress(ValueError):  # a Secret's data is base64 already: hide what it says, too
            clear = base64.b64decode(text, validate=True).decode()
            if all(char.isprintable() or char.isspace() for char in clear):
                self._add_text(clear)
        self._longest_first = []

    def text(self, text: str) -> str:
        """The text without any secret."""
        if len(self._longest_first) != len(self._needles):
            self._longest_first = sorted(self._needles, key=lambda needle: (-len(needle), needle))
        for needle in self._longest_first:  # one by one: faster than a pattern of many alternatives
            if needle in text:
                text = text.replace(needle, _MARK)
        return text.replace(_MARK, HIDDEN)

    def value(self, value: Any) -> Any:
        """The JSON value with every string in it, keys too, without any secret."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return value


def _forms(text: str) -> set[str]:
    raw = text.encode()
    forms = {
        text,
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        repr(text)[1:-1],
        urllib.parse.quote(text),
        urllib.parse.quote_plus(text),
        text.encode("unicode_escape").decode(),
    }
    return {form for form in forms if len(form) >= _SHORTEST_SECRET}
