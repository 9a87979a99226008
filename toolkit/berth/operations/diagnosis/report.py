"""A diagnosis as one page of 80 columns, and as JSON."""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from berth.operations.diagnosis.facts import Snapshot
    from berth.operations.diagnosis.findings import Finding

WIDTH = 80
_MARKS = {
    "trouble": "TROUBLE",
    "warning": "WARNING",
    "unknown": "UNKNOWN",
    "note": "note   ",
    "ok": "ok     ",
}
_INDENT = " " * 8


def page(seen: Snapshot, findings: Sequence[Finding]) -> str:
    """Return the findings in their order: causes, what follows from them, and last what is fine."""
    counts = Counter(one.state for one in findings)
    said = [f"{counts[state]} {state}" for state in ("trouble", "warning", "unknown") if counts[state]]
    absent = any(one.check == "deployed" and one.state == "note" and not seen.record for one in findings)
    well = "nothing deployed" if absent else "healthy"
    lines = [f"site {seen.site}: {', '.join(said) or well} ({seen.taken:%Y-%m-%d %H:%M:%S} UTC)"]
    for one in findings:
        lines += _finding(one)
    return "\n".join(lines)


def _finding(one: Finding) -> Iterator[str]:
    yield from _wrapped(f"{_MARKS[one.state]} ", f"{one.subject}: {one.found}", _INDENT)
    if one.follows:
        yield from _wrapped(f"{_INDENT}follows from ", one.follows, _INDENT)
    for line in one.evidence:
        yield from _wrapped(f"{_INDENT}| ", line, f"{_INDENT}| ")
    # What follows goes away with its cause: there is nothing to do about it.
    for step in () if one.follows else one.remedy:
        yield from _wrapped(f"{_INDENT}> ", step, f"{_INDENT}  ")
    if one.runbook and not one.follows and not any(one.runbook in step for step in one.remedy):
        yield from _wrapped(f"{_INDENT}> ", f"runbook: {one.runbook}", f"{_INDENT}  ")


def _wrapped(start: str, text: str, rest: str) -> list[str]:
    # Addresses and digests have no place to break at; they must not make the page wider all the same.
    return textwrap.wrap(
        " ".join(text.split()), WIDTH, initial_indent=start, subsequent_indent=rest, break_on_hyphens=False
    ) or [start.rstrip()]


def as_json(seen: Snapshot, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return everything, ready for `json.dumps`: in the findings' order."""
    return {
        "site": seen.site,
        "taken": seen.taken.isoformat(),
        "reached": seen.reached,
        "findings": [{**asdict(one), "about": sorted(one.about)} for one in findings],
    }
