"""The four commands through the Automation API: the stack opened, the run watched, its report made."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulumi.automation import LocalWorkspace, Stack
from pulumi.automation.errors import CommandError

from berth.deployer import Diagnostic, Event, Op, Report, Secret
from berth.deployer.report import redacted
from berth.deployer.values import Redactor

from .command import Command
from .engines import Marks, marks
from .errors import NoStack, PulumiError, explain
from .events import Translator
from .stackfile import overlay_of, private_copy, root_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from berth.deployer import Interpreter, RunRequest

    OnEvent = Callable[[Event], None]
    Confirm = Callable[[Report], bool | Awaitable[bool]]

_STOPPED = (
    "stopped on request; the Pulumi CLI finished what was under way and freed the stack. Repeat it to go on"
)
_COLOR = "never"


@dataclass(frozen=True)
class Options:
    """What only the Pulumi CLI can be told.

    Attributes:
        create: make the stack in the backend where it does not exist yet (`pulumi stack init`). That writes
            the secrets provider's line into the stack's file, as the CLI always does.
        secrets_provider: for `create`: what keeps the stack's secrets, such as `passphrase` or
            `awskms://ALIAS?region=REGION`; the backend's default without it.
        refresh: ask providers what there is before planning. An autoscaler's own number of nodes belongs
            to what there is: EKS takes it in one call with minimum and maximum.
    """

    create: bool = False
    secrets_provider: str | None = None
    refresh: bool = False


class PulumiReport(Report):
    """A report of the Pulumi CLI's run: the same as the deployer's but for the engine's name."""

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values without secrets."""
        return {**super().to_json(), "engine": "pulumi"}


class _Workspace(LocalWorkspace):
    """A workspace that leaves alone which stack the user has selected."""

    def select_stack(self, stack_name: str) -> None:
        self._run_pulumi_cmd_sync(["stack", "--stack", stack_name])

    def create_stack(self, stack_name: str) -> None:
        provider = ["--secrets-provider", self.secrets_provider] if self.secrets_provider else []
        self._run_pulumi_cmd_sync(["stack", "init", stack_name, "--no-select", *provider])


class Run:
    """One command on one stack. Blocking calls of the Automation API run in a thread."""

    def __init__(
        self,
        name: str,
        request: RunRequest,
        options: Options,
        on_event: OnEvent | None = None,
        interpreter: Interpreter | None = None,
    ) -> None:
        self.name, self.request, self.options = name, request, options
        self.redactor = Redactor()
        for key in request.secret_keys:
            self.redactor.add(request.config.get(key, ""))
        self.root = root_of(request)
        self.interpreter = interpreter
        self.cli = Command()
        self.stopped = False
        self.diagnostics: list[Diagnostic] = []
        self._folder: Path | None = None
        self._config_file: str | None = None
        self._on_event = on_event or (lambda _: None)
        self._loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        self._stack: Stack | None = None

    def tell(self, event: Event) -> None:
        """Tell the live display, from whichever thread this is."""
        self._loop.call_soon_threadsafe(self._on_event, event)

    def say(self, kind: str, message: str) -> None:
        """Tell the live display one sentence of ours."""
        self.tell(Event(kind, self.redactor.text(message)))

    @property
    def what(self) -> str:
        """How messages name the stack."""
        return f"stack {self.request.stack!r} of project {self.request.project!r}"

    @property
    def stack(self) -> Stack:
        """The stack, once `open` has found it."""
        assert self._stack is not None  # noqa: S101 - for the type checker; every command opens it first
        return self._stack

    async def blocking(self, work: Callable[[], Any]) -> Any:
        """Do something that blocks; what the CLI says of a failure is told apart.

        Raises:
            PulumiError: the CLI ended with an error.
        """
        try:
            return await asyncio.to_thread(work)
        except CommandError as error:
            raise self._explained(error) from None
        except asyncio.CancelledError:
            self.cli.interrupt()
            raise

    def _explained(self, error: CommandError) -> PulumiError:
        stdout, stderr = _output_of(error)
        found = explain(stderr, stdout, self.request.stack)
        return type(found)(self.redactor.text(str(found)))

    async def open(self) -> None:
        """Find the stack in the backend, or make it where that was asked for.

        Raises:
            PulumiError: it is not there, or the backend or the stack's secrets cannot be opened.
        """
        self.say("phase", f"opening {self.what} with the Pulumi CLI {self.cli.version}")
        try:
            self._stack = await self.blocking(lambda: Stack.select(self.request.stack, self._workspace()))
        except NoStack:
            if not self.options.create:
                raise
            self.say("phase", f"creating {self.what} in the Pulumi CLI's backend")
            self._stack = await self.blocking(lambda: Stack.create(self.request.stack, self._workspace()))

    def _workspace(self) -> _Workspace:
        return _Workspace(
            work_dir=str(self.root),
            pulumi_command=self.cli,
            secrets_provider=self.options.secrets_provider,
        )

    async def configure(self) -> None:
        """Make the run's own stack file, where the request has more than the user's file."""
        overlay = overlay_of(self.request)
        if not overlay:
            return
        self._folder = Path(tempfile.mkdtemp(prefix="berth-pulumi-"))  # for this user alone
        secret = self.request.secret_keys & overlay.keys()
        values = {key: value for key, value in overlay.items() if key not in secret}
        copy = private_copy(self.request, self.root, values, self._folder)
        self._config_file = str(copy)
        for key in sorted(secret):
            await self.blocking(functools.partial(self._encrypt, key, overlay[key]))

    def _encrypt(self, key: str, value: str) -> None:
        where = ["--stack", self.request.stack, "--config-file", str(self._config_file)]
        # The CLI takes one newline off what it reads.
        text = f"{value}\n" if value.endswith("\n") else value
        self.cli.feed(["config", "set", key, "--secret", *where], str(self.root), {}, text)

    async def engine(self, operation: str) -> tuple[Translator, Any, PulumiError | None]:
        """Run preview, up, destroy or preview_destroy: what was seen, the result, or why it failed."""
        planning = operation.startswith("preview")
        translator = Translator(self.tell, self.redactor, planning=planning)
        settings: dict[str, Any] = {"config_file": self._config_file, "color": _COLOR, "on_event": translator}
        if not planning:
            settings["show_secrets"] = False  # of the update's summary, which is not used
        if operation in {"preview", "up"} and (packs := self.request.policy_packs):
            settings["policy_packs"] = [str(pack.folder.resolve()) for pack in packs]
            configs = [str(pack.config.resolve()) for pack in packs if pack.config]
            settings["policy_pack_configs"] = configs
        if operation in {"preview", "up"}:
            settings["parallel"] = self.request.parallel
            settings["refresh"] = self.options.refresh or None
        method = getattr(self.stack, operation)
        try:
            return translator, await self.blocking(lambda: method(**settings)), None
        except PulumiError as error:
            return translator, None, error
        except RuntimeError as error:  # the Automation API's, where the CLI ended well without a summary
            return translator, None, PulumiError(f"the Pulumi CLI sent no events: {error}")

    def report(
        self, seen: Translator, error: PulumiError | None, outputs: Mapping[str, Any] | None = None
    ) -> Report:
        """The command's report; whatever is known to be secret is taken out."""
        messages = [*self.diagnostics, *seen.diagnostics]
        if problem := seen.findings.problem():
            messages.append(Diagnostic("error", problem, code="policy"))
        told = any(message.severity == "error" for message in messages)
        cancelled = self.stopped and error is not None
        if cancelled:
            messages.append(Diagnostic("warning", _STOPPED, code="cancelled"))
        elif error is not None and (not told or type(error) is not PulumiError):
            messages.append(Diagnostic("error", str(error), code=error.code))
        errors = [message for message in messages if message.severity == "error"]
        shown_outputs = seen.outputs if outputs is None else outputs
        self.redactor.add_secrets({k: v for k, v in shown_outputs.items() if v != Secret("[secret]")})
        report = PulumiReport(
            self.name,
            self.request.project,
            self.request.stack,
            seen.steps(),
            [*errors, *(message for message in messages if message.severity != "error")],
            dict(sorted(shown_outputs.items())),
            output_changes=seen.output_changes,
            program_output=seen.printed,
            seconds=time.monotonic() - self._began,
            ok=error is None and not cancelled and not problem,
            cancelled=cancelled,
            policy_results=seen.findings.results,
        )
        asked = self.request.policy_packs if self.name != "down" else ()
        alive = sum(step.op not in {Op.DELETE, Op.RETAIN, Op.READ} for step in report.steps)
        report.policy_packs = seen.findings.runs(asked, alive, str(error or ""))
        report.ok = report.ok and not any(run.error for run in report.policy_packs)
        return redacted(report, self.redactor)

    async def outputs(self) -> dict[str, Any]:
        """The stack's outputs, secret ones as `Secret`."""
        found = await self.blocking(self.stack.outputs)
        values = {name: Secret(one.value) if one.secret else one.value for name, one in found.items()}
        self.redactor.add_secrets(values)
        return dict(sorted(values.items()))

    def warn(self, found: Marks) -> None:
        """Keep what could not be found out, or recorded, for the report."""
        for text in found.warnings:
            message = Diagnostic("warning", self.redactor.text(text), code="engine")
            if message not in self.diagnostics:
                self.diagnostics.append(message)

    def close(self) -> None:
        """Remove what this run wrote."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _output_of(error: CommandError) -> tuple[str, str]:
    """A failed command's output: the Automation API keeps it only in the error's text."""
    text = str(error)
    before, _, stderr = text.partition("\n stderr: ")
    return before.partition("\n stdout: ")[2], stderr or text


async def preview(run: Run) -> Report:
    """See the package's `preview`."""
    async with _opened(run):
        run.say("phase", f"planning {run.what}")
        seen, _, error = await run.engine("preview")
        return run.report(seen, error)


