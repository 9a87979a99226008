"""What a look at a cluster found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

State = Literal["ok", "mismatch", "unknown", "note"]
"""ok: it fits. mismatch: it does not, and `up` would fail or be unsafe. unknown: nobody could tell. note:
worth knowing, stops nothing."""
FAILED, OPEN = 1, 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        site: the stack's site.
        subject: the object, such as "pool l4" or "node gpu-1".
        state: see `State`.
        found: what is there.
        wanted: what the stack asks.
        remedy: what to do; "" where nothing is to be done.
    """

    site: str
    subject: str
    state: State
    found: str
    wanted: str = ""
    remedy: str = ""

    @property
    def text(self) -> str:
        """One sentence: subject, found, wanted, remedy."""
        wanted = f"; wanted: {self.wanted}" if self.wanted else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.site}: {self.subject}: {self.found}{wanted}{remedy}"


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 1 where anything does not fit, 3 where something is unknown, else 0."""
    states = {finding.state for finding in findings}
    if "mismatch" in states:
        return FAILED
    return OPEN if "unknown" in states else 0
