"""The Pulumi engine's events, told as Berth's own: steps, diagnostics, and what happens just now.

Their shapes are `sdk/go/common/apitype/events.go` of pulumi/pulumi, as `pulumi.automation.events` has them.
The engine has taken secrets out before it sends them; what is known to be secret here is taken out again.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from berth.deployer import Diagnostic, Event, Op, PropertyChange, Secret, Step
from berth.deployer import urns as urn_parts
from berth.deployer.report import output_changes
from berth.deployer.values import HIDDEN, Path, from_json, parse_path, shown

from .errors import plain
from .policies import Findings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pulumi.automation.events import (
        DiagnosticEvent,
        EngineEvent,
        PolicyEvent,
        StepEventMetadata,
        StepEventStateMetadata,
    )

    from berth.deployer.values import Redactor

_STACK = "pulumi:pulumi:Stack"
_PROVIDERS = "pulumi:providers:"
_OPS = {
    "same": Op.SAME,
    "refresh": Op.SAME,
    "create": Op.CREATE,
    "update": Op.UPDATE,
    "import": Op.UPDATE,
    "delete": Op.DELETE,
    "replace": Op.REPLACE,
    "create-replacement": Op.REPLACE,
    "delete-replaced": Op.REPLACE,
    "import-replacement": Op.REPLACE,
    "read": Op.READ,
    "read-replacement": Op.READ,
    "discard": Op.RETAIN,
    "discard-replaced": Op.RETAIN,
}
_NOTES = {
    "import": "taken over as it is",
    "discard": "was only read; nothing is deleted",
    "discard-replaced": "was only read; nothing is deleted",
    "refresh": "read from its provider again",
}
_DOING = {
    Op.CREATE: "creating",
    Op.UPDATE: "updating",
    Op.REPLACE: "replacing",
    Op.DELETE: "deleting",
    Op.RETAIN: "letting go of",
    Op.READ: "reading",
}
_DONE = {
    Op.CREATE: "created",
    Op.UPDATE: "updated",
    Op.REPLACE: "replaced",
    Op.DELETE: "deleted",
    Op.RETAIN: "let go of",
    Op.READ: "read",
    Op.SAME: "unchanged",
}
_SEVERITIES = {"error": "error", "warning": "warning", "info": "info", "info#err": "info"}


class Translator:
    """Takes the engine's events in order, on any one thread at a time.

    Args:
        tell: told what happens, as it happens.
        redactor: knows the secrets that were handed in.
        planning: whether this is a preview: its steps are planned, not done.
    """

    def __init__(self, tell: Callable[[Event], None], redactor: Redactor, *, planning: bool) -> None:
        self._tell_event, self._redactor, self._planning = tell, redactor, planning
        self._steps: dict[str, Step] = {}
        self._began: dict[str, float] = {}
        self._printed: list[str] = []
        self.diagnostics: list[Diagnostic] = []
        self.outputs: dict[str, Any] = {}
        self.output_changes: dict[str, str] = {}
        self.failed = False
        self.findings = Findings()

    def __call__(self, event: EngineEvent) -> None:
        """Take one event."""
        if event.resource_pre_event:
            self._pre(event.resource_pre_event.metadata)
        elif event.res_outputs_event:
            self._finished(event.res_outputs_event.metadata)
        elif event.res_op_failed_event:
            self._op_failed(event.res_op_failed_event.metadata)
        elif event.diagnostic_event:
            self._diagnostic(event.diagnostic_event)
        elif event.policy_event:
            self._policy(event.policy_event)
        elif event.stdout_event:
            if text := plain(event.stdout_event.message).strip():
                self._tell("message", text)
        elif event.summary_event:
            self.findings.ran(event.summary_event.policy_packs or {})
            if event.summary_event.maybe_corrupt:
                text = "the Pulumi engine says that the stack's state may be corrupt: run `pulumi refresh`"
                self.diagnostics.append(Diagnostic("warning", text, code="pulumi"))

    @property
    def printed(self) -> str:
        """What the program and its plugins printed."""
        return "".join(self._printed)

    def steps(self) -> list[Step]:
        """Every step in the order of the tree; structure gets the operation that all of its objects share."""
        children: dict[str, list[Step]] = {}
        for step in sorted(self._steps.values(), key=lambda one: (one.type, one.name, one.urn)):
            if step.urn in self._began and step.is_change and not step.note:
                step.note = "not finished"
            step.parent = step.parent if step.parent in self._steps else ""
            children.setdefault(step.parent, []).append(step)
        ordered: list[Step] = []

        def visit(step: Step) -> set[Op]:
            ordered.append(step)
            below = {op for child in children.get(step.urn, []) for op in visit(child)}
            if not step.custom and step.op is not Op.DELETE:
                step.op = Op.CREATE if below == {Op.CREATE} else Op.SAME
            return below | {step.op} if step.custom else below

        for root in children.get("", []):
            visit(root)
        return ordered

    def _tell(self, kind: str, message: str, step: Step | None = None) -> None:
        urn, op = (step.urn, step.op.value) if step else ("", "")
        what = self._redactor.text(_called(step)) if step else ""
        self._tell_event(Event(kind, self._redactor.text(message), urn, op, what))

    def _pre(self, metadata: StepEventMetadata) -> None:
        step = self._note(metadata)
        if step is None or not step.custom:
            return
        if self._planning:
            self._tell("planned", _called(step), step)
        elif step.op is not Op.SAME:
            self._began.setdefault(step.urn, time.monotonic())
            self._tell("started", f"{_DOING[step.op]} {_called(step)}", step)

    def _finished(self, metadata: StepEventMetadata) -> None:
        step = self._note(metadata)
        if step is None:
            return
        if step.type == _STACK:
            self._outputs(metadata)
        began = self._began.pop(step.urn, None)
        if not step.custom or self._planning:
            return
        if began is not None:
            step.seconds += time.monotonic() - began
        self._tell("finished", f"{_DONE[step.op]} {_called(step)} ({step.seconds:.1f} s)", step)

    def _op_failed(self, metadata: StepEventMetadata) -> None:
        step = self._note(metadata)
        self.failed = True
        if step is None:
            return
        self._began.pop(step.urn, None)
        step.note = "failed"
        self._tell("failed", f"{_DOING.get(step.op, 'reading')} {_called(step)} failed", step)

    def _outputs(self, metadata: StepEventMetadata) -> None:
        """The stack's outputs as the engine shows them: it has put `[secret]` where one is secret."""
        if metadata.new is None:
            return
        before = _values(metadata.old.outputs if metadata.old else None)
        after = _values(metadata.new.outputs)
        self.output_changes = output_changes(before, after)
        self.outputs = {name: Secret(HIDDEN) if value == HIDDEN else value for name, value in after.items()}

    def _note(self, metadata: StepEventMetadata) -> Step | None:
        """Merge what this event says into the resource's step: a replacement comes as several operations."""
        op = _OPS.get(metadata.op.value)
        if op is None:  # remove-pending-replace: housekeeping of the engine's own state
            return None
        step = self._steps.get(metadata.urn)
        if step is None:
            step = self._steps[metadata.urn] = _new_step(metadata, op)
        elif op is not Op.SAME and step.op is not Op.REPLACE:
            step.op = op
        state = metadata.new or metadata.old
        if state is not None:
            step.object = _object(metadata.type, state) or step.object
            if metadata.new is not None or not step.inputs:
                step.inputs = shown(_values(state.inputs))
        if op is Op.DELETE and metadata.old is not None and metadata.old.retain_on_delete:
            step.op = Op.RETAIN
        step.note = step.note or _NOTES.get(metadata.op.value, "")
        reasons = _reasons(metadata)
        step.replace_reasons = tuple(dict.fromkeys((*step.replace_reasons, *reasons)))
        step.changes = _changes(metadata) or step.changes
        return step

    def _diagnostic(self, event: DiagnosticEvent) -> None:
        severity = _SEVERITIES.get(event.severity)
        text = plain(event.message)
        if severity is None or not text.strip():  # debug
            return
        if event.ephemeral:
            step = self._steps.get(event.urn or "")
            self._tell("waiting", f"{_called(step)}: {text.strip()}" if step else text.strip(), step)
        elif severity == "info" and event.stream_id:
            # The engine numbers the streams that it captures: what the program and its plugins print.
            self._printed.append(text if text.endswith("\n") else f"{text}\n")
        else:
            self._keep(Diagnostic(severity, text.strip(), event.urn or "", _code(event.urn or "", severity)))

    def _policy(self, event: PolicyEvent) -> None:
        result = self.findings.add(event)
        text = f"{result.policy} ({result.level}, {result.pack}): {result.message}"
        self._tell("failed" if result.fails else "message", text, self._steps.get(result.urn))

    def _keep(self, message: Diagnostic) -> None:
        if message not in self.diagnostics:
            self.diagnostics.append(message)
            self._tell("failed" if message.severity == "error" else "message", message.message)


