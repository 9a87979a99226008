"""A report as text: a tree with marks, properties on request, messages, outputs and counts last."""

from __future__ import annotations

import json
import re
import textwrap
from typing import TYPE_CHECKING, Any, Literal

from . import urns
from .renderpolicies import render_policies
from .report import Diagnostic, Op, PropertyChange, Report, Step
from .values import HIDDEN, NOT_KNOWN, dotted, leaves, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    Layout = Literal["tree", "flat"]

_MARKS = {
    Op.CREATE: "+",
    Op.UPDATE: "~",
    Op.REPLACE: "+-",
    Op.DELETE: "-",
    Op.RETAIN: "-",
    Op.SAME: "",
    Op.READ: ">",
}
_COLORS = {"+": "32", "~": "33", "+-": "35", "-": "31", "error": "31;1", "warning": "33"}
_SIGNS = {"add": "+", "update": "~", "delete": "-"}
_WORDS = {
    "create": ("to create", "created"),
    "update": ("to update", "updated"),
    "replace": ("to replace", "replaced"),
    "delete": ("to delete", "deleted"),
    "retain": ("to let go of", "let go of"),
    "same": ("unchanged", "unchanged"),
    "read": ("read", "read"),
}
_LABELS = {  # what most lines of a plan without account and cluster say; the last lines give it in full
    "planned without the provider": "no provider",
    "planned without the cluster": "no cluster",
}
_COLUMNS = {  # of the summary: the operations that each counts
    "create": "create",
    "update": "update",
    "replace": "replace",
    "delete retain": "delete",
    "same": "same",
}
_VALUE_WIDTH = 60  # characters of one value in the property view


def render(
    report: Report,
    *,
    layout: Layout = "tree",
    diff: bool = False,
    same: bool = False,
    color: bool = False,
    width: int = 80,
) -> str:
    """The report as text, at most `width` columns wide except for messages' own lines and words of outputs.

    The text of a preview depends on nothing but the report's content: the same plan gives the same bytes.

    Args:
        report: what a command returned.
        layout: `tree` shows each resource below its parent, `flat` one resource a line.
        diff: also show every property that changes.
        same: also show what does not change.
        color: with ANSI colours.
        width: columns.
    """
    paint = _paint if color else _plain
    lines = (_flat if layout == "flat" else _tree)(report.steps, same, paint, width)
    if diff:
        lines += ["", *_properties(report.steps, paint, width)] if report.changes else []
    lines += _messages(report.diagnostics, paint, width)
    lines += render_policies(report, short_type, paint, width)
    if report.program_output.strip():
        lines += [
            "",
            "Program output:",
            *textwrap.indent(report.program_output.rstrip(), "    ").splitlines(),
        ]
    lines += _outputs(report, paint, width)
    lines += ["", *_counts(report, width)]
    return "\n".join(lines).strip("\n") + "\n"


def render_findings(report: Report, *, color: bool = False, width: int = 80) -> str:
    """Only what policies found in a report, and the errors that kept it from being a plan."""
    paint = _paint if color else _plain
    errors = [message for message in report.errors if message.code != "policy"]
    lines = _messages(errors, paint, width) + render_policies(report, short_type, paint, width)
    return "\n".join(lines).strip("\n") + "\n"


def _plain(text: str, _: str) -> str:
    return text


def _paint(text: str, mark: str) -> str:
    code = _COLORS.get(mark)
    return f"\x1b[{code}m{text}\x1b[0m" if code and text else text


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 1)] + "…"


def short_type(type_: str) -> str:
    """A type as one reads it: `aws:ec2:Vpc` for `aws:ec2/vpc:Vpc`, only the kind for Kubernetes' own."""
    if type_.startswith(("kubernetes:", "pulumi:")):
        return type_.rpartition(":")[2]
    return re.sub(r"/\w+:(?=\w+$)", ":", type_)


def _title(step: Step) -> str:
    return f"{short_type(step.type)} {step.name}"


def _info(step: Step) -> str:
    if step.op in {Op.SAME, Op.READ} or not step.custom:
        return step.note
    text = step.op.value
    if step.replace_reasons:
        text += f" because of {', '.join(step.replace_reasons)}"
    elif step.op is Op.UPDATE and step.changes:
        text += f" {', '.join(change.path for change in step.changes)}"
    note = step.note
    for whole, short in _LABELS.items():
        note = note.replace(whole, short)
    return f"{text} ({note})" if note and step.op is not Op.REPLACE else text


