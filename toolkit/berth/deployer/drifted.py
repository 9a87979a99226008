"""What a drift check found: as data, as JSON, as text. Nothing in it is secret."""

from __future__ import annotations

import enum
import json
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .report import Diagnostic
from .values import HIDDEN, NOT_KNOWN

if TYPE_CHECKING:
    from .managed import Writer
    from .values import Redactor

FORMAT = 1  # of the JSON; raised by a change that breaks readers
_VALUE_WIDTH = 56  # characters of one value in the text


class What(enum.StrEnum):
    """In which way the cluster differs from what the program asks."""

    CHANGED = "changed"  # a field has another value, and somebody else wrote it
    REMOVED = "removed"  # a field that the program sets is gone
    ADDED = "added"  # a field that the program does not set, written by somebody who is no known controller
    PENDING = "pending"  # the deployer wrote it: the program changed since the last `up`
    MISSING = "missing"  # the object is not there
    EXTRA = "extra"  # an object with the stack's mark that the program does not declare
    UNMARKED = "unmarked"  # the object is there without the stack's mark


class Remedy(enum.StrEnum):
    """What brings the cluster back to what the program asks."""

    UP = "up"
    TAKE_BACK = "take-back"  # an `up` that takes fields back from whoever wrote them
    BY_HAND = "by-hand"  # server-side apply never removes what others added


_SIGNS = {What.ADDED: "+", What.REMOVED: "-"}
_OF_OBJECTS = {
    What.MISSING: "not there",
    What.EXTRA: "not declared, but marked as the stack's",
    What.UNMARKED: "there without the stack's mark",
}


@dataclass(frozen=True)
class Drift:
    """One difference.

    Attributes:
        object: `Kind namespace/name`.
        cluster: how messages name the cluster.
        urn: the resource's; of an extra object, the one that it is marked with.
        path: the property, as Pulumi writes it; empty where a whole object is meant.
        asked: what the program asks; None where it asks nothing.
        has: what the cluster has; None where it has nothing. A secret is a word in either.
        writers: who wrote what is there; empty where the API server does not say.
        reason: why it is expected; empty where it is drift.
    """

    what: What
    object: str
    cluster: str
    urn: str = ""
    path: str = ""
    asked: Any = None
    has: Any = None
    writers: tuple[Writer, ...] = ()
    remedy: Remedy = Remedy.UP
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """The difference as plain values."""
        return {
            "what": self.what.value,
            "object": self.object,
            "cluster": self.cluster,
            "urn": self.urn,
            "path": self.path,
            "asked": self.asked,
            "has": self.has,
            "writers": [writer.to_json() for writer in self.writers],
            **({"reason": self.reason} if self.reason else {"remedy": self.remedy.value}),
        }


@dataclass(frozen=True)
class Unchecked:
    """A resource that could not be compared, and why."""

    type: str
    name: str
    urn: str
    reason: str
    cloud: bool = False  # another provider's than Kubernetes': never compared here


