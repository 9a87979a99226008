"""The four things that can be done with a stack: preview, up, down, outputs."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
from typing import TYPE_CHECKING, Any

from .applying import Applier, remove
from .command import Command, arrange, now
from .errors import ClusterError, DeployError, Refused
from .lease import who
from .plan import protected
from .planning import Plan, declared_kinds, reach
from .prune import Doomed, undeclared
from .report import Diagnostic, Op, Report, Step, output_changes, redacted
from .session import Session
from .values import to_wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from .cluster import Cluster
    from .state import Record

    Confirm = Callable[[Report], bool | Awaitable[bool]]


async def _confirmed(confirm: Confirm | None, report: Report) -> bool:
    if confirm is None:
        return True
    answer = confirm(report)
    return bool(await answer if inspect.isawaitable(answer) else answer)


async def preview(command: Command) -> Report:
    """See the package's `preview`."""
    try:
        session, plan, ok = await command.plan(for_up=False)
        return command.report(session, [item.step() for item in plan.deletions], ok=ok)
    finally:
        await command.close()


async def up(command: Command, confirm: Confirm | None, stop: asyncio.Event | None) -> Report:
    """See the package's `up`."""
    return await _guarded(command, _up(command, confirm), stop)


async def down(command: Command, confirm: Confirm | None, stop: asyncio.Event | None) -> Report:
    """See the package's `down`."""
    return await _guarded(command, _down(command, confirm), stop)


async def _guarded(command: Command, work: Coroutine[Any, Any, Report], stop: asyncio.Event | None) -> Report:
    """Do the work until it ends, is stopped, or loses its Lease; clean up in any case."""
    task: asyncio.Task[Report] = asyncio.create_task(work)
    stopper = asyncio.create_task(stop.wait()) if stop else None
    try:
        await asyncio.wait([task, *([stopper] if stopper else [])], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            if command.lost is None and not (stop and stop.is_set()):
                raise
            return await _interrupted(command)
        except DeployError as error:
            command.context.complain(error)
            return command.report(command.session, command.gone, ok=False)
    finally:
        for running in (task, stopper):
            if running is not None and not running.done():
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError, DeployError):
                    await running
        await command.close()


async def _interrupted(command: Command) -> Report:
    """The report of a run that was stopped, or that lost its Lease."""
    if command.lost is not None:
        command.context.complain(command.lost)
    else:
        text = "stopped on request; what was under way may be half done. Run `up` again to finish it."
        command.context.diagnostics.append(Diagnostic("warning", text, code="cancelled"))
        with contextlib.suppress(ClusterError, TimeoutError):
            async with asyncio.timeout(5.0):
                await _mark(command, "cancelled")
    report = command.report(command.session, command.gone, ok=False)
    report.cancelled = command.lost is None
    return report


async def _mark(command: Command, state: str) -> None:
    """Write into each record how this run stands."""

    def change(record: Record) -> None:
        if state == "running" or record.run.get("id") == command.run_id:
            record.run = {**record.run, "id": command.run_id, "state": state, "by": who(), "at": now()}

    for cluster in command.context.clusters.all:
        if cluster.state.record is not None:
            await cluster.state.update(change)


async def _up(command: Command, confirm: Confirm | None) -> Report:
    session, plan, ok = await command.plan(for_up=True)
    if not ok:
        return _nothing_done(command)
    predicted = arrange(session, [item.step() for item in plan.deletions])
    asked = Report(
        "preview", command.request.project, command.request.stack, predicted, outputs=session.outputs
    )
    asked.output_changes = output_changes(command.last_outputs(), session.outputs)
    command.tell_policies(asked)
    if not await _confirmed(confirm, redacted(asked, command.redactor)):
        command.context.diagnostics.append(Diagnostic("info", "not confirmed; nothing was changed"))
        return command.report(None, [], ok=False)
    clusters = _active(command, session)
    await command.take_leases(clusters)
    if await _moved_on(command, session, plan):
        session, plan, ok = await command.plan(for_up=True)
        if not ok:
            return _nothing_done(command)
        again = arrange(session, [item.step() for item in plan.deletions])
        if confirm is not None and _gist(again) != _gist(predicted):
            raise Refused(
                "another run changed the stack in the meantime, so the plan is no longer the same; repeat"
            )
    return await _carry_out(command, session, plan)


def _gist(steps: list[Step]) -> list[tuple[str, Op]]:
    return [(step.urn, step.op) for step in steps if step.is_change]


def _nothing_done(command: Command) -> Report:
    """The report of an `up` that was refused before it began."""
    return command.report(None, [], ok=False)


def _active(command: Command, session: Session) -> list[Cluster]:
    """The clusters that this run writes to: those with objects now or before, else one for the record."""
    everywhere = command.context.clusters.all
    found = [c for c in everywhere if session.declared.get(c.uid) or c.members or c.state.record]
    return found or everywhere[:1]


async def _moved_on(command: Command, session: Session, plan: Plan) -> bool:
    """Read the records again, now that nobody else may write; whether another run ended in the meantime."""
    moved = False
    for cluster in command.context.clusters.all:
        await cluster.read(again=True)
        await cluster.list_members(*declared_kinds(session.declared.get(cluster.uid, {})))
        run = cluster.state.record.run.get("id", "") if cluster.state.record else ""
        moved = moved or run != plan.runs.get(cluster.uid, "")
    return moved


