"""What a diagnosis found, and in which order it is told: causes before what follows from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

State = Literal["trouble", "warning", "unknown", "note", "ok"]
"""trouble: something does not work. warning: it works, and will not for long, or not under load. unknown:
nobody could tell. note: worth knowing. ok: looked at, and fine."""
STATES: tuple[State, ...] = ("trouble", "warning", "unknown", "note", "ok")

# From what everything stands on to what stands on it: the order in which an expert looks.
CLUSTER, NODES, NEEDS, PLACING, STARTING, READINESS, SERVING, SCALING, LOAD, CARE = range(10)
FAILED, OPEN = 1, 3
RUNBOOKS = "docs/runbooks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: what was checked, such as `image` or `scaling/blind`.
        layer: on what it stands: `CLUSTER` to `CARE`.
        subject: the object, such as "Pod berth-local/smollm2-7d9f".
        state: see `State`.
        found: one sentence.
        evidence: what says so, verbatim where it can be.
        remedy: what to do next, commands among it.
        about: what it concerns, so that what follows from it is known: `server:<namespace>/<name>`,
            `node:<name>`, `signal` (the autoscalers' metric) or `cluster`.
        follows: the subject of the finding that explains it; "" where none does.
        alert: the alert that would say so, whose runbook is linked where there is one.
        runbook: page of it, from the checkout's root; "" where there is none.
    """

    check: str
    layer: int
    subject: str
    state: State
    found: str
    evidence: tuple[str, ...] = ()
    remedy: tuple[str, ...] = ()
    about: frozenset[str] = frozenset()
    follows: str = ""
    alert: str = ""
    runbook: str = ""


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings as they are told.

    Troubles first, then warnings, unknowns, notes and what is fine; in each, causes before what follows from
    them, and the layers from the ground up. What shares an object with a trouble of a lower layer follows.
    """
    found = list(findings)
    troubles = sorted((one for one in found if one.state == "trouble"), key=lambda one: one.layer)
    marked = [_marked(one, troubles) for one in found]
    return sorted(
        marked, key=lambda one: (STATES.index(one.state), bool(one.follows), one.layer, one.subject)
    )


def _marked(one: Finding, troubles: Sequence[Finding]) -> Finding:
    if one.state not in {"trouble", "warning"}:
        return one
    cause = next((each for each in troubles if each.layer < one.layer and each.about & one.about), None)
    return replace(one, follows=cause.subject) if cause else one


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 1 where there is trouble or a warning, 3 where all that is left is unknown, else 0."""
    states = {one.state for one in findings}
    if states & {"trouble", "warning"}:
        return FAILED
    return OPEN if "unknown" in states else 0
