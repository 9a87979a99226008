"""What a proof says of each link of a chain."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .facts import Figure

Verdict = Literal["passed", "failed", "unknown"]
WORST: tuple[Verdict, ...] = ("failed", "unknown", "passed")
EXIT_CODES: dict[Verdict, int] = {"passed": 0, "failed": 1, "unknown": 3}


@dataclass(frozen=True)
class Finding:
    """One thing that a link found.

    Attributes:
        verdict: passed, failed or unknown.
        detail: what was compared, and what came of it.
        objects: those that do not meet, or that were compared.
        remedy: what to do; empty where nothing is.
    """

    verdict: Verdict
    detail: str
    objects: tuple[str, ...] = ()
    remedy: str = ""


@dataclass(frozen=True)
class Link:
    """One link of a chain.

    Attributes:
        name: its key, such as `capacity`.
        title: what it says when it holds.
        findings: what was found, the worst first.
        figures: of the time budget, each step.
    """

    name: str
    title: str
    findings: tuple[Finding, ...]
    figures: tuple[Figure, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of its findings."""
        return worst(*(finding.verdict for finding in self.findings))

    def to_json(self) -> dict[str, Any]:
        """The same as plain data."""
        plain = dataclasses.asdict(self)
        if not self.figures:
            del plain["figures"]
        return {"name": plain.pop("name"), "verdict": self.verdict, **plain}


@dataclass(frozen=True)
class Chain:
    """The way from one model server's load to more of its replicas.

    Attributes:
        autoscaler: what scales it.
        target: what is scaled.
        pool: the node pool of its pods; None where they are on none, or none is selected.
        links: from the metric to the nodes.
        cluster: whose they are, as the plan names its provider; "" where it has one cluster alone.
    """

    autoscaler: str
    target: str
    pool: str | None
    links: tuple[Link, ...]
    cluster: str = ""

    @property
    def verdict(self) -> Verdict:
        """The worst of its links."""
        return worst(*(link.verdict for link in self.links))

    def to_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "autoscaler": self.autoscaler,
            "target": self.target,
            "cluster": self.cluster,
            "pool": self.pool,
            "verdict": self.verdict,
            "links": [link.to_json() for link in self.links],
        }


@dataclass(frozen=True)
class Proof:
    """Everything that the static part says of a stack."""

    stack: str
    chains: tuple[Chain, ...]
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of its chains."""
        return worst(*(chain.verdict for chain in self.chains))

    @property
    def exit_code(self) -> int:
        """0 passed, 1 failed, 3 only unknown."""
        return EXIT_CODES[self.verdict]

    def to_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "stack": self.stack,
            "verdict": self.verdict,
            "chains": [chain.to_json() for chain in self.chains],
            "notes": list(self.notes),
        }


def worst(*verdicts: Verdict) -> Verdict:
    """Failed before unknown before passed; passed where there are none."""
    return next((one for one in WORST if one in verdicts), "passed")