async def _carry_out(command: Command, planned: Session, plan: Plan) -> Report:
    """The part of an `up` that changes things; the Leases are held."""
    context = command.context
    clusters = _active(command, planned)
    before = [c.state.record.run.get("state") for c in clusters if c.state.record]
    resume = any(state != "succeeded" for state in before)
    for cluster in clusters:
        kinds, spaces = declared_kinds(planned.declared.get(cluster.uid, {}))

        def begin(record: Record, kinds: set[str] = kinds, spaces: set[str] = spaces) -> None:
            record.group_kinds |= kinds
            record.namespaces |= spaces
            record.run = {"id": command.run_id, "state": "running", "by": who(), "at": now()}

        await cluster.state.update(begin)
    context.tell("phase", f"deploying {command.what}")
    applier = Applier(context, plan, resume=resume)
    policies = await command.ask_policies(dry_run=False)
    if policies is not None:
        await policies.require()
    session = command.session = Session(context, applier, dry_run=False, preview=False, policies=policies)
    ok = await command.run_program(session)
    if ok:
        doomed = undeclared(context.clusters.all, session.declared)
        _refuse_protected(doomed)
        replaced = {(o.step.cluster, str(o.replaced)) for o in session.outcomes.values() if o.replaced}
        ok = await remove(context, doomed, command.gone)
        command.gone = [step for step in command.gone if (step.cluster, step.object) not in replaced]
    elif applier.not_started:
        text = f"{applier.not_started} more objects were not started, because something failed before"
        context.diagnostics.append(Diagnostic("warning", text))
    ok = await command.judge(session, ended_well=ok) and ok
    report = command.report(session, command.gone, ok=ok)
    await _settle(command, session, ok=ok)
    return report


def _refuse_protected(doomed: list[Doomed]) -> None:
    for item in doomed:
        if item.protected:
            raise Refused(protected(item.key, "deleted"))


async def _settle(command: Command, session: Session, *, ok: bool) -> None:
    """Write down how it ended; after a success also the outputs, and only what there is now."""
    clusters = _active(command, session)
    with_objects = [c for c in clusters if session.declared.get(c.uid)] or clusters[:1]
    known = [_known(cluster) for cluster in with_objects]
    outputs = json.dumps({"at": now(), "values": to_wire(session.outputs)})
    for cluster in clusters:
        if ok and cluster not in with_objects:
            await cluster.state.delete()
            continue
        kinds, spaces = declared_kinds(session.declared.get(cluster.uid, {}))
        kept = outputs if cluster is with_objects[0] else ""

        def end(record: Record, kinds: set[str] = kinds, spaces: set[str] = spaces, kept: str = kept) -> None:
            record.run = {**record.run, "state": "succeeded" if ok else "failed", "ended": now()}
            if ok:
                record.group_kinds, record.namespaces = kinds, spaces
                record.clusters, record.outputs = known, kept

        await cluster.state.update(end)


def _known(cluster: Cluster) -> dict[str, str]:
    """How a record names a cluster: never with credentials, and not by a kubeconfig's contents."""
    target = cluster.api.target
    path = target.source if target.source not in {"contents", "in-cluster"} else ""
    return {"uid": cluster.uid, "server": target.server, "context": target.context, "kubeconfig": path}


async def _reach_all(command: Command) -> list[Cluster]:
    """Every cluster of the stack: those that the program names, and those that its records name."""
    clusters = command.context.clusters
    for provider in await command.learn():
        await clusters.access(provider)
    for cluster in list(clusters.all):
        if cluster.unread:
            raise ClusterError(f"the stack's record cannot be read: {cluster.unread}")
        for known in cluster.state.record.clusters if cluster.state.record else []:
            if all(known.get("uid") != other.uid for other in clusters.all):
                await reach(command.context, known, cluster)
    return [cluster for cluster in clusters.all if cluster.state.record or cluster.members]


async def _down(command: Command, confirm: Confirm | None) -> Report:
    command.context.tell("phase", f"looking for {command.what}")
    clusters = await _reach_all(command)
    if not clusters:
        text = f"{command.what} has nothing on {_labels(command) or 'any cluster that its program names'}"
        command.context.diagnostics.append(Diagnostic("info", text))
        return command.report(None, [], ok=True)
    doomed = undeclared(clusters, {})
    _refuse_protected(doomed)
    steps = sorted((item.step() for item in doomed), key=lambda step: (step.type, step.name, step.urn))
    asked = redacted(Report("down", command.request.project, command.request.stack, steps), command.redactor)
    if not await _confirmed(confirm, asked):
        command.context.diagnostics.append(Diagnostic("info", "not confirmed; nothing was changed"))
        return command.report(None, [], ok=False)
    await command.take_leases(clusters)
    for cluster in clusters:
        await cluster.read(again=True)
    doomed = undeclared(clusters, {})
    _refuse_protected(doomed)
    await _mark(command, "running")
    command.context.tell("phase", f"deleting {command.what}")
    ok = await remove(command.context, doomed, command.gone)
    if ok:
        for cluster in clusters:
            await cluster.state.delete()
    else:
        await _mark(command, "failed")
    return command.report(None, command.gone, ok=ok)


def _labels(command: Command) -> str:
    return ", ".join(cluster.label for cluster in command.context.clusters.all)


async def outputs(command: Command) -> Mapping[str, Any]:
    """See the package's `outputs`."""
    try:
        clusters = await _reach_all(command)
        if not any(cluster.state.record for cluster in clusters):
            where = _labels(command) or "any cluster that its program names"
            raise DeployError(f"{command.what} is not deployed on {where}")
        return command.last_outputs()
    finally:
        await command.close()
