"""From reports to reviews: what changes in one stack, what policies say of it, and what is still open."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from berth.deployer import Op
from berth.deployer.values import shown

from .cost import in_words
from .entries import compared, with_policies
from .model import Change, Entry, Finding, Pack, Reason, Resource, StackReview
from .properties import added, differences, is_churn
from .replacing import lost_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from berth.deployer import PolicyResult, Report, Step

OPEN = "findings"
"""The output in which our stacks say what is still open."""


def resources_of(report: Report) -> list[Resource]:
    """What a plan declares; what it only reads is left out."""
    return [_resource(step) for step in report.steps if step.op not in {Op.READ, Op.DELETE, Op.RETAIN}]


def _resource(step: Step) -> Resource:
    return Resource(
        urn=step.urn,
        type=step.type,
        name=step.name,
        parent=step.parent,
        custom=step.custom,
        inputs=step.inputs,
        object=step.object,
        aliases=step.aliases,
        protect=step.protect,
        retain=step.retain,
        ignore=step.ignore,
        replace_on=step.replace_on,
    )


def plan_against_plan(after: Report, before: Report) -> StackReview:
    """What changes between two plans of one stack."""
    if _errors(after):
        return _failed(after, "its program fails, and failed before") if _errors(before) else _failed(after)
    if _errors(before):
        return _without_comparison(after, _errors(before))
    return _compared(after, resources_of(before), before)


def plan_against_state(
    after: Report, deployed: Sequence[Resource], outputs: Mapping[str, Any]
) -> StackReview:
    """What changes between what is deployed, as an export tells it, and a plan."""
    return _failed(after) if _errors(after) else _compared(after, deployed, None, outputs)


def new_stack(after: Report, note: str = "") -> StackReview:
    """A stack that there was not before: everything is made."""
    if _errors(after):
        return _failed(after)
    cost = in_words(None, resources_of(after))
    return dataclasses.replace(_compared(after, [], None), state="new", note=note, cost=cost)


def gone_stack(name: str, before: Report | None) -> StackReview:
    """A stack that has no file any more."""
    count = len([step for step in before.steps if step.custom and step.op is not Op.READ]) if before else 0
    what = f"its {count} resources" if count else "what it made"
    note = f"its file is gone; that deletes nothing: {what} stay until `down` from a revision that has it"
    return StackReview(name, "gone", note)


def live(report: Report) -> StackReview:
    """What a preview against the live cluster says."""
    if _errors(report):
        return _failed(report)
    entries = with_policies(
        [_live_entry(step) for step in report.steps if step.op is not Op.READ], _violated(report)
    )
    outputs = tuple(
        Change(name, kind, None, shown(report.outputs.get(name)))  # type: ignore[arg-type]  # one of Kind
        for name, kind in sorted(report.output_changes.items())
    )
    changed = any(entry.is_change for entry in entries)
    return StackReview(
        report.stack,
        "changed" if changed else "same",
        entries=entries,
        outputs=outputs,
        warnings=_warnings(report, None),
        packs=_packs(report),
        findings=_findings(report.policy_results, None),
        open=tuple(("already", text) for text in _open(report)),
        cost=in_words(None, resources_of(report)),
    )


def _live_entry(step: Step) -> Entry:
    op = "same" if step.op is Op.SAME else step.op.value
    changes = tuple(
        Change(one.path, one.kind, one.before, one.after, is_churn(one.path))  # type: ignore[arg-type]  # as above
        for one in step.changes
    )
    notes = [note for note in (step.note, lost_with(step.type, op)) if note]
    return Entry(
        step.urn,
        step.type,
        step.name,
        op,
        parent=step.parent,
        custom=step.custom,
        object=step.object,
        changes=added(step.inputs) if op == "create" and step.custom else changes,
        reasons=tuple(
            Reason(path, "the API server refused to change it in place") for path in step.replace_reasons
        ),
        notes=tuple(notes),
    )


def _errors(report: Report) -> tuple[str, ...]:
    """Why a plan is not whole; what policies found is told apart."""
    found = tuple(dict.fromkeys(d.message for d in report.errors if not d.code.startswith("policy")))
    stopped = any(result.fails for result in report.policy_results) or any(
        p.error for p in report.policy_packs
    )
    return found or (() if report.ok or stopped else ("the plan is not complete",))


def _warnings(after: Report, before: Report | None) -> tuple[str, ...]:
    """What is warned of, and was not before; open findings are told apart."""
    known = {d.message for d in before.diagnostics} if before else set()
    told = tuple(_open(after))
    found = [d.message for d in after.diagnostics if d.severity == "warning" and d.message not in known]
    return tuple(dict.fromkeys(text for text in found if not (told and text.endswith(told))))


def _failed(after: Report, note: str = "its program fails") -> StackReview:
    return StackReview(
        after.stack,
        "failed",
        note,
        errors=_errors(after),
        packs=_packs(after),
        findings=_findings(after.policy_results, None),
    )


def _without_comparison(after: Report, errors: tuple[str, ...]) -> StackReview:
    return StackReview(
        after.stack,
        "not compared",
        "its program fails in the revision to compare with",
        errors=errors,
        warnings=_warnings(after, None),
        packs=_packs(after),
        findings=_findings(after.policy_results, None),
        open=tuple(("already", text) for text in _open(after)),
        cost=in_words(None, resources_of(after)),
    )


def _compared(
    after: Report,
    resources: Sequence[Resource],
    before: Report | None,
    outputs: Mapping[str, Any] | None = None,
) -> StackReview:
    entries = with_policies(compared(resources, resources_of(after)), _violated(after))
    known = before.outputs if before else outputs
    changed_outputs = _outputs(known, after.outputs) if known is not None else ()
    changed = any(entry.is_change for entry in entries)
    return StackReview(
        after.stack,
        "changed" if changed or changed_outputs else "same",
        entries=entries,
        outputs=changed_outputs,
        warnings=_warnings(after, before),
        packs=_packs(after),
        findings=_findings(after.policy_results, before.policy_results if before else None),
        open=tuple(_open_changes(after, before)),
        cost=in_words(resources, resources_of(after)),
    )


def _outputs(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """What differs in the outputs; what is still open is told apart."""
    old, new = ({name: shown(one[name]) for name in one if name != OPEN} for one in (before, after))
    return differences(old, new)


def _open(report: Report) -> list[str]:
    value = shown(report.outputs.get(OPEN))
    return sorted({item for item in value if isinstance(item, str)}) if isinstance(value, list) else []


def _open_changes(after: Report, before: Report | None) -> Iterable[tuple[str, str]]:
    now, then = _open(after), _open(before) if before else None
    for text in now:
        yield ("already" if then is None or text in then else "new"), text
    for text in then or ():
        if text not in now:
            yield "closed", text


def _violated(report: Report) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for result in report.policy_results:
        if result.status in {"violated", "broken"} and result.policy not in found[result.urn]:
            found[result.urn].append(result.policy)
    return found


def _packs(report: Report) -> tuple[Pack, ...]:
    return tuple(
        Pack(run.name, run.version, tuple(policy.name for policy in run.policies), run.error)
        for run in report.policy_packs
    )


def _findings(after: Iterable[PolicyResult], before: Iterable[PolicyResult] | None) -> tuple[Finding, ...]:
    """What policies found, each told apart by whether it was so before.

    The same policy may find several things in one resource: those with the same words are the same, and of
    the others as many were there before as there were.
    """
    if before is None:
        return tuple(_finding(result, "unknown") for result in after)
    after, left = list(after), list(before)
    since = ["new"] * len(after)
    for key in (lambda result: (*_gist(result), result.message), _gist):
        known = Counter(map(key, left))
        for index, result in enumerate(after):
            if since[index] == "new" and known[key(result)]:
                known[key(result)] -= 1
                since[index] = "already"
        left = _remaining(left, known, key)
    found = [_finding(result, word) for result, word in zip(after, since, strict=True)]
    return (*found, *(_finding(result, "closed") for result in left))


def _gist(result: PolicyResult) -> tuple[str, ...]:
    return result.pack, result.policy, result.status, result.urn


def _remaining(
    results: Iterable[PolicyResult],
    known: Counter[tuple[str, ...]],
    key: Callable[[PolicyResult], tuple[str, ...]],
) -> list[PolicyResult]:
    """Of the results before, as many as were not found again."""
    left: list[PolicyResult] = []
    for result in results:
        if known[key(result)]:
            known[key(result)] -= 1
            left.append(result)
    return left


def _finding(result: PolicyResult, since: str) -> Finding:
    return Finding(result.pack, result.policy, result.level, result.status, result.urn, result.message, since)