def _line(step: Step, before: str, below: str, paint: Any, width: int) -> list[str]:
    """A step's line; what is said of it goes to a second one where both do not fit."""
    mark = _MARKS[step.op]
    head, info = f" {paint(f'{mark:<2}', mark)} ", _info(step)
    title = f"{before}{_title(step)}"
    if not info or len(title) + 2 + len(info) <= width - 4:
        return [f"{head}{_cut(f'{title}  {info}'.rstrip(), width - 4)}".rstrip()]
    indent = f"    {below}  "
    texts = textwrap.wrap(info, max(width - len(indent), 20), break_on_hyphens=False)
    return [f"{head}{_cut(title, width - 4)}", *(f"{indent}{text}" for text in texts)]


def _flat(steps: list[Step], same: bool, paint: Any, width: int) -> list[str]:
    shown_steps = [step for step in steps if step.is_change or (same and step.custom)]
    return [line for step in shown_steps for line in _line(step, "", "", paint, width)]


def _tree(steps: list[Step], same: bool, paint: Any, width: int) -> list[str]:
    by_urn = {step.urn: step for step in steps}
    shown_urns: set[str] = set()
    for step in steps:
        if same or step.is_change:
            urn = step.urn
            while urn and urn not in shown_urns:
                shown_urns.add(urn)
                urn = by_urn[urn].parent if urn in by_urn else ""
    visible = [step for step in steps if step.urn in shown_urns]
    children: dict[str, list[Step]] = {}
    for step in visible:
        children.setdefault(step.parent if step.parent in by_urn else "", []).append(step)
    lines: list[str] = []

    def visit(step: Step, before: str, branch: str, after: str) -> None:
        below = children.get(step.urn, [])
        bars = before + after + ("│ " if below else "")
        lines.extend(_line(step, before + branch, bars, paint, width))
        for index, child in enumerate(below):
            last = index == len(below) - 1
            visit(child, before + after, "└─ " if last else "├─ ", "   " if last else "│  ")

    for root in children.get("", []):
        visit(root, "", "", "")
    return lines


def _properties(steps: Iterable[Step], paint: Any, width: int) -> list[str]:
    lines: list[str] = []
    for step in steps:
        if not step.is_change:
            continue
        mark = _MARKS[step.op]
        lines.append(f" {paint(f'{mark:<2}', mark)} {_cut(f'{step.type} ({step.op.value})', width - 4)}")
        lines += textwrap.wrap(f"[{step.urn}]", width - 6, initial_indent=" " * 6, subsequent_indent=" " * 7)
        if step.object:
            lines.append(f"      {_cut(step.object, width - 6)}")
        if step.note:
            lines.append(f"      {_cut(step.note, width - 6)}")
        changes = step.changes
        if step.op is Op.CREATE or (step.op is Op.REPLACE and not changes):
            changes = tuple(_added(step.inputs))
        lines += [_property(change, step, paint, width) for change in changes]
    return lines


def _added(inputs: Any) -> Iterable[PropertyChange]:
    from_leaves = sorted(leaves(inputs), key=lambda item: [str(part) for part in item[0]])
    for path, value in from_leaves:
        if path:
            yield PropertyChange(dotted(path), "add", None, value)


def _property(change: PropertyChange, step: Step, paint: Any, width: int) -> str:
    sign = _SIGNS[change.kind]
    if change.kind == "update":
        value = f"{_value(change.before)} => {_value(change.after)}"
    else:
        value = _value(change.after if change.kind == "add" else change.before)
    if change.after == NOT_KNOWN:
        sources = step.references.get(re.split(r"[.\[]", change.path, maxsplit=1)[0], ())
        named = (f"{short_type(urns.type_of(urn))} {urns.name_of(urn)}" for urn in sources)
        value += f" from {', '.join(named)}" if sources else ""
    return f"      {paint(_cut(f'{sign} {change.path}: {value}', width - 6), sign)}"


def _value(value: Any) -> str:
    if value in (HIDDEN, NOT_KNOWN):
        return str(value)
    return _cut(json.dumps(value, ensure_ascii=False), _VALUE_WIDTH)


def _messages(diagnostics: list[Diagnostic], paint: Any, width: int) -> list[str]:
    lines: list[str] = []
    for message in diagnostics:
        first, *rest = message.message.splitlines() or [""]
        label = f"{message.severity}: " if message.severity != "info" else ""
        wrapped = textwrap.wrap(label + first, width, subsequent_indent="  ", break_on_hyphens=False)
        if label and wrapped:
            wrapped[0] = paint(label.rstrip(), message.severity) + wrapped[0][len(label) - 1 :]
        lines += ["", *wrapped, *(f"  {line}" for line in rest)]
    return lines


