"""A plan as one page of 80 columns."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from berth_planner.figures import Figure
    from berth_planner.plan import Check, Plan, Section

_WIDTH = 80
_MARKS = {"passed": "passed ", "failed": "FAILED ", "unknown": "unknown"}


def page(plan: Plan) -> str:
    """The whole plan; every figure in it can be recomputed by hand from docs/planner.md."""
    lines = [f"{plan.stack} ({plan.environment})"]
    for section in plan.sections:
        lines += ["", *_section(section)]
    if not plan.sections:
        lines += ["", "It serves no models: there is nothing to plan."]
    counted = Counter(check.status for check in plan.checks)
    said = ", ".join(f"{counted[status]} {status}" for status in ("passed", "failed", "unknown"))
    return "\n".join([*lines, "", f"{said}. Formulas: docs/planner.md."])


def _section(section: Section) -> list[str]:
    lines = _wrapped(f"{section.subject}: {section.title}", "", "    ")
    lines += [_figure(one) for one in section.figures]
    for said in section.unknown:
        lines += _wrapped(said, "    ", "      ")
    for check in section.checks:
        lines += _check(check)
    if section.suggestion:
        lines += _wrapped(f"cheapest that fits: {section.suggestion}", "  ", "    ")
    return lines


def _figure(one: Figure) -> str:
    if one.low == one.high:
        return f"    {one.name:<21} {one.value:>12,.2f} {one.unit}"
    return f"    {one.name:<21} {one.value:>12,.2f} {one.unit} ({one.low:,.2f} to {one.high:,.2f})"


def _check(check: Check) -> list[str]:
    lines = _wrapped(
        f"{_MARKS[check.status]} {check.key}: {check.found}; wanted: {check.wanted}", "  ", " " * 10
    )
    lines += _wrapped(check.why, " " * 10, " " * 10)
    if check.status != "passed" and check.remedy:
        lines += _wrapped(f"do: {check.remedy}", " " * 10, " " * 14)
    return lines


def _wrapped(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_on_hyphens=False,
        break_long_words=False,
    )