@dataclass
class DriftReport:
    """What a drift check found.

    Attributes:
        drift: the differences, by cluster and object.
        expected: what controllers wrote, each with its reason; no drift.
        unchecked: what was not compared.
        checked: how many objects were.
        diagnostics: messages; an error means that the check is not complete.
        clusters: the clusters that were asked.
    """

    project: str
    stack: str
    drift: list[Drift] = field(default_factory=list)
    expected: list[Drift] = field(default_factory=list)
    unchecked: list[Unchecked] = field(default_factory=list)
    checked: int = 0
    diagnostics: list[Diagnostic] = field(default_factory=list)
    clusters: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every Kubernetes object was compared: only then does no drift mean anything."""
        errors = any(message.severity == "error" for message in self.diagnostics)
        return not errors and all(one.cloud for one in self.unchecked) and bool(self.checked)

    @property
    def ok(self) -> bool:
        """Whether everything was compared and nothing differs."""
        return self.complete and not self.drift

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {
            "version": FORMAT,
            "project": self.project,
            "stack": self.stack,
            "ok": self.ok,
            "complete": self.complete,
            "checked": self.checked,
            "clusters": list(self.clusters),
            "drift": [one.to_json() for one in self.drift],
            "expected": [one.to_json() for one in self.expected],
            "notChecked": [
                {"type": one.type, "name": one.name, "urn": one.urn, "reason": one.reason, "cloud": one.cloud}
                for one in self.unchecked
            ],
            "diagnostics": [
                {"severity": d.severity, "message": d.message, "urn": d.urn, "code": d.code}
                for d in self.diagnostics
            ],
        }


def redacted(report: DriftReport, redactor: Redactor) -> DriftReport:
    """The report with every secret that is known by its end taken out of it."""

    def clean(one: Drift) -> Drift:
        return Drift(
            one.what,
            redactor.text(one.object),
            one.cluster,
            one.urn,
            redactor.text(one.path),
            redactor.value(one.asked),
            redactor.value(one.has),
            one.writers,
            one.remedy,
            one.reason,
        )

    report.drift = [clean(one) for one in report.drift]
    report.expected = [clean(one) for one in report.expected]
    report.diagnostics = [
        Diagnostic(d.severity, redactor.text(d.message), d.urn, d.code) for d in report.diagnostics
    ]
    return report


def render_drift(report: DriftReport, *, command: str = "./berth", width: int = 80) -> str:
    """The report as text, at most `width` columns wide except for names that are longer."""
    lines: list[str] = []
    seen = ""
    for one in report.drift:
        head = f"{one.object} on {one.cluster}" if len(report.clusters) > 1 else one.object
        if head != seen:
            lines += ["", head]
            seen = head
        lines += _one(one, width)
    lines += _unchecked(report, width)
    for message in report.diagnostics:
        lines += ["", *_wrap(f"{message.severity}: {message.message}", width, "  ")]
    lines += ["", *_counts(report, width), *_next(report, command, width)]
    return "\n".join(lines).strip("\n") + "\n"


def _one(one: Drift, width: int) -> list[str]:
    lines: list[str] = []
    if not one.path:
        lines += _wrap(f"  ! {_OF_OBJECTS[one.what]}", width, "    ")
    elif one.what is What.ADDED:
        lines += _wrap(f"  + {one.path}: {_value(one.has)}", width, "      ")
    elif one.what is What.REMOVED:
        lines += _wrap(f"  - {one.path}: {_value(one.asked)}", width, "      ")
    else:
        lines += _wrap(f"  ~ {one.path}", width, "      ")
        lines += [f"      asked: {_value(one.asked)}", f"      has:   {_value(one.has)}"]
    by = "; ".join(_writer(writer) for writer in one.writers)
    if one.what is What.PENDING:
        by = f"not deployed yet: the program changed since {_time(one.writers)}"
    elif by:
        by = f"by {by}"
    elif one.what in {What.REMOVED, What.ADDED}:
        by = "by: not recorded; the API server's audit log knows"
    return lines + (_wrap(f"      {by}", width, "      ") if by else [])


def _writer(writer: Writer) -> str:
    through = f" through {writer.subresource}" if writer.subresource else ""
    return f"{writer.manager} ({writer.operation}{through}), {writer.time or 'time unknown'}"


def _time(writers: tuple[Writer, ...]) -> str:
    return max((writer.time for writer in writers), default="") or "the last up"


def _value(value: Any) -> str:
    if value in (HIDDEN, NOT_KNOWN):
        return str(value)
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_WIDTH else text[: _VALUE_WIDTH - 1] + "…"


def _wrap(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ) or [text]


def _unchecked(report: DriftReport, width: int) -> list[str]:
    by_reason: dict[str, dict[str, list[str]]] = {}
    for one in report.unchecked:
        kinds = by_reason.setdefault(one.reason, {})
        kinds.setdefault(one.type.rpartition(":")[2], []).append(one.name)
    lines: list[str] = []
    for reason, kinds in by_reason.items():
        count = sum(map(len, kinds.values()))
        lines += ["", *_wrap(f"not checked, {count}: {reason}", width, "  ")]
        for kind, names in sorted(kinds.items()):
            lines += _wrap(f"  {kind}: {', '.join(names)}", width, "    ")
    return lines


def _counts(report: DriftReport, width: int) -> list[str]:
    objects = {(one.cluster, one.object) for one in report.drift}
    where = ", ".join(report.clusters) or "no cluster"
    found = {what: sum(one.what is what for one in report.drift) for what in What}
    parts = [f"{count} {what.value}" for what, count in found.items() if count]
    if parts:
        verdict = f"drift in {len(objects)} object{'s' if len(objects) != 1 else ''}: {', '.join(parts)}"
    else:
        verdict = "not everything was compared, and nothing drifted in the rest"
        verdict = "no drift" if report.complete else verdict if report.checked else "nothing was compared"
    text = f"{report.stack} on {where}: {verdict}; {report.checked} compared"
    if report.expected:
        text += f", {len(report.expected)} fields written by controllers as expected"
    return _wrap(text, width, "  ")


def _next(report: DriftReport, command: str, width: int) -> list[str]:
    remedies = {one.remedy for one in report.drift}
    up = f"{command} up {report.stack}"
    said: list[str] = []
    if Remedy.TAKE_BACK in remedies:
        said.append(f"{up} --take-back    # writes over what others wrote into fields that the program sets")
    elif Remedy.UP in remedies:
        said.append(f"{up}    # brings back what the program asks")
    if any(one.what is What.EXTRA for one in report.drift):
        said.append(f"{up}    # deletes marked objects that the program does not declare")
    if Remedy.BY_HAND in remedies:
        said.append("what was added (+) goes by the tool that wrote it, e.g. kubectl edit: an up keeps it")
    if not said:
        return []
    said.append("or take what is wanted into the program or the stack's file")
    return ["Next:", *(line for text in said for line in _wrap(f"  {text}", width, "    "))]
