"""What differs between two values of a resource's inputs, property by property."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .model import Change

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# What tells the items of a list from each other, most telling first: one that all items have, each another.
_IDENTITIES = (
    "name",
    "key",
    "mountPath",
    "devicePath",
    "containerPort",
    "port",
    "Sid",
    "sid",
    "id",
    "ip",
    "topologyKey",
    "deviceName",
    "type",
    "operator",
)
_NAME = re.compile(r"[A-Za-z_$][\w$-]*")
_PLAIN = re.compile(r"[\w./:@-]{1,63}")
# Below annotations and labels: keys whose values follow from something else that is shown as well.
_CHURN_KEY = re.compile(
    r"(checksum|hash|sha-?(1|256|512)|digest|fingerprint|restarted-?at|timestamp)", re.IGNORECASE
)
_CHURN_FIELDS = frozenset({"etag", "sourceCodeHash", "sourceHash", "contentMd5"})
_CONTEXT = 1  # lines around each change of a long text
_LONGEST_TEXT = 400_000  # characters of a text of which lines are compared
_LONGEST_LIST = 2_000  # items of a list that are aligned


def differences(before: Any, after: Any, path: str = "") -> tuple[Change, ...]:
    """Every property that differs, by path; items of a list are matched by what names them."""
    return tuple(sorted(_differ(before, after, path), key=_order))


def added(inputs: Any) -> tuple[Change, ...]:
    """Every leaf of something new, as an addition."""
    return tuple(sorted(_leaves(inputs, ""), key=_order))


def _order(change: Change) -> list[tuple[bool, int, str]]:
    """By path, with the numbers in it as numbers: `args[2]` comes before `args[10]`."""
    parts = re.split(r"(\d+)", change.path)
    return [(False, int(part), "") if index % 2 else (True, 0, part) for index, part in enumerate(parts)]


def _leaves(value: Any, path: str) -> Iterator[Change]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, _below(path, str(key)))
    elif isinstance(value, list) and value and any(isinstance(item, (Mapping, list)) for item in value):
        identity = _identity(value)
        for index, item in enumerate(value):
            yield from _leaves(item, _item(path, index, item, identity))
    else:
        yield Change(path, "add", None, value)


def is_churn(path: str) -> bool:
    """Whether what is at a path only follows from other properties."""
    if path.rpartition(".")[2] in _CHURN_FIELDS:
        return True
    found = re.search(r'(?:^|\.)(?:annotations|labels)(?:\.|\[")([^"\]]+)', path)
    return bool(found and _CHURN_KEY.search(found[1]))


def _below(path: str, key: str) -> str:
    if _NAME.fullmatch(key):
        return f"{path}.{key}" if path else key
    return f"{path}[{json.dumps(key, ensure_ascii=False)}]"


def _item(path: str, index: int, item: Any, identity: str) -> str:
    if not identity:
        return f"{path}[{index}]"
    value = item[identity]
    text = (
        value if isinstance(value, str) and _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    )
    return f"{path}[{identity}={text}]"


def _differ(before: Any, after: Any, path: str) -> Iterator[Change]:
    if before == after and not _is_other_kind(before, after):
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in {**before, **after}:
            below = _below(path, str(key))
            if key not in after:
                yield _change(below, "delete", before[key], None)
            elif key not in before:
                yield _change(below, "add", None, after[key])
            else:
                yield from _differ(before[key], after[key], below)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _lists(before, after, path)
    elif isinstance(before, str) and isinstance(after, str):
        yield from _texts(before, after, path)
    else:
        yield _change(path, "update", before, after)


def _is_other_kind(before: Any, after: Any) -> bool:
    """Whether two values that Python calls equal, or some in them, are of different types, as True and 1."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return any(_is_other_kind(before[key], after[key]) for key in before)
    if isinstance(before, list) and isinstance(after, list):
        return any(_is_other_kind(*pair) for pair in zip(before, after, strict=True))
    return isinstance(before, bool) is not isinstance(after, bool)


def _change(path: str, kind: Any, before: Any, after: Any, lines: tuple[str, ...] = ()) -> Change:
    return Change(path, kind, before, after, churn=is_churn(path), lines=lines)


def _texts(before: str, after: str, path: str) -> Iterator[Change]:
    """Two texts: JSON by its properties, texts of several lines by their lines."""
    old, new = _json(before), _json(after)
    if old is not None and new is not None and type(old) is type(new):
        found = list(_differ(old, new, f"{path}(JSON)"))
        if found:  # else only the spelling differs
            yield from found
            return
    lines: tuple[str, ...] = ()
    if "\n" in before.strip() + after.strip() and len(before) + len(after) <= _LONGEST_TEXT:
        compared = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=_CONTEXT)
        lines = tuple(compared)[2:]
    yield _change(path, "update", before, after, lines)


def _json(text: str) -> Any:
    """What a text says as JSON, where that is an object or a list, else None."""
    if text[:1] not in {"{", "["}:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _identity(*lists: Sequence[Any]) -> str:
    """The key that names the items of all the lists, or nothing."""
    items = [item for one in lists for item in one]
    if not items or not all(isinstance(item, Mapping) for item in items):
        return ""
    for key in _IDENTITIES:
        if all(isinstance(item.get(key), (str, int)) for item in items) and all(
            len({item[key] for item in one}) == len(one) for one in lists
        ):
            return key
    return ""


def _lists(before: list[Any], after: list[Any], path: str) -> Iterator[Change]:
    identity = _identity(before, after)
    if identity:
        yield from _named(before, after, path, identity)
    elif max(len(before), len(after)) > _LONGEST_LIST:
        yield _change(path, "update", before, after)
    else:
        yield from _aligned(before, after, path)


def _named(before: list[Any], after: list[Any], path: str, identity: str) -> Iterator[Change]:
    old = {item[identity]: item for item in before}
    new = {item[identity]: item for item in after}
    for index, item in enumerate(before):
        if item[identity] not in new:
            yield _change(_item(path, index, item, identity), "delete", item, None)
    for index, item in enumerate(after):
        below = _item(path, index, item, identity)
        if item[identity] not in old:
            yield _change(below, "add", None, item)
        else:
            yield from _differ(old[item[identity]], item, below)
    kept, kept_now = [key for key in old if key in new], [key for key in new if key in old]
    if kept != kept_now:
        yield _change(f"{path}(order)", "update", kept, kept_now)


def _aligned(before: list[Any], after: list[Any], path: str) -> Iterator[Change]:
    """Items without names: what is the same is aligned, what is between is compared in turn."""
    old, new = ([json.dumps(item, sort_keys=True, default=str) for item in one] for one in (before, after))
    if sorted(old) == sorted(new):
        yield _change(f"{path}(order)", "update", before, after)
        return
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for tag, low, high, new_low, new_high in matcher.get_opcodes():
        if tag == "equal":
            continue
        both = min(high - low, new_high - new_low)
        for offset in range(both):
            yield from _differ(before[low + offset], after[new_low + offset], f"{path}[{new_low + offset}]")
        for index in range(low + both, high):
            yield _change(f"{path}[{index}]", "delete", before[index], None)
        for index in range(new_low + both, new_high):
            yield _change(f"{path}[{index}]", "add", None, after[index])