async def up(run: Run, confirm: Confirm | None, stop: asyncio.Event | None) -> Report:
    """See the package's `up`."""
    async with _opened(run) as found, _stoppable(run, stop):
        # The CLI's own `up` meets a violation only when it has changed what comes before it.
        if (confirm or run.request.policy_packs) and (refused := await _ask(run, confirm, "preview")):
            return refused
        await found.write()
        run.warn(found)
        run.say("phase", f"deploying {run.what}")
        seen, result, error = await run.engine("up")
        outputs = None
        if result is not None:
            outputs = {k: Secret(v.value) if v.secret else v.value for k, v in result.outputs.items()}
        return run.report(seen, error, outputs)


async def down(run: Run, confirm: Confirm | None, stop: asyncio.Event | None) -> Report:
    """See the package's `down`."""
    async with _opened(run) as found, _stoppable(run, stop):
        if confirm is not None and (refused := await _ask(run, confirm, "preview_destroy")):
            return refused
        run.say("phase", f"deleting {run.what}")
        seen, _, error = await run.engine("destroy")
        if error is None:
            await found.remove()
            run.warn(found)
            text = (
                f"the stack stays in the backend, empty; `pulumi stack rm {run.request.stack}` removes it "
                "and its history"
            )
            run.diagnostics.append(Diagnostic("info", text, code="pulumi"))
        return run.report(seen, error, {})


