"""What a run did, or would do: steps, diagnostics, outputs. Nothing in it is secret any more."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .compare import Change, veiled
from .values import Path, Redactor, Secret, dotted, shown

FORMAT = 1  # of the JSON; raised by a change that breaks readers
_MULTI = 1_000_000_000  # Pulumi's JSON gives durations in nanoseconds


class Op(enum.StrEnum):
    """What happens to an object."""

    SAME = "same"
    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    RETAIN = "retain"  # no longer declared, but kept in the cluster (`retain_on_delete`)
    READ = "read"


@dataclass(frozen=True)
class PropertyChange:
    """One changed property: its path as Pulumi writes it, `add`, `update` or `delete`, what may be shown."""

    path: str
    kind: str
    before: Any = None
    after: Any = None


@dataclass
class Step:
    """What happens to one resource.

    Attributes:
        urn: its URN; for an object that is deleted, the one it had.
        type: Pulumi's type token.
        name: its name in the program.
        parent: its parent's URN, empty at the root.
        op: what happens.
        object: the Kubernetes object as `Kind namespace/name`, or nothing.
        cluster: how messages name the cluster, or nothing.
        changes: the properties that change.
        replace_reasons: the properties that cannot change in place.
        note: one more thing to know, for example that this was planned without asking the cluster.
        inputs: the inputs, with secrets and unknowns replaced by words.
        seconds: how long it took, without the waiting of others.
        dependencies: URNs of the custom resources that it comes after.
        references: per top-level input, the URNs of the resources whose outputs are in it.
        provider: the URN of its explicit provider; empty for the default one.
        aliases: the URNs that it had before.
        protect: whether it may not be deleted.
        retain: whether its object stays when it is no longer declared.
        ignore: the property paths of which the program has changes ignored.
        replace_on: the property paths of which the program has changes replace it.
        providerless: whether it was planned without its provider: inputs known, the rest unknown.
        custom: false for components, providers and the stack itself: they are structure, not objects.
        manifest: of a Kubernetes object, what is applied without the bookkeeping: `Secret(None)` stands for
            each secret, with a Secret's keys kept, and `UNKNOWN` for what is not known. Never in JSON.
    """

    urn: str
    type: str
    name: str
    parent: str = ""
    op: Op = Op.SAME
    object: str = ""
    cluster: str = ""
    changes: tuple[PropertyChange, ...] = ()
    replace_reasons: tuple[str, ...] = ()
    note: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    dependencies: tuple[str, ...] = ()
    references: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    provider: str = ""
    aliases: tuple[str, ...] = ()
    protect: bool = False
    retain: bool = False
    ignore: tuple[str, ...] = ()
    replace_on: tuple[str, ...] = ()
    providerless: bool = False
    custom: bool = True
    manifest: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def is_change(self) -> bool:
        """Whether anything happens to an object."""
        return self.custom and self.op not in {Op.SAME, Op.READ}


@dataclass(frozen=True)
class Diagnostic:
    """One message: `severity` is error, warning or info; `code` says of what sort it is."""

    severity: str
    message: str
    urn: str = ""
    code: str = ""


@dataclass(frozen=True)
class Event:
    """Something that happened just now, for a live display.

    `kind` is one of: phase (a part of the run begins), planned, started, waiting (with the reason), finished,
    failed, retry, message. `urn` and `op` are empty where no resource is meant. `message` holds no secret.
    """

    kind: str
    message: str
    urn: str = ""
    op: str = ""
    object: str = ""


@dataclass(frozen=True)
class PolicyInfo:
    """One policy of a pack, and the level at which it ran: advisory, mandatory, remediate or disabled."""

    name: str
    level: str
    description: str = ""


@dataclass(frozen=True)
class PolicyResult:
    """One thing that a policy found, or why it could not look.

    Attributes:
        pack: the pack's name.
        policy: the policy's name.
        level: advisory or mandatory.
        status: `violated`; `remediated` (it changed the inputs); `unevaluated` (values that only an
            `up` can know); `broken` (it raised or ran out of time). None of them is a pass.
        urn: the resource; empty for the whole stack.
        message: what the policy says, without secrets.
    """

    pack: str
    policy: str
    level: str
    status: str
    urn: str = ""
    message: str = ""

    @property
    def fails(self) -> bool:
        """Whether a run with this result is not ok."""
        return self.status == "broken" or (self.status == "violated" and self.level == "mandatory")


@dataclass(frozen=True)
class PolicyPackRun:
    """One policy pack: its policies, how many resources they saw, and why it did not run, if it did not."""

    name: str
    version: str = ""
    policies: tuple[PolicyInfo, ...] = ()
    analyzed: int = 0
    error: str = ""


@dataclass
class Report:
    """The result of a preview, up or down.

    Attributes:
        command: preview, up or down.
        steps: every resource in the order of the tree, unchanged ones and structure included; see `changes`.
        diagnostics: messages, errors first as they happened.
        outputs: the stack's outputs; a secret one is a `Secret`, an unknown one `UNKNOWN`.
        output_changes: `add`, `update` or `delete` for outputs that differ from the last run's.
        program_output: what the program printed.
        seconds: how long it all took.
        ok: whether it did, or could do, everything.
        cancelled: whether it was stopped on request.
        clusters: the clusters that the stack reaches.
        policy_packs: the policy packs that were asked, also one that did not start.
        policy_results: what they found, in the order of packs, policies and URNs.
    """

    command: str
    project: str
    stack: str
    steps: list[Step] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    output_changes: Mapping[str, str] = field(default_factory=dict)
    program_output: str = ""
    seconds: float = 0.0
    ok: bool = True
    cancelled: bool = False
    clusters: tuple[str, ...] = ()
    policy_packs: tuple[PolicyPackRun, ...] = ()
    policy_results: tuple[PolicyResult, ...] = ()

    @property
    def changes(self) -> list[Step]:
        """The steps in which something happens to an object."""
        return [step for step in self.steps if step.is_change]

    @property
    def errors(self) -> list[Diagnostic]:
        """The diagnostics that are errors."""
        return [message for message in self.diagnostics if message.severity == "error"]

    @property
    def summary(self) -> dict[str, int]:
        """How many objects each operation concerns, unchanged ones included."""
        counts: dict[str, int] = {}
        for step in self.steps:
            if step.custom:
                counts[step.op.value] = counts.get(step.op.value, 0) + 1
        return dict(sorted(counts.items()))

    def to_json(self) -> dict[str, Any]:
        """The report in the shape of `pulumi preview --json`, as plain JSON values without secrets.

        `docs/plan.schema.json` describes it. A preview carries no duration: the same plan gives the same
        bytes.
        """
        timing = {} if self.command == "preview" else {"duration": int(self.seconds * _MULTI)}
        return {
            "version": FORMAT,
            "command": self.command,
            "project": self.project,
            "stack": self.stack,
            "engine": "berth-deployer",
            "ok": self.ok,
            "steps": [_step_json(step) for step in self.steps],
            "diagnostics": [
                {"severity": d.severity, "message": d.message, "urn": d.urn, "code": d.code}
                for d in self.diagnostics
            ],
            "outputs": shown(self.outputs),
            "outputChanges": dict(self.output_changes),
            "programOutput": self.program_output,
            **timing,
            "changeSummary": self.summary,
            "clusters": list(self.clusters),
            "policyPacks": [
                {**asdict(pack), "policies": [asdict(policy) for policy in pack.policies]}
                for pack in self.policy_packs
            ],
            "policyResults": [asdict(result) for result in self.policy_results],
        }


def _step_json(step: Step) -> dict[str, Any]:
    state = {
        "urn": step.urn,
        "type": step.type,
        "custom": step.custom,
        "parent": step.parent,
        "inputs": step.inputs,
        "dependencies": list(step.dependencies),
        "propertyDependencies": {key: list(found) for key, found in step.references.items()},
        "provider": step.provider,
        "aliases": list(step.aliases),
        "protect": step.protect,
    }
    return {
        "op": step.op.value,
        "urn": step.urn,
        "object": step.object,
        "cluster": step.cluster,
        "newState": None if step.op in {Op.DELETE, Op.RETAIN} else state,
        "diffReasons": [change.path for change in step.changes],
        "replaceReasons": list(step.replace_reasons),
        "detailedDiff": {
            change.path: {
                "kind": change.kind + ("-replace" if change.path in step.replace_reasons else ""),
                "inputDiff": False,
                "before": change.before,
                "after": change.after,
            }
            for change in step.changes
        },
        "note": step.note,
        "plannedWithoutProvider": step.providerless,
    }


def shown_changes(changes: list[Change], roots: set[Path]) -> tuple[PropertyChange, ...]:
    """Changes as they may be shown: what lies at or below a secret path is replaced by a word."""
    return tuple(
        PropertyChange(
            dotted(change.path),
            change.kind,
            shown(veiled(change.before, change.path, roots)),
            shown(veiled(change.after, change.path, roots)),
        )
        for change in changes
    )


def output_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Which outputs are added, changed or gone; values are compared without looking at what hides them."""
    changes: dict[str, str] = {}
    for name in {**before, **after}:
        if name not in after:
            changes[name] = "delete"
        elif name not in before:
            changes[name] = "add"
        elif before[name] != after[name]:
            changes[name] = "update"
    return dict(sorted(changes.items()))


