"""What the controller tells of itself and of what it sees, for Prometheus.

What is not known is absent, never 0: a site that was not heard of has no queue in here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from berth_agents.hybrid.decision import REASONS, TOTAL, Decision, Heard
from berth_agents.hybrid.documents import Hybrid


@dataclass
class Told:
    """What is told.

    Attributes:
        heard: by site, at the last decision.
        decisions: how many by reason.
        written: seconds since 1970 of the last weights that were written; 0: none yet.
    """

    hybrid: Hybrid
    heard: Mapping[str, Heard] = field(default_factory=dict)
    decision: Decision | None = None
    decisions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    written: float = 0.0


def render(told: Told) -> str:
    """Everything in Prometheus' text format."""
    hybrid, decision = told.hybrid, told.decision
    policy = hybrid.policy
    said = {
        name: one.said
        for name, one in told.heard.items()
        if one.said and one.seconds <= policy.silent_seconds
    }
    read = {name: seen for name, seen in said.items() if seen.known or not seen.ready_replicas}
    costs = {
        site.name: site.cost_per_replica_hour * seen.billed_replicas
        for site in hybrid.sites
        if (one := told.heard.get(site.name)) and (seen := one.said)
    }
    shares = {name: share / TOTAL for name, share in decision.weights.items()} if decision else {}
    lines = _Lines(hybrid)
    lines.by_site("site_weight_ratio", "Share of the requests that a site is given", shares)
    lines.by_site(
        "site_preference",
        "1 for the preferred site, 2 for the next",
        {site.name: place + 1 for place, site in enumerate(hybrid.sites)},
    )
    lines.by_site(
        "site_silent_seconds",
        "Time since a site's last good answer",
        {name: one.seconds for name, one in told.heard.items()},
    )
    lines.by_site(
        "waiting",
        "Requests that wait at a site for a slot of an engine",
        {name: seen.waiting for name, seen in read.items()},
    )
    lines.by_site(
        "running",
        "Requests that a site's engines work on",
        {name: seen.running for name, seen in read.items()},
    )
    lines.by_site(
        "ready_replicas",
        "Replicas of a site that serve",
        {name: seen.ready_replicas for name, seen in said.items()},
    )
    lines.by_site(
        "billed_replicas",
        "Pods of a site that are on a node, and so cost",
        {name: seen.billed_replicas for name, seen in said.items()},
    )
    lines.by_site("cost_dollars_per_hour", "What a site costs, by its billed replicas", costs)
    if policy.cost_cap_per_hour is not None:
        lines.one("cost_cap_dollars_per_hour", "What all sites together may cost", policy.cost_cap_per_hour)
    lines.one(
        "capped", "1 while the cost cap keeps load where it waits", int(bool(decision and decision.capped))
    )
    lines.head("decisions_total", "counter", "Decisions, by their reason")
    for reason in REASONS:
        lines.add("decisions_total", told.decisions[reason], reason=reason)
    if told.written:
        lines.one("written_timestamp_seconds", "When weights were last written", told.written)
    return "\n".join([*lines.lines, ""])


class _Lines:
    def __init__(self, hybrid: Hybrid) -> None:
        self._common = {"router": hybrid.router, "model": hybrid.model}
        self.lines: list[str] = []

    def head(self, name: str, kind: str, text: str) -> None:
        self.lines += [f"# HELP berth_hybrid_{name} {text}", f"# TYPE berth_hybrid_{name} {kind}"]

    def add(self, name: str, value: float, **labels: str) -> None:
        shown = ",".join(f'{key}="{word}"' for key, word in {**self._common, **labels}.items())
        self.lines.append(f"berth_hybrid_{name}{{{shown}}} {value}")

    def one(self, name: str, text: str, value: float) -> None:
        self.head(name, "gauge", text)
        self.add(name, value)

    def by_site(self, name: str, text: str, values: Mapping[str, float]) -> None:
        self.head(name, "gauge", text)
        for site, value in values.items():
            self.add(name, round(value, 6), site=site)
