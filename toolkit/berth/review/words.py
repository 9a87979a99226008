"""How a review's values read as text, for every format: cut, and without what could break out of it."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from berth.deployer.render import short_type
from berth.deployer.values import HIDDEN, NOT_KNOWN

from .properties import added

if TYPE_CHECKING:
    from .model import Change, Entry, Review, StackReview

_ODD = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})  # controls, text direction, line separators
_LEAVES = 12  # of something added or removed, before the rest is counted
_LINES = 40  # of a long text that differs, before the rest is counted
SIGNS = {"create": "+", "update": "~", "replace": "+-", "delete": "-", "retain": "-", "same": " "}
DONE = {
    "create": "created",
    "update": "updated",
    "replace": "replaced",
    "delete": "deleted",
    "retain": "let go of",
}
_FOUND = ("new", "already", "found", "closed", "broken", "remediated", "not evaluated", "open")
STATES = {
    "changed": "changed",
    "same": "unchanged",
    "new": "new",
    "gone": "gone",
    "failed": "FAILED",
    "not compared": "NOT COMPARED",
}


def clean(text: object) -> str:
    """Text on one line without anything that an eye does not see: such characters are written as escapes."""
    return "".join(
        char if unicodedata.category(char) not in _ODD else char.encode("unicode_escape").decode()
        for char in str(text)
    )


def cut(text: str, width: int) -> str:
    """The text, cut with the number of characters that are left out."""
    return text if len(text) <= width else f"{text[:width]}… ({len(text) - width} more characters)"


def value(item: Any, width: int = 200) -> str:
    """A value on one line, as JSON save for the words for secrets and unknowns."""
    if item in (HIDDEN, NOT_KNOWN):
        return str(item)
    return cut(clean(json.dumps(item, ensure_ascii=False, sort_keys=True)), width)


def title(entry: Entry) -> str:
    """A resource's type and name, as people read it."""
    return f"{short_type(entry.type)} {entry.name}"


def count(number: int, one: str, many: str = "") -> str:
    """`1 stack`, `2 stacks`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def diff_lines(change: Change, width: int = 200) -> list[str]:
    """A change as the lines of a diff: the first character of each is `+`, `-` or a space."""
    if change.lines:
        told = [
            f"  {clean(change.path)}:",
            *(f"{line[:1]}   {cut(clean(line[1:]), width)}" for line in change.lines),
        ]
        left = len(told) - _LINES
        return told if left <= 0 else [*told[:_LINES], f"  … {count(left, 'more line')}"]
    if change.kind == "update":
        path = clean(change.path)
        return [f"- {path}: {value(change.before, width)}", f"+ {path}: {value(change.after, width)}"]
    sign, what = ("+", change.after) if change.kind == "add" else ("-", change.before)
    if not isinstance(what, (Mapping, list)) or not what:
        return [f"{sign} {clean(change.path)}: {value(what, width)}"]
    leaves = _leaves(change.path, what)
    told = [f"{sign} {clean(path)}: {value(item, width)}" for path, item in leaves[:_LEAVES]]
    left = len(leaves) - _LEAVES
    return told if left <= 0 else [*told, f"  … {count(left, 'more property', 'more properties')}"]


def _leaves(path: str, what: Any) -> list[tuple[str, Any]]:
    if isinstance(what, list):
        marked = added({"x": what})
        return [(path + leaf.path.removeprefix("x"), leaf.after) for leaf in marked]
    return [(_joined(path, leaf.path), leaf.after) for leaf in added(what)]


def _joined(path: str, below: str) -> str:
    return path + below if below.startswith("[") or not path else f"{path}.{below}"


def why(entry: Entry) -> str:
    """Why a resource is, or may be, replaced, and what else there is to know."""
    told = [
        f"{clean(reason.path)} {'changes, and ' if reason.certain else ''}{reason.text}"
        for reason in entry.reasons
    ]
    return "; ".join([*told, *map(clean, entry.notes)])


def policies_of(stack: StackReview) -> str:
    """What policies say of a stack, in a few words; `-` where none was asked."""
    if not stack.packs:
        return "-"
    if broken := [pack.name for pack in stack.packs if pack.error]:
        return f"DID NOT RUN: {', '.join(map(clean, broken))}"
    counts: Counter[str] = Counter()
    for one in stack.findings:
        if one.is_open and one.status == "violated":
            counts["open"] += one.since != "closed"
        elif one.status == "violated":
            counts["found" if one.since == "unknown" else one.since] += 1
        elif one.since != "closed":
            counts["not evaluated" if one.status == "unevaluated" else one.status] += 1
    bad = any(counts[word] for word in ("new", "already", "found", "broken"))
    told = [f"{counts[word]} {word}" for word in _FOUND if counts[word]]
    return ", ".join(told if bad else ["no violation", *told])


def open_of(stack: StackReview) -> str:
    """How many findings are open, new and closed ones told."""
    counts = {word: sum(since == word for since, _ in stack.open) for word in ("already", "new", "closed")}
    total = counts["already"] + counts["new"]
    told = [f"+{counts['new']}" if counts["new"] else "", f"-{counts['closed']}" if counts["closed"] else ""]
    return " ".join([str(total or "-"), *filter(None, told)])


def headline(review: Review) -> str:
    """The change in a sentence."""
    states = [stack.state for stack in review.stacks]
    parts = [count(len(states), "stack")]
    parts += [f"{states.count(state)} {STATES[state]}" for state in STATES if state in states]
    numbers = [f"{number} {DONE[op]}" for op, number in review.counts.items() if number]
    return f"{parts[0]}: {', '.join(parts[1:])}. {', '.join(numbers) or 'No resource changes'}."