def _outputs(report: Report, paint: Any, width: int) -> list[str]:
    """The outputs: maps and lists with one entry a line, save a list that messages have said already."""
    names = {**dict.fromkeys(report.outputs), **dict.fromkeys(report.output_changes)}
    if not names:
        return []
    lines = ["", "Outputs:"]
    for name in sorted(names):
        sign = _SIGNS.get(report.output_changes.get(name, ""), " ")
        head = f"  {paint(sign, sign)} {name}"
        if name not in report.outputs:
            lines.append(head)
            continue
        value = shown(report.outputs[name])
        if _said_above(value, report.diagnostics):
            lines.append(f"{head}: {len(value)}, each in a message above")
            continue
        first, *rest = _entry(f"    {name}", value, 4, width)
        lines += [f"{head}{first[4 + len(name) :]}", *rest]
    return lines


def _said_above(value: Any, diagnostics: list[Diagnostic]) -> bool:
    """Whether an output is a list of texts with which messages end."""
    texts = [message.message for message in diagnostics]
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(item, str) and item != "" and any(text.endswith(item) for text in texts)
            for item in value
        )
    )


def _entry(head: str, value: Any, indent: int, width: int) -> list[str]:
    """A named value: on the name's line where it fits, else below. No word is cut: people copy them."""
    if isinstance(value, (dict, list)) and value:
        return [f"{head}:", *_entries(value, indent + 2, width)]
    if isinstance(value, str) and "\n" in value:
        return [f"{head}:", *(" " * (indent + 2) + line for line in value.splitlines())]
    return _wrapped(f"{head}: ", _scalar(value), indent + 4, width)


def _entries(value: Any, indent: int, width: int) -> list[str]:
    """What is in a map or list, an entry a line; in it, what is flat and fits is on one line as JSON."""
    lines: list[str] = []
    before = " " * indent
    for name, item in value.items() if isinstance(value, dict) else (("-", item) for item in value):
        head = f"{before}{name}" + (":" if isinstance(value, dict) else "")
        if isinstance(item, (dict, list)):
            parts = item.values() if isinstance(item, dict) else item
            flat = f"{head} {json.dumps(item, ensure_ascii=False)}"
            if len(flat) <= width and not any(isinstance(part, (dict, list)) and part for part in parts):
                lines.append(flat)
            elif isinstance(value, dict):
                lines += [head, *_entries(item, indent + 2, width)]
            else:
                first, *rest = _entries(item, indent + 2, width)
                lines += [f"{head} {first.lstrip()}", *rest]
        else:
            lines += _wrapped(f"{head} ", _scalar(item), indent + 2, width)
    return lines


def _scalar(value: Any) -> str:
    """A value as people read it: texts bare, unless they would be taken for another type."""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    try:
        json.loads(value)
    except ValueError:
        if value and value.strip() == value and "\n" not in value:
            return value
    return json.dumps(value, ensure_ascii=False)


def _wrapped(head: str, text: str, indent: int, width: int) -> list[str]:
    if len(head) + len(text) <= width:
        return [head + text]
    later = " " * indent
    return textwrap.wrap(
        head + text, width, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )


def _counts(report: Report, width: int) -> list[str]:
    done = report.command != "preview"
    parts = [
        f"{count} {_WORDS[op][done]}" for op, count in report.summary.items() if op not in {"same", "read"}
    ]
    same = report.summary.get("same", 0)
    if not parts:
        parts = ["no changes"]
    parts += [f"{same} unchanged"] if same else []
    errors = len(report.errors)
    state = f"; {errors} error{'s' if errors != 1 else ''}" if errors else "" if report.ok else "; not done"
    text = textwrap.wrap(f"Resources: {', '.join(parts)}{state}", width, subsequent_indent="  ")
    for whole, short in _LABELS.items():
        if number := sum(step.note.startswith(whole) for step in report.steps):
            text.append(f"{short}: {number} {whole}: only inputs are known")
    return [*text, f"Duration: {report.seconds:.1f} s"] if done else text


def summary(reports: Iterable[Report], *, width: int = 80) -> str:
    """One line of counts per stack, for previews of many."""
    rows = [["stack", *_COLUMNS.values(), "no-provider", "errors", "warnings", "ok"]]
    for report in reports:
        counts = report.summary
        found = [sum(counts.get(op, 0) for op in ops.split()) for ops in _COLUMNS]
        found += [sum(step.providerless for step in report.steps)]
        severities = [message.severity for message in report.diagnostics]
        found += [severities.count("error"), severities.count("warning")]
        rows.append([report.stack, *(str(count or "-") for count in found), "yes" if report.ok else "NO"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for stack, *cells in rows:
        numbers = (cell.rjust(size) for cell, size in zip(cells, widths[1:], strict=True))
        lines.append(_cut(f"{stack.ljust(widths[0])}  {' '.join(numbers)}".rstrip(), width))
    return "\n".join(lines) + "\n"
