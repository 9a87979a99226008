"""What came out of a drill: plain data, a page of text, and the text of its record."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from berth.operations.drill.ground import Ground
from berth.operations.drill.judge import FAILED, UNKNOWN, Check, Kept, checks, objectives
from berth.operations.drill.seen import LOAD, PROBE, Answer, Record, count
from berth.operations.drill.settings import DrillSettings
from berth.operations.drill.timeline import NOBODY, Second, latencies, seconds_of

Json = dict[str, Any]


@dataclass(frozen=True)
class Drilled:
    """A drill that is over.

    Attributes:
        ground, settings: what it was about, and how it went.
        record: everything that it saw.
        began: in the record's clock.
        started_at: the same in UTC.
        rate: requests a second of the overload.
        done: what the fault did, in words.
    """

    ground: Ground
    settings: DrillSettings
    record: Record
    began: float
    started_at: datetime
    rate: float
    done: str

    @cached_property
    def checks(self) -> list[Check]:
        """What must hold."""
        return checks(self.record, self.ground, self.settings.kind, self.settings.site)

    @cached_property
    def objectives(self) -> list[Kept]:
        """What it did to the stack's objectives; empty where it states none."""
        phases = self.record.phases
        spent = phases[-1].ended - phases[0].began if phases else 0.0
        return objectives(self.record, self.ground.objectives, spent)

    @cached_property
    def seconds(self) -> list[Second]:
        """The record by seconds."""
        return seconds_of(self.record, self.ground, self.began)

    @property
    def exit_code(self) -> int:
        """0 all passed, 1 something failed, 3 something is unknown and nothing failed."""
        verdicts = {one.verdict for one in self.checks} | {one.verdict for one in self.objectives}
        return 1 if FAILED in verdicts else 3 if UNKNOWN in verdicts or not self.objectives else 0

    @property
    def name(self) -> str:
        """Of its files: stack, fault and time."""
        return f"{self.ground.stack}-{self.settings.fault}-{self.started_at:%Y%m%dT%H%M%SZ}"

    def figure(self, check: str) -> float | None:
        """The figure of a check; `None` where it has none."""
        return next((one.value for one in self.checks if one.name == check), None)

    def to_json(self) -> Json:
        """Everything as plain data; it holds no key and no token."""
        return {
            "version": 1,
            "stack": self.ground.stack,
            "router": self.ground.router,
            "model": self.ground.model,
            "fault": self.settings.fault,
            "site": self.settings.site,
            "done": self.done,
            "simulated": self.ground.simulated,
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "machine": machine(),
            "rate": round(self.rate, 3),
            "sites": [
                {"name": one.name, "backend": one.backend, "cost_per_replica_hour": one.cost_per_replica_hour}
                for one in self.ground.sites
            ],
            "cost_cap_per_hour": self.ground.cost_cap_per_hour,
            "fault_at": self._at(self.record.fault_at),
            "restored_at": self._at(self.record.restored_at),
            "failover_seconds": self.figure("failover"),
            "checks": [one.to_json() for one in self.checks],
            "objectives": [one.to_json() for one in self.objectives],
            "phases": [
                {
                    "name": one.name,
                    "began": self._at(one.began),
                    "ended": self._at(one.ended),
                    **self._requests(one.name),
                }
                for one in self.record.phases
            ],
            "requests": self._summed(self.record.of(LOAD)),
            "probes": self._summed(self.record.of(PROBE)),
            "residency": {
                rule.name: self._summed(self.record.of(rule.name)) for rule in self.ground.residency
            },
            "events": [{"at": self._at(at), "event": text} for at, text in self.record.notes],
            "seconds": [one.to_json() for one in self.seconds],
        }

    def _at(self, moment: float | None) -> float | None:
        return None if moment is None else round(moment - self.began, 3)

    def _requests(self, phase: str) -> Json:
        answers = self.record.began_in(phase)
        return {"requests": count(answers), "backends": self._backends(answers)}

    def _summed(self, answers: list[Answer]) -> Json:
        return {"count": len(answers), "results": count(answers), "backends": self._backends(answers)}

    def _backends(self, answers: list[Answer]) -> dict[str, Json]:
        names = [one.backend for one in self.ground.sites]
        groups = {name: [one for one in answers if one.backend == name] for name in names}
        groups[NOBODY] = [one for one in answers if one.backend not in names]
        return {
            name: {"results": count(group), "latency_seconds": latencies(group)}
            for name, group in groups.items()
        }


def machine() -> str:
    """This machine in a few words."""
    with open("/proc/loadavg") as file:  # noqa: PTH123 - the kernel's
        load = file.read().split()[0]
    return f"{os.cpu_count()} CPUs, {platform.machine()}, Linux {platform.release()}, load {load} at the end"


def page(drilled: Drilled) -> str:
    """The report as text of 80 columns."""
    return "\n".join(_lines(drilled)) + "\n"


def _lines(drilled: Drilled) -> Iterator[str]:
    ground, settings = drilled.ground, drilled.settings
    yield f"Drill {settings.fault} of {ground.stack}: {settings.site}"
    yield from _wrapped("  done       ", drilled.done)
    if ground.simulated:
        yield from _wrapped("  simulated  ", ground.simulated)
    yield ""
    yield f"{'phase':<10}{'s':>6}{'sent':>7}{'ok':>7}{'429':>6}{'cut':>5}{'failed':>8}"
    for phase in drilled.record.phases:
        answers = drilled.record.began_in(phase.name)
        found = count(answers)
        row = f"{phase.name:<10}{phase.ended - phase.began:>6.0f}{len(answers):>7}{found['ok']:>7}"
        yield row + f"{found['refused']:>6}{found['cut']:>5}{found['failed']:>8}"
    yield ""
    yield f"{'answers':<10}  share and median of each site"
    for phase in drilled.record.phases:
        yield from _wrapped(f"{phase.name:<10}  ", _shares(ground, drilled.record.began_in(phase.name)))
    yield ""
    for check in drilled.checks:
        yield from _wrapped(f"  {check.verdict:<8} {check.name + ': '}", check.text)
    yield ""
    yield "Objectives: what this drill took of the error budget"
    if not drilled.objectives:
        yield from _wrapped("  unknown  ", "the stack states none (berth:monitoring: objectives)")
    for kept in drilled.objectives:
        yield from _wrapped(f"  {kept.verdict:<8} {kept.name + ': '}", kept.text)


def _shares(ground: Ground, answers: list[Answer]) -> str:
    parts = []
    given = [one for one in answers if one.backend]
    for site in ground.sites:
        here = [one for one in given if one.backend == site.backend]
        if here:
            middle = latencies(here).get("p50")
            time = "" if middle is None else f" {middle:.1f} s"
            parts.append(f"{site.name} {len(here) / len(given):.0%}{time}")
    return ", ".join(parts) or "-"


def _wrapped(start: str, text: str, width: int = 80) -> Iterator[str]:
    line = start
    for word in text.split():
        if len(line) + len(word) + 1 > width and line.strip():
            yield line.rstrip()
            line = " " * 11
        line += word + " "
    yield line.rstrip()


def markdown(drilled: Drilled, picture: str) -> str:
    """The text of a record: when, what, and the page."""
    return (
        f"# Drill: {drilled.settings.fault} of {drilled.ground.stack}, site {drilled.settings.site}\n\n"
        f"{drilled.started_at:%Y-%m-%d %H:%M} UTC, {machine()}. "
        f"The overload was {drilled.rate:.2f} requests/s.\n\n"
        f"![share, latency, queue and cost by site over time]({picture})\n\n"
        f"```\n{page(drilled)}```\n"
    )
