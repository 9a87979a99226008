"""A plan: every check passed, failed or unknown, and the figures behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from berth_planner.figures import Figure

Status = Literal["passed", "failed", "unknown"]
PASSED, FAILED, OPEN = 0, 1, 3
"""Exit codes: all passed; something failed; nothing failed and something is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question and its answer.

    Attributes:
        subject: `<site>/<model>`, or the site.
        name: what is asked: memory, weights, replicas, first token, quota, offer, free, price.
        status: unknown is never a pass.
        found: what is so.
        wanted: what would pass.
        why: what the answer rests on.
        remedy: what to do, "" where it passed.
    """

    subject: str
    name: str
    status: Status
    found: str
    wanted: str
    why: str
    remedy: str = ""

    @property
    def key(self) -> str:
        """Its name, by which a stack's file goes over it."""
        return f"{self.subject} {self.name}"

    def to_json(self) -> dict[str, str]:
        """As JSON has it."""
        return {
            "finding": self.key,
            "subject": self.subject,
            "name": self.name,
            "status": self.status,
            "found": self.found,
            "wanted": self.wanted,
            "why": self.why,
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What was found of one model at one site.

    Attributes:
        subject: `<site>/<model>`.
        title: model, engine and what it computes on.
        checks: in the order in which they were asked.
        figures: behind them.
        suggestion: the cheapest pool that fits, and by what it was chosen; "" where nothing is suggested.
        unknown: figures that are not computed, each with the reason.
    """

    subject: str
    title: str
    checks: tuple[Check, ...]
    figures: tuple[Figure, ...]
    suggestion: str = ""
    unknown: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "subject": self.subject,
            "title": self.title,
            "checks": [one.to_json() for one in self.checks],
            "figures": [one.to_json() for one in self.figures],
            "suggestion": self.suggestion,
            "unknown": list(self.unknown),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is known of a stack before it is deployed.

    Attributes:
        stack: its name.
        environment: local, development or production.
        sections: one for each model at each site.
    """

    stack: str
    environment: str
    sections: tuple[Section, ...]

    @property
    def checks(self) -> tuple[Check, ...]:
        """All of them."""
        return tuple(check for section in self.sections for check in section.checks)

    @property
    def exit_code(self) -> int:
        """0 passed, 1 failed, 3 only unknown ones open."""
        found = {check.status for check in self.checks}
        if "failed" in found:
            return FAILED
        return OPEN if "unknown" in found else PASSED

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "stack": self.stack,
            "environment": self.environment,
            "exit_code": self.exit_code,
            "sections": [one.to_json() for one in self.sections],
        }