def redacted(report: Report, redactor: Redactor) -> Report:
    """The report with every secret that is known by its end taken out of every text in it."""
    for step in report.steps:
        step.note, step.object = redactor.text(step.note), redactor.text(step.object)
        step.inputs = redactor.value(step.inputs)
        step.manifest = _emptied(step.manifest, redactor)
        step.replace_reasons = tuple(redactor.text(reason) for reason in step.replace_reasons)
        step.changes = tuple(
            PropertyChange(
                redactor.text(change.path),
                change.kind,
                redactor.value(change.before),
                redactor.value(change.after),
            )
            for change in step.changes
        )
    report.diagnostics = [
        Diagnostic(d.severity, redactor.text(d.message), d.urn, d.code) for d in report.diagnostics
    ]
    report.policy_results = tuple(
        replace(result, message=redactor.text(result.message)) for result in report.policy_results
    )
    report.policy_packs = tuple(replace(run, error=redactor.text(run.error)) for run in report.policy_packs)
    report.program_output = redactor.text(report.program_output)
    report.outputs = {name: _redacted_output(value, redactor) for name, value in report.outputs.items()}
    return report


def _emptied(value: Any, redactor: Redactor) -> Any:
    """A manifest with `Secret(None)` also for texts that carry a secret unmarked."""
    if isinstance(value, str):
        return value if redactor.text(value) == value else Secret(None)
    if isinstance(value, Mapping):
        return {key: _emptied(item, redactor) for key, item in value.items()}
    return [_emptied(item, redactor) for item in value] if isinstance(value, list) else value


def _redacted_output(value: Any, redactor: Redactor) -> Any:
    """An output: one that carries a secret unmarked is marked, since its text would be printed."""
    if isinstance(value, Secret) or not isinstance(value, (str, Mapping, list)):
        return value
    text = json.dumps(shown(value), ensure_ascii=False)
    return value if redactor.text(text) == text else Secret(value)
