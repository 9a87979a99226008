"""The gate: a plan decides whether the program goes on, in every preview, review and `pulumi up`.

What fails ends the program. What is unknown is a finding, which holds back a real run in production. Either
may be gone over by name in the stack's file, for a reason and until a day: `overrides`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path as FilePath

import pulumi
from berth_planner.errors import PlannerError
from berth_planner.plan import Check, Plan

from berth_stacks.errors import Path, Problem, SettingsError, nearest
from berth_stacks.findings import Finding
from berth_stacks.load import Loaded
from berth_stacks.overflow import CAP, REPLICA_PRICE
from berth_stacks.plan_settings import Override
from berth_stacks.planned import plan
from berth_stacks.settings import Stack

_OF_POOLS = frozenset({"price", "quota", "offer", "free"})
_FIGURES = {
    "at the fewest": "usdPerHourFewest",
    "at the planned": "usdPerHourPlanned",
    "at the most": "usdPerHourMost",
    "USD per million tokens": "usdPerMillionTokens",
}


class PlanError(pulumi.RunError, ValueError):
    """A stack cannot be deployed as it is: its plan fails. The message lists every check that does."""

    def __init__(self, stack: str, lines: Sequence[str]) -> None:
        count = "1 check fails" if len(lines) == 1 else f"{len(lines)} checks fail"
        more = f"./berth plan {stack} shows everything"
        super().__init__("\n  ".join([f"stack '{stack}': {count} in its plan", *lines, more]))


@dataclass(frozen=True)
class Gated:
    """What the plan adds to a stack.

    Attributes:
        findings: what is unknown, and what was gone over.
        cost: what is known of it, US dollars: usdPerHourFewest, usdPerHourPlanned, usdPerHourMost,
            usdPerMillionTokens; none of them where a price is missing.
    """

    findings: tuple[Finding, ...]
    cost: Mapping[str, float]


def gate(loaded: Loaded, directory: FilePath, today: date | None = None) -> Gated:
    """Plan a stack, and say what is open.

    Args:
        loaded: its settings.
        directory: where its file is.
        today: Default: today.

    Raises:
        PlanError: a check fails that nobody went over, or one of the planner's files is wrong.
        SettingsError: an override is over, or of nothing that is open.
    """
    day = today or datetime.now(UTC).date()
    try:
        found = plan(loaded.name, loaded.settings, directory, day)
    except PlannerError as error:
        raise pulumi.RunError(f"stack '{loaded.name}' cannot be planned: {error}") from None
    return judged(loaded, found, day)


def judged(loaded: Loaded, found: Plan, today: date) -> Gated:
    """What a plan means for a stack; see `gate`."""
    stack = loaded.settings
    opened = {one.key: one for one in found.checks if one.status != "passed"}
    if problems := [*_wrong(stack.overrides, opened, today)]:
        where = loaded.layers.where
        raise SettingsError(loaded.name, [(where(problem.path), problem) for problem in problems])
    overridden = {one.finding: one for one in stack.overrides}
    failed = [one for key, one in opened.items() if one.status == "failed" and key not in overridden]
    if failed:
        raise PlanError(
            loaded.name, [f"{loaded.layers.where(_path(one, stack))}: {_said(one)}" for one in failed]
        )
    findings = tuple(_finding(one, overridden.get(key), stack) for key, one in opened.items())
    return Gated(findings, dict(_cost(found)))


def _wrong(overrides: Sequence[Override], opened: Mapping[str, Check], today: date) -> Iterator[Problem]:
    seen: set[str] = set()
    for i, one in enumerate(overrides):
        path: Path = ("overrides", i)
        if one.finding in seen:
            yield Problem((*path, "finding"), f"is '{one.finding}' again", "each finding once", "remove it")
        elif one.finding not in opened:
            allowed = f"a finding of the plan that is open: {', '.join(sorted(opened)) or 'none is'}"
            remedy = nearest(one.finding, [*opened]) or "remove it"
            yield Problem((*path, "finding"), f"is '{one.finding}'", allowed, remedy)
        if date.fromisoformat(one.expires) < today:
            remedy = "answer the finding, or give a reason for a further time"
            yield Problem((*path, "expires"), f"is {one.expires}, which is over", "a day to come", remedy)
        seen.add(one.finding)


def _finding(check: Check, override: Override | None, stack: Stack) -> Finding:
    path = _path(check, stack)
    if override is None:
        # A cap that nobody can watch is none.
        return Finding(path, _said(check), "everywhere" if check.name == REPLICA_PRICE else "production")
    text = f"{check.key} is {check.status}, and gone over until {override.expires}: {override.reason}"
    return Finding(path, text, "nothing")


def _said(check: Check) -> str:
    text = f"{check.key} is {check.status}: {check.found}; wanted: {check.wanted}"
    return f"{text}; {check.remedy}" if check.remedy else text


def _path(check: Check, stack: Stack) -> Path:
    """The setting that a check is about: a model, a pool, a router or a site."""
    site, _, name = check.subject.partition("/")
    if check.name in {CAP, REPLICA_PRICE}:
        key = "costCapPerHour" if check.name == CAP else "costPerReplicaHour"
        return ("routers", name, "hybrid", key)
    if site in stack.sites and name in stack.sites[site].pools and check.name in _OF_POOLS:
        return ("sites", site, "pools", name)
    if name in stack.models:
        return ("models", name)
    return ("sites", site)


def _cost(found: Plan) -> Iterator[tuple[str, float]]:
    for section in found.sections:
        if section.subject != "cost":
            continue
        for figure in section.figures:
            if figure.name in _FIGURES:
                yield _FIGURES[figure.name], round(figure.value, 6)
