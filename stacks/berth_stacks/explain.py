"""Where the settings of a stack come from: file, line, what they overrode, or that they are defaults."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from berth_components.existing_cluster import is_contents
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from berth_stacks.descriptions import described, fields_of, group_of
from berth_stacks.errors import Path, Problem, SettingsError, dotted
from berth_stacks.inherit import EXTENDS, Layers, Origin, layers_of
from berth_stacks.lines import SECRET
from berth_stacks.settings import Stack

_SECRET_KEYS = frozenset({"apiKeys", "connections", "siteToken"})
_HIDDEN = "[secret]"
_BESIDE = {  # keys of stack files that are no settings of the program's
    EXTENDS: "Bases below this file, in bases/.",
    "apiKeys": "API keys of clients by name, a secret.",
    "connections": "How clusters are reached, as a machine says it.",
    "siteToken": "What hybrid controllers show to their sites, a secret.",
}
_PART = re.compile(r'\["(?P<quoted>[^"]+)"\]|\[(?P<index>\d+)\]|\.?(?P<plain>[^.\[\]]+)')


@dataclass(frozen=True)
class Explained:
    """One setting.

    Attributes:
        path: where it is in the settings.
        value: what holds; None where nothing does. Secrets are "[secret]".
        origin: where that is written; None for a default.
        overrode: where else it is written, the nearest first.
        removed: where a null took away what was inherited; None elsewhere.
        reason: what the setting means, and the reason for its default.
    """

    path: Path
    value: Any
    origin: Origin | None
    overrode: tuple[Origin, ...]
    removed: Origin | None
    reason: str

    @property
    def key(self) -> str:
        """Its key, as `pulumi config set --path` takes it."""
        return dotted(self.path)

    def to_json(self) -> dict[str, Any]:
        """The same for machines."""
        return {
            "key": self.key,
            "value": self.value,
            "source": str(self.origin) if self.origin else "default",
            "overrode": [{"source": str(one), "value": one.value} for one in self.overrode],
            "removed": str(self.removed) if self.removed else None,
            "meaning": self.reason,
        }


def explain(directory: FilePath, stack: str, key: str = "") -> list[Explained]:
    """What a stack's settings are, and where each comes from; nothing is decrypted.

    Args:
        directory: where `Pulumi.<stack>.yaml` is, and the folder `bases`.
        stack: its name.
        key: a setting or a group of them, such as models.chat.tokens; "" for all.

    Raises:
        SettingsError: a file is wrong, or there is no such setting.
    """
    layers = layers_of(directory, stack)
    every = [*_walk(layers, Stack, (), layers.values), *_beside(layers)]
    if not key:
        return every
    wanted = parsed(key)
    found = [one for one in every if one.path[: len(wanted)] == wanted]
    # Below a group that is not there, or inside of a list.
    found = found or [*_below(layers, wanted)]
    if not found:
        raise SettingsError(stack, [(layers.where(wanted), _unknown(wanted, every))])
    return found


def parsed(key: str) -> Path:
    """A key as people and `pulumi config set --path` write it, with or without `berth:`."""
    return tuple(
        int(part["index"]) if part["index"] else part["quoted"] or part["plain"]
        for part in _PART.finditer(key.removeprefix("berth:"))
    )


def _walk(layers: Layers, group: type[BaseModel], path: Path, values: Any) -> Iterator[Explained]:
    """Every setting of a group: those that are written, and the defaults of those that are not."""
    written = values if isinstance(values, dict) else {}
    reasons = described(group)
    for key, field in fields_of(group).items():
        here = (*path, key)
        inner, held = group_of(field.annotation)
        value = written.get(key)
        if inner and held == "" and isinstance(value, dict):
            yield from _walk(layers, inner, here, value)
        elif inner and held == "dict" and isinstance(value, dict) and value:
            for name, item in value.items():
                yield from _walk(layers, inner, (*here, name), item)
        elif key in written:
            yield from _leaves(layers, here, value, reasons.get(key, ""))
        else:
            default = _default(field)
            yield Explained(here, default, None, (), layers.removed.get(here), reasons.get(key, ""))
    beside = _BESIDE if group is Stack else {}
    for key in sorted(written.keys() - fields_of(group).keys() - beside.keys()):
        yield from _leaves(layers, (*path, key), written[key], "no such setting: see ./berth preview")


def _leaves(layers: Layers, path: Path, value: Any, reason: str) -> Iterator[Explained]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(layers, (*path, key), item, reason)
        return
    origins = layers.origins(path)
    last = origins[-1] if origins else None
    overrode = tuple(Origin(one.file, one.line, _shown(path, one.value)) for one in reversed(origins[:-1]))
    yield Explained(path, _shown(path, value), last, overrode, None, reason)


def _beside(layers: Layers) -> Iterator[Explained]:
    """What is no setting of the program's: the bases, and what is secret."""
    file = layers.files[-1]
    for key, reason in _BESIDE.items():
        if key in file.values:
            origin = Origin(file.name, file.line((key,)))
            yield Explained((key,), _shown((key,), file.values[key]), origin, (), None, reason)


def _below(layers: Layers, path: Path) -> Iterator[Explained]:
    """A setting that is in no file, below a group that is in none either."""
    group: type[BaseModel] | None = Stack
    held, reason = "", ""
    values: Any = layers.values
    field = None
    for part in path:
        here = values.get(part) if isinstance(values, dict) else None
        if held == "dict":
            # A name that somebody gives: it must be there.
            if not isinstance(values, dict) or part not in values:
                return
            held = ""
        elif group is None or part not in fields_of(group):
            return
        else:
            field = fields_of(group)[str(part)]
            reason = described(group).get(str(part), "")
            group, held = group_of(field.annotation)
        values = here if isinstance(here, dict) else {}
    if field is not None:
        if group and not held:
            yield from _walk(layers, group, path, values)
            return
        default = _default(field)
        yield Explained(path, default, None, (), layers.removed.get(path), reason)


def _unknown(path: Path, every: list[Explained]) -> Problem:
    known = sorted({dotted(one.path[: len(path)]).removeprefix("berth:") for one in every})
    near = difflib.get_close_matches(dotted(path).removeprefix("berth:"), known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else "./berth explain <stack> lists them all"
    return Problem(path, "is no setting of this stack", "a key of its settings", hint)


def _default(field: FieldInfo) -> Any:
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return None
    return default.model_dump(by_alias=True, exclude_none=True) if isinstance(default, BaseModel) else default


def _shown(path: Path, value: Any) -> Any:
    """The value, or that it is secret."""
    secret = value is SECRET or path[0] in _SECRET_KEYS
    contents = path[-1] == "kubeconfig" and isinstance(value, str) and is_contents(value)
    if secret or contents:
        return _HIDDEN
    if isinstance(value, list):
        return [_shown((*path, i), item) for i, item in enumerate(value)]
    if isinstance(value, dict):
        return {key: _shown((*path, key), item) for key, item in value.items()}
    return value
