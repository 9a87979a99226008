"""What policies found, as text: by pack and policy, the worst first, then what was asked and how it went."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from . import urns

if TYPE_CHECKING:
    from collections.abc import Callable

    from .report import PolicyPackRun, PolicyResult, Report

    Paint = Callable[[str, str], str]

_ORDER = ("violated", "unevaluated", "broken", "remediated")
_WORDS = {"unevaluated": "not evaluated"}
_COLORS = {"violated": "error", "broken": "error", "unevaluated": "warning", "remediated": "~"}
_OBJECTS = 5  # of one policy that are shown; JSON has all
_LINES = 12  # of one message
_LONGEST = 1_500  # characters of one message


def render_policies(report: Report, short_type: Callable[[str], str], paint: Paint, width: int) -> list[str]:
    """The section on policies, `width` columns wide; nothing where no pack was asked."""
    objects = {step.urn: step.object for step in report.steps if step.object}

    def called(urn: str) -> str:
        return objects.get(urn) or f"{short_type(urns.type_of(urn))} {urns.name_of(urn)}"

    lines: list[str] = []
    for run in report.policy_packs:
        results = [result for result in report.policy_results if result.pack == run.name]
        lines += ["", *_pack(run, results, called, paint, width)]
    return lines


def _pack(
    run: PolicyPackRun, results: list[PolicyResult], called: Callable[[str], str], paint: Paint, width: int
) -> list[str]:
    name = f"{run.name} {run.version}".strip()
    groups: dict[tuple[str, str, str], list[PolicyResult]] = {}
    for result in sorted(results, key=_rank):
        groups.setdefault((result.status, result.level, result.policy), []).append(result)
    lines = [f"Policies of {name}:"]
    descriptions = {policy.name: policy.description for policy in run.policies}
    for (status, level, policy), found in groups.items():
        head = f"{_WORDS.get(status, status)}: {policy} ({level})"
        lines += [f"  {paint(part, _COLORS[status])}" for part in textwrap.wrap(head, width - 2)]
        lines += _wrapped(descriptions.get(policy, ""), 4, width)
        for result in found[:_OBJECTS]:
            about = called(result.urn) if result.urn else "the whole stack"
            said = _said(result, descriptions.get(policy, ""))
            lines += _wrapped(f"- {about}" + (":" if said else ""), 4, width, later=6)
            lines += [part for line in said[:_LINES] for part in _wrapped(line, 6, width)]
            lines += ["      …"] if len(said) > _LINES else []
        if len(found) > _OBJECTS:
            lines.append(f"    - and {len(found) - _OBJECTS} more; --json has them all")
    if run.error:
        lines += [f"  {paint('did not run:', 'error')}"]
        lines += [part for line in run.error.splitlines() for part in _wrapped(line, 4, width)]
    lines += _wrapped(_count(run, groups), 2, width, later=4)
    return [f"{lines[0]} {lines[1].strip()}"] if len(lines) == 2 and len(lines[0]) < width // 2 else lines  # noqa: PLR2004 - head and count


def _rank(result: PolicyResult) -> tuple[Any, ...]:
    return _ORDER.index(result.status), result.level != "mandatory"


def _said(result: PolicyResult, description: str) -> list[str]:
    """A message's lines, without what is said of the policy already."""
    text = result.message
    if result.status == "unevaluated":
        text = text.partition(" during preview: ")[2] or text
    text = text.removeprefix(description)
    text = f"{text[:_LONGEST]}…" if len(text) > _LONGEST else text
    return [line for line in text.splitlines() if line.strip()]


def _wrapped(text: str, indent: int, width: int, later: int | None = None) -> list[str]:
    """Text on lines of their own; no word is cut: people copy them."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent if later is None else later),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _count(run: PolicyPackRun, groups: dict[tuple[str, str, str], list[PolicyResult]]) -> str:
    asked = sum(policy.level != "disabled" for policy in run.policies)
    counts = dict.fromkeys(_ORDER, 0)
    for status, _, _ in groups:
        counts[status] += 1
    parts = [f"{count} {_WORDS.get(status, status)}" for status, count in counts.items() if count]
    switched_off = len(run.policies) - asked
    off = f" ({switched_off} disabled)" if switched_off else ""
    how = ", ".join(parts) or ("not evaluated" if run.error else "passed")
    # The Pulumi CLI does not tell how many policies a pack has.
    which = f"{_plural(asked, 'policy', 'policies')}{off}" if run.policies else "policies"
    return f"{which} over {_plural(run.analyzed, 'resource', 'resources')}: {how}"


def _plural(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
