"""One command on one stack: running its program, taking its Leases, making its report, cleaning up."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import secrets
import shutil
import time
from typing import TYPE_CHECKING, Any

from . import urns
from .cluster import Cluster, Clusters, Provider
from .errors import ClusterError, LockLost, ProgramError
from .foreign import refusal
from .lease import Hold, who
from .monitor import Monitor
from .planning import Plan, Planner
from .program import private_folder
from .report import Diagnostic, Event, Op, Report, Step, output_changes, redacted
from .request import Context, RunRequest
from .session import Session
from .state import StackState
from .values import Redactor, from_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .client import Api
    from .policy import Policies
    from .program import Ended, Interpreter

    OnEvent = Callable[[Event], None]

_UNHANDLED = "Program failed with an unhandled exception:\n"


def now() -> str:
    """This moment, as records keep it."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")


class Command:
    """One command on one stack: what its phases share, and the cleaning up after them."""

    def __init__(
        self,
        name: str,
        request: RunRequest,
        interpreter: Interpreter,
        began: float,
        on_event: OnEvent | None = None,
    ) -> None:
        self.name, self.request = name, request
        self.run_id = secrets.token_hex(4)
        self.redactor = Redactor()
        for key in request.secret_keys:
            self.redactor.add(request.config.get(key, ""))
        clusters = Clusters(self._state, self._retrying, self.redactor.add)
        self.context = Context(request, self.redactor, clusters, on_event or (lambda _: None))
        self.interpreter = interpreter
        self.folder = private_folder()
        self.holds: list[Hold] = []
        self.output = ""
        self.session: Session | None = None  # of the run that changes things
        self.gone: list[Step] = []  # what that run deleted
        self.lost: LockLost | None = None
        self.policies: Policies | None = None  # of the last run of the program
        self._began = began
        self._runs = 0

    def _state(self, api: Api) -> StackState:
        return StackState(api, self.request.project, self.request.stack, self.request.state_namespace)

    def _retrying(self, text: str) -> None:
        self.context.tell("retry", text)

    def _waiting(self, text: str) -> None:
        self.context.tell("waiting", text)

    @property
    def what(self) -> str:
        """How messages name the stack."""
        return f"stack {self.request.stack!r} of project {self.request.project!r}"

    async def run_program(self, session: Session) -> bool:
        """Run the program once; true where it ended well and nothing it asked for failed."""
        self._runs += 1
        request = self.request
        program = request.program.resolve()
        try:
            async with Monitor(session, self.folder / f"{self._runs}.sock") as monitor:
                ended = await self.interpreter.run(
                    {
                        "program": str(program),
                        "root": str((request.root or _root_of(program)).resolve()),
                        "project": request.project,
                        "stack": request.stack,
                        "organization": request.organization,
                        "config": dict(request.config),
                        "secretKeys": sorted(request.secret_keys),
                        "parallel": request.parallel,
                        "path": [str(folder.resolve()) for folder in request.path],
                        "dryRun": session.dry_run,
                        "policies": session.watch is not None,
                        "monitor": monitor.address,
                        "engine": monitor.address,
                    },
                    idle_seconds=request.idle_seconds,
                    idle_since=session.idle_since,
                )
        except ProgramError as error:
            self.context.complain(error)
            return False
        finally:
            await session.stop()
        self.output = ended.output
        return self._judge(session, ended)

    def _judge(self, session: Session, ended: Ended) -> bool:
        """Say what was wrong with a program's end, once."""
        logs, error = session.logs, ""
        crashed = [log for log in logs if log.message.startswith(_UNHANDLED)]
        if session.provoked:
            logs = [log for log in logs if log not in crashed]
        self.context.diagnostics += logs
        if ended.hung and session.done:
            self.context.diagnostics.append(
                Diagnostic(
                    "warning", f"the program had finished but did not exit: {ended.hung}", code="program"
                )
            )
            return not session.failed
        if ended.hung:
            seconds = f"{self.request.idle_seconds:.0f} s"
            error = f"the program did nothing for {seconds} and was stopped; it stood at: {ended.hung}"
        elif ended.code < 0:
            error = f"the program was killed by signal {-ended.code}"
        elif ended.code == 0 and not session.done:
            error = "the program ended before it had finished (os._exit?); nothing was concluded from it"
        elif ended.code and not any(log.severity == "error" for log in session.logs) and not session.failed:
            error = f"the program ended with exit code {ended.code}"
        if error:
            self.context.complain(ProgramError(error))
        return not error and ended.code == 0 and session.done and not session.failed

    async def plan(self, *, for_up: bool) -> tuple[Session, Plan, bool]:
        """Run the program in dry-run mode; the session, the plan, and whether an `up` could follow."""
        self.context.tell("phase", f"planning {self.what}")
        planner = Planner(self.context)
        policies = await self.ask_policies(dry_run=True)
        session = Session(self.context, planner, dry_run=True, preview=not for_up, policies=policies)
        ended_well = await self.run_program(session)
        if session.watch is not None:
            await self.judge(session, ended_well=ended_well)
        plan = await planner.complete(session, for_up=for_up, ended_well=ended_well)
        return session, plan, ended_well and not self._has_errors()

    async def ask_policies(self, *, dry_run: bool) -> Policies | None:
        """Start the policy packs for one run of the program, which goes on meanwhile; None without any."""
        if not self.request.policy_packs:
            return None
        from .policy import Policies  # noqa: PLC0415 - a run without policies need not pay for it

        if self.policies is not None:
            await self.policies.stop()
        self.policies = Policies(self.context, self.interpreter, dry_run=dry_run)
        return self.policies

    async def judge(self, session: Session, *, ended_well: bool) -> bool:
        """Let the policies look at the whole stack, and end them; whether they let it pass."""
        if session.watch is None:
            return True
        policies = session.watch.policies
        await policies.finish(session.watch.subjects() if ended_well else None)
        if problem := policies.problem():
            self.context.diagnostics.append(Diagnostic("error", problem, code="policy"))
        return not problem

    def _has_errors(self) -> bool:
        """Whether anything but the program's own messages is an error."""
        return any(d.severity == "error" and d.code != "program" for d in self.context.diagnostics)

    async def learn(self) -> list[Provider]:
        """The providers of the stack, without asking any cluster for anything.

        Raises:
            ProgramError: the program fails before it names one.
        """
        if self.request.kubeconfigs:
            return [
                Provider("", {"kubeconfig": path, "context": context})
                for path, context in self.request.kubeconfigs
            ]
        session = Session(self.context, None, dry_run=True, preview=True)
        before = len(self.context.diagnostics)
        ended_well = await self.run_program(session)
        found = [provider for provider in session.used_providers() if not provider.is_unknown]
        said, self.context.diagnostics[before:] = self.context.diagnostics[before:], []
        if session.lacking:
            raise refusal(session.lacking, f"{self.name} of {self.what}")
        if found or ended_well:
            self.context.diagnostics += [_milder(message) for message in said]
            return found
        reason = next((message.message for message in said if message.severity == "error"), "it names none")
        raise ProgramError(
            "the program fails before it says which clusters the stack is on; hand them over as kubeconfigs "
            f"instead. It says: {reason}"
        )

    async def take_leases(self, clusters: list[Cluster]) -> None:
        """Take the stack's Lease in each cluster, always in the same order.

        Raises:
            Locked: another run has one of them.
        """
        for cluster in clusters:
            state = cluster.state
            await state.make_namespace(f"{who()} run {self.run_id}", self._waiting)
            hold = Hold(cluster.api, state.namespace, state.name, self.what, self.run_id)
            await hold.take(self._waiting)
            self.holds.append(hold)
        work = asyncio.current_task()

        def lost(error: LockLost) -> None:
            self.lost = error
            if work is not None:
                work.cancel()

        for hold in self.holds:
            hold.keep(lost)

    async def close(self) -> None:
        """Give everything back: Leases, processes, connections, and a namespace that nobody uses."""
        try:
            if self.policies is not None:
                await self.policies.stop()
            for hold in self.holds:
                await hold.release()
            if self.holds:
                for cluster in self.context.clusters.all:
                    if cluster.state.record is None:
                        with contextlib.suppress(ClusterError):
                            await cluster.state.remove_namespace_if_unused(self._waiting)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            await self.context.clusters.close()

    def report(self, session: Session | None, steps: list[Step], *, ok: bool) -> Report:
        """The command's report; whatever is secret in it is taken out."""
        diagnostics = self.context.diagnostics
        if self.name == "preview":  # whatever came first: the same plan reads the same
            diagnostics = sorted(diagnostics, key=lambda d: (d.severity, d.urn, d.message))
        errors = [d for d in diagnostics if d.severity == "error"]
        report = Report(
            self.name,
            self.request.project,
            self.request.stack,
            arrange(session, steps) if session else steps,
            [*errors, *(d for d in diagnostics if d.severity != "error")],
            dict(sorted(session.outputs.items())) if session else {},
            program_output=self.output,
            seconds=time.monotonic() - self._began,
            ok=ok and not self._has_errors(),
            clusters=tuple(cluster.label for cluster in self.context.clusters.all),
        )
        self.tell_policies(report)
        if session is not None and self.name != "down":
            report.output_changes = output_changes(self.last_outputs(), report.outputs)
        return redacted(report, self.redactor)

    def tell_policies(self, report: Report) -> None:
        """Put into a report what policies found in the last run of the program."""
        if self.policies is not None:
            report.policy_packs, report.policy_results = self.policies.runs, self.policies.results

    def last_outputs(self) -> dict[str, Any]:
        """The outputs that the last successful `up` left, wherever it kept them."""
        kept = [c.state.record.outputs for c in self.context.clusters.all if c.state.record]
        found = sorted((from_json(text) for text in kept if text), key=lambda item: str(item["at"]))
        values: dict[str, Any] = found[-1]["values"] if found else {}
        self.redactor.add_secrets(values)
        return values


