"""An alert, a recorded series, what is not watched; and the little of PromQL that all rules share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from berth_components.monitoring.facts import GATEWAY, SERVER_LABELS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth_components.monitoring.facts import Parts, Server

PAGE, TICKET, INFO, NONE = "page", "ticket", "info", "none"
SEVERITIES = (PAGE, TICKET, INFO, NONE)
"""page: somebody is woken. ticket: during the day. info: shown, sent nowhere. none: the dead-man's switch."""
BY = ", ".join(SERVER_LABELS)
"""What tells servers apart, for `by (…)`."""
WHICH = "{{ $labels.model }} at {{ $labels.site }}"
"""A server in the words of an alert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A condition that somebody has to know of.

    Attributes:
        name: also of its runbook, docs/runbooks/<name>.md.
        expr: PromQL; it fires for each series of the result.
        severity: of `SEVERITIES`.
        hold: seconds that the condition must last.
        summary: one line.
        description: what it means for users, in plain words.
        needs: scrape jobs whose series it reads.
        labels: further ones.
    """

    name: str
    expr: str
    severity: str
    hold: int
    summary: str
    description: str
    needs: tuple[str, ...] = (GATEWAY,)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """A recorded series, `level:metric:operations`."""

    name: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = (GATEWAY,)


@dataclass(frozen=True, slots=True)
class Unwatched:
    """An alert that is not there, and why.

    Attributes:
        alert: its name.
        server: "site/model" where it is about one, else "".
        reason: what is missing, and so what to do.
    """

    alert: str
    server: str
    reason: str


def title(server: Server) -> str:
    """A server's key in a stack's outputs, and its variant where it is not the main one."""
    return f"{server.site}/{server.model}" + ("" if server.variant == "main" else f" ({server.variant})")


def quoted(value: str) -> str:
    """A string of PromQL."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def of(server: Server, *further: str, job: str = GATEWAY) -> str:
    """The selector of a server's series, with further matchers."""
    own = [f"job={quoted(job)}", *(f"{key}={quoted(value)}" for key, value in server.labels.items())]
    return "{" + ", ".join([*own, *further]) + "}"


def recorded_of(server: Server, *further: str) -> str:
    """The selector of the series that are recorded of a server: they have no job."""
    own = [f"{key}={quoted(value)}" for key, value in server.labels.items()]
    return "{" + ", ".join([*further, *own]) + "}"


def duration(seconds: float) -> str:
    """A duration of PromQL, in whole seconds or minutes."""
    whole = max(0, round(seconds))
    return f"{whole // 60}m" if whole and whole % 60 == 0 else f"{whole}s"


def alert_rule(
    alert: Alert, parts: Parts, owner: str, runbooks: str, about: Mapping[str, str]
) -> dict[str, Any]:
    """As a rule file has it; `about` are the labels of what the whole group is about."""
    hold = alert.hold * parts.pending_scale
    return {
        "alert": alert.name,
        "expr": alert.expr,
        **({"for": duration(hold)} if round(hold) else {}),
        "labels": {"severity": alert.severity, "owner": owner, **about, **alert.labels},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": f"{runbooks.rstrip('/')}/{alert.name}.md",
        },
    }


def record_rule(record: Record, about: Mapping[str, str]) -> dict[str, Any]:
    """As a rule file has it; `about` as above."""
    labels = {**about, **record.labels}
    return {"record": record.name, "expr": record.expr, **({"labels": labels} if labels else {})}
