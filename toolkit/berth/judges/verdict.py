"""What a judge says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .exceptions import Excepted


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that a judge dislikes."""

    stack: str
    object: str
    """`Kind namespace/name`, or `Kind name` of an object without a namespace."""
    check: str
    """The judge's own name of its rule, such as `CKV_K8S_43`."""
    message: str

    def to_json(self) -> dict[str, Any]:
        """The four fields."""
        return {"stack": self.stack, "object": self.object, "check": self.check, "message": self.message}


@dataclass(frozen=True)
class Verdict:
    """What one judge found over all stacks."""

    judge: str
    version: str
    judged: int
    """How many things were looked at; `unit` says which."""
    unit: str
    findings: tuple[Finding, ...] = ()
    """What is left: neither mended nor excepted."""
    excepted: tuple[tuple[Finding, Excepted], ...] = ()
    stale: tuple[Excepted, ...] = ()
    """Exceptions that match nothing any more: to be removed."""
    notes: tuple[str, ...] = field(default=())
    """What was not judged, and why."""

    @property
    def ok(self) -> bool:
        """Nothing is left, and no exception is stale."""
        return not self.findings and not self.stale

    @property
    def open(self) -> int:
        """How many excepted findings wait for what this machine cannot ask."""
        return sum(1 for _, exception in self.excepted if exception.open)

    def to_json(self) -> dict[str, Any]:
        """For programs; see `berth judge --json`."""
        return {
            "judge": self.judge,
            "version": self.version,
            "judged": self.judged,
            "unit": self.unit,
            "ok": self.ok,
            "findings": [finding.to_json() for finding in self.findings],
            "excepted": [
                {**finding.to_json(), "reason": exception.reason, "open": exception.open}
                for finding, exception in self.excepted
            ],
            "staleExceptions": [exception.to_json() for exception in self.stale],
            "notes": list(self.notes),
        }