def _milder(message: Diagnostic) -> Diagnostic:
    severity = "warning" if message.severity == "error" else message.severity
    return Diagnostic(severity, message.message, message.urn, message.code)


def _root_of(program: Path) -> Path:
    """The nearest folder above the program with a Pulumi.yaml; the program's own without one."""
    folder = program if program.is_dir() else program.parent
    return next((place for place in (folder, *folder.parents) if (place / "Pulumi.yaml").exists()), folder)


def arrange(session: Session, steps: list[Step]) -> list[Step]:
    """All steps in the order of the tree; structure gets the operation that all of its objects share."""
    everything = {step.urn: step for step in [*session.steps.values(), *steps]}
    children: dict[str, list[Step]] = {}
    root = urns.stack_urn(session.request.stack, session.request.project)
    for step in sorted(everything.values(), key=lambda s: (s.type, s.name, s.urn)):
        if step.parent not in everything and step.urn != root:
            step.parent = root if root in everything else ""
        parent = step.parent
        children.setdefault(parent, []).append(step)
    ordered: list[Step] = []

    def visit(step: Step) -> set[Op]:
        ordered.append(step)
        below = [op for child in children.get(step.urn, []) for op in visit(child)]
        if not step.custom and below:
            step.op = below[0] if len(set(below)) == 1 and below[0] is Op.CREATE else Op.SAME
        return {*below, step.op} if step.custom else set(below)

    for step in children.get("", []):
        visit(step)
    return ordered