async def outputs(run: Run) -> Mapping[str, Any]:
    """See the package's `outputs`."""
    try:
        await run.open()
        found = await run.outputs()
    finally:
        run.close()
    if not found:
        raise PulumiError(f"{run.what} is in the Pulumi CLI's backend, but has no outputs: was it deployed?")
    return found


async def _ask(run: Run, confirm: Confirm | None, operation: str) -> Report | None:
    """Plan, and ask, where there is somebody to ask: a report where that is the end of it."""
    run.say("phase", f"planning {run.what}")
    seen, _, error = await run.engine(operation)
    plan = run.report(seen, error)
    if error is not None or not plan.ok:
        if plan.policy_packs:
            plan.diagnostics.append(Diagnostic("info", "nothing was changed", code="policy"))
            plan.steps = []
        return plan
    if confirm is None:
        return None
    answer = confirm(plan)
    if bool(await answer if inspect.isawaitable(answer) else answer):
        return None
    plan.steps, plan.ok = [], False
    plan.diagnostics.append(Diagnostic("info", "not confirmed; nothing was changed"))
    return plan


@contextlib.asynccontextmanager
async def _opened(run: Run) -> Any:
    """The stack opened and configured, and not the deployer's; what was written for it removed at the end."""
    try:
        await run.open()
        async with marks(run.request, run.redactor, run.tell, run.interpreter) as found:
            run.warn(found)
            await run.configure()
            yield found
    finally:
        run.close()


@contextlib.asynccontextmanager
async def _stoppable(run: Run, stop: asyncio.Event | None) -> Any:
    """While this lasts, setting `stop` ends the CLI's operation in order."""

    async def watch(event: asyncio.Event) -> None:
        await event.wait()
        run.stopped = True
        run.say("message", "stopping: the Pulumi CLI finishes what is under way")
        run.cli.interrupt()

    watcher = asyncio.create_task(watch(stop)) if stop else None
    try:
        yield
    finally:
        if watcher is not None:
            watcher.cancel()
