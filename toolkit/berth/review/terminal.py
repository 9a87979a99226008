"""A review in a terminal: the table, what is destroyed and why, and what policies newly found."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from typing import TYPE_CHECKING

from . import words
from .model import DESTRUCTIVE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .model import Review

_HEADS = ("stack", "", "create", "update", "replace", "delete", "open")


def summary(review: Review, *, width: int = 80) -> str:
    """The review as plain text of a given width in columns."""
    lines = [
        f"{review.after} against {review.before}",
        *textwrap.wrap(words.headline(review), width),
        "",
        *_table(review),
    ]
    for stack in review.stacks:
        lines += ["", *_wrap(f"{stack.stack}: ", stack.note, width)] if stack.note else []
        lines += [f"  {words.clean(line)}" for error in stack.errors for line in error.splitlines()]
    lines += _section("Destroyed and replaced:", list(_destroyed(review)), width)
    lines += _section("Policies:", list(_policies(review)), width)
    told = [
        f"{'new' if one.kind == 'add' else 'gone'}: {one.rule} in {one.stack} for {one.object}: {one.reason}"
        for one in review.exceptions
    ]
    lines += _section("Exceptions from policies:", told, width)
    return "\n".join([*lines, "", f"Cost: {review.cost}", *review.notes]) + "\n"


def _table(review: Review) -> list[str]:
    rows = [list(_HEADS)]
    for stack in review.stacks:
        counts = stack.counts
        gone = counts["delete"] + counts["retain"]
        unknown = stack.state in {"failed", "not compared", "gone"}
        numbers = [counts["create"], counts["update"], counts["replace"], gone]
        cells = ["?" if unknown else str(number or "-") for number in numbers]
        rows.append([words.clean(stack.stack), words.STATES[stack.state], *cells, words.open_of(stack)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(size) if index < 2 else cell.rjust(size)  # noqa: PLR2004 - names and states are text
            for index, (cell, size) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _destroyed(review: Review) -> Iterator[str]:
    for stack in review.stacks:
        for entry in stack.changes:
            if entry.op in DESTRUCTIVE:
                yield f"{stack.stack}: {entry.op} {words.title(entry)}: {words.why(entry)}"


def _policies(review: Review) -> Iterator[str]:
    for stack in review.stacks:
        if stack.packs:
            yield f"{stack.stack}: {words.policies_of(stack)}"
        for pack in stack.packs:
            if pack.error:
                yield f"{stack.stack}: pack {pack.name} did not run: {pack.error}"
        names: dict[str, list[str]] = defaultdict(list)
        for found in stack.findings:
            if found.since in {"new", "unknown"} and found.status in {"violated", "broken"}:
                head = f"{found.since if found.since == 'new' else ''} {found.level} {found.status}".strip()
                names[f"{head} {found.policy}"].append(found.urn.rpartition("::")[2] or "the stack")
        for head, some in names.items():
            yield f"{stack.stack}: {head}: {', '.join(dict.fromkeys(some))}"


def _section(title: str, told: list[str], width: int, most: int = 40) -> list[str]:
    if not told:
        return []
    lines = [line for text in told[:most] for line in _wrap("  ", words.clean(text), width)]
    return ["", title, *lines, *([f"  … {len(told) - most} more"] if len(told) > most else [])]


def _wrap(head: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(
        head + text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