def _new_step(metadata: StepEventMetadata, op: Op) -> Step:
    state = metadata.new or metadata.old
    structure = metadata.type == _STACK or metadata.type.startswith(_PROVIDERS)
    return Step(
        urn=metadata.urn,
        type=metadata.type,
        name=urn_parts.name_of(metadata.urn),
        parent=state.parent if state else "",
        op=op,
        provider=(state.provider if state else "").rpartition("::")[0],  # a reference is <urn>::<id>
        protect=bool(state and state.protect),
        custom=bool(state and state.custom) and not structure,
    )


def _called(step: Step | None) -> str:
    """What people call it: the Kubernetes object, else the short type and the name."""
    if step is None:
        return ""
    return step.object or f"{step.type.rpartition(':')[2]} {step.name}"


def _values(properties: Mapping[str, Any] | None) -> dict[str, Any]:
    return from_json(json.dumps(properties)) if properties else {}


def _object(token: str, state: StepEventStateMetadata) -> str:
    """`Kind namespace/name` where it is a Kubernetes object whose name is known."""
    if not token.startswith("kubernetes:"):
        return ""
    metadata: dict[str, Any] = {}
    for properties in (state.inputs, state.outputs):
        found = _values(properties).get("metadata")
        metadata |= found if isinstance(found, dict) else {}
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if not isinstance(name, str):
        return ""
    kind = token.rpartition(":")[2]
    return f"{kind} {namespace}/{name}" if isinstance(namespace, str) else f"{kind} {name}"


def _reasons(metadata: StepEventMetadata) -> list[str]:
    detailed = metadata.detailed_diff or {}
    exact = [path for path, diff in detailed.items() if diff.diff_kind.value.endswith("-replace")]
    return exact or list(metadata.keys or [])


def _changes(metadata: StepEventMetadata) -> tuple[PropertyChange, ...]:
    """What changes. The engine names paths only; the values are looked up in the states it sends along."""
    detailed = metadata.detailed_diff or {}
    if not detailed:
        detailed_paths = [(path, "", False) for path in metadata.diffs or []]
    else:
        detailed_paths = [
            (path, diff.diff_kind.value.removesuffix("-replace"), diff.input_diff)
            for path, diff in detailed.items()
        ]
    found: list[PropertyChange] = []
    for path, kind, inputs_only in detailed_paths:
        before = _at(metadata.old, path, inputs_only=inputs_only)
        after = _at(metadata.new, path, inputs_only=True)
        if not kind:
            kind = "add" if before is None else "delete" if after is None else "update"  # noqa: PLW2901
        found.append(PropertyChange(path, kind, before, after))
    return tuple(found)


def _at(state: StepEventStateMetadata | None, path: str, *, inputs_only: bool) -> Any:
    """The value at a path as it may be shown; None where there is none."""
    if state is None:
        return None
    places = [state.inputs] if inputs_only else [state.outputs, state.inputs]
    try:
        parts = parse_path(path)
    except ValueError:
        return None
    for place in places:
        found = _walk(_values(place), parts)
        if found is not None:
            return shown(found)
    return None


def _walk(value: Any, parts: Path) -> Any:
    for part in parts:
        if isinstance(value, Secret):
            return value
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _code(urn: str, severity: str) -> str:
    """Of what sort a message is: the program's own come with the stack's URN, or none."""
    return "program" if severity != "error" or urn_parts.type_of(urn) in {"", _STACK} else "resource"
