"""Policy packs beside one run of a program: every resource as it is registered, then the whole stack.

The order is the Pulumi engine's: each resource's inputs go through the remediations of every pack, then
through the policies; when the program has ended, the policies of the whole stack see what it comes to. What
the engine does when a policy raises, which is to give up, is not followed: the policy is found, said to be
broken, and the others go on. A policy that does not answer in time costs the pack its process; the pack is
started again without it.
"""

from __future__ import annotations

import asyncio
import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from google.protobuf import empty_pb2
from pulumi.runtime.proto import analyzer_pb2

from .errors import ConfigError, ForbiddenError, Refused
from .policypack import LEVELS, Definition, Setting, load_definition, load_settings, reconcile
from .policyprocess import LateError, PackError, PackProcess, RaisedError, environment_of
from .report import Diagnostic, PolicyInfo, PolicyPackRun, PolicyResult
from .values import decode, dotted, encode, leaves, mark_secrets, secret_paths

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

    from .policyvalues import Subject
    from .program import Interpreter
    from .request import Context, PolicyPack

_DISABLED = LEVELS.index("disabled")
_RESOURCE, _STACK = analyzer_pb2.POLICY_TYPE_RESOURCE, analyzer_pb2.POLICY_TYPE_STACK
_LONGEST = 8_000  # characters of a message in a report
_PER_RESOURCE = 0.01  # seconds more for each resource of a stack that is looked at as a whole
_PATHS = 6  # changed properties that a remediation's message names


class _Pack:
    """One pack beside one run: its process, and what its policies said."""

    def __init__(
        self, pack: PolicyPack, context: Context, interpreter: Interpreter, *, dry_run: bool
    ) -> None:
        self.results: list[PolicyResult] = []
        self.error = ""
        self.name, self.version = pack.folder.resolve().name, ""
        self.settings: dict[str, Setting] = {}
        self.analyzed = 0
        self._pack, self._context, self._interpreter = pack, context, interpreter
        self._dry_run = dry_run
        self._types: dict[str, int] = {}
        self._descriptions: dict[str, str] = {}
        self._of_resources: frozenset[str] = frozenset()
        self._of_stacks: frozenset[str] = frozenset()
        self._remediating: frozenset[str] = frozenset()
        self._process: PackProcess | None = None
        self._enabled: frozenset[str] = frozenset()  # as the process is configured now
        self._suspects: set[str] = set()  # asked alone, since they raised before
        self._stuck: dict[str, int] = {}  # no longer asked; how many resources they missed
        self._asking = asyncio.Lock()
        self._restarts = 0
        self._seen: list[analyzer_pb2.AnalyzeRequest] = []  # for a process that has to begin again
        self._seconds = context.request.policy_seconds

    async def start(self) -> None:
        """Start it; where it does not start, `error` says why."""
        try:
            definition = load_definition(self._pack)
            given = load_settings(self._pack.config) if self._pack.config else {}
            self._process = self._make(definition)
            await self._process.start()
            await self._introduce(definition, given, self._pack.config)
        except (PackError, ConfigError) as error:
            await self._give_up(str(error))
        except RaisedError as error:
            await self._give_up(f"it raised {error}")
        except LateError:
            await self._give_up(f"it did not answer within {self._seconds:g} s")

    def _make(self, definition: Definition) -> PackProcess:
        request = self._context.request
        environment = environment_of(
            request.project, request.stack, request.organization, request.config, dry_run=self._dry_run
        )
        interpreter = self._interpreter.beside(definition.python or request.python)
        hide = self._context.redactor.text
        return PackProcess(interpreter, definition.folder, environment, request.pack_seconds, hide)

    async def _introduce(
        self, definition: Definition, given: Mapping[str, Setting], path: Path | None
    ) -> None:
        await self._tell_stack()
        info = await self._call("GetAnalyzerInfo", empty_pb2.Empty())
        self.name, self.version = info.name, definition.version or info.version
        self._types = {policy.name: policy.policy_type for policy in info.policies}
        self._descriptions = {policy.name: policy.description for policy in info.policies}
        self.settings = {policy.name: Setting(LEVELS[policy.enforcementLevel]) for policy in info.policies}
        self.settings = reconcile(info, given, path)
        self._of_resources, self._of_stacks = self._of_type(_RESOURCE), self._of_type(_STACK)
        levels = {name: setting.level for name, setting in self.settings.items()}
        self._remediating = frozenset(name for name in self._of_resources if levels[name] == "remediate")

    async def _tell_stack(self) -> None:
        request = self._context.request
        await self._call(
            "ConfigureStack",
            analyzer_pb2.AnalyzerStackConfigureRequest(
                stack=request.stack,
                project=request.project,
                organization=request.organization,
                dry_run=self._dry_run,
                config_secret_keys=sorted(request.secret_keys),
                config=request.config,
            ),
        )

    async def _call(self, method: str, request: Any, seconds: float = 0.0) -> Any:
        assert self._process is not None  # noqa: S101 - for the type checker; start() makes it
        return await self._process.call(method, request, seconds or self._seconds)

    async def _give_up(self, reason: str) -> None:
        self.error = reason
        if self._process is not None:
            await self._process.stop()

    def _of_type(self, type_: int) -> frozenset[str]:
        """The policies of one type that are asked: those of unknown type are asked as both."""
        return frozenset(
            name
            for name, setting in self.settings.items()
            if setting.level != "disabled" and self._types[name] in {type_, analyzer_pb2.POLICY_TYPE_UNKNOWN}
        )

    async def ask(
        self,
        names: frozenset[str],
        urn: str,
        call: Callable[[], Awaitable[Any]],
        take: Callable[[Any], None],
    ) -> None:
        """Ask some policies about one thing, all at once where that goes well.

        Args:
            names: the policies that the call is for.
            urn: what it is about.
            call: asks the pack's process, configured as it is then.
            take: gets each answer.
        """
        async with self._asking:
            if self._process is None:
                self.error = self.error or "it was ended before everything was asked"
            if self.error:
                return
            for name in self._stuck.keys() & names:
                self._stuck[name] += 1
            names = names - self._stuck.keys()
            restarts = self._restarts
            try:
                if (sound := names - self._suspects) and not await self._together(call, take):
                    await self._one_by_one(sound, urn, call, take)
                    names = names - sound
                await self._one_by_one(names & self._suspects, urn, call, take)
                if self._restarts != restarts:  # what was heard of this before, the new process has not seen
                    await self._repeat(call)
            except PackError as error:
                await self._give_up(str(error))

    async def _together(self, call: Callable[[], Awaitable[Any]], take: Callable[[Any], None]) -> bool:
        """Ask every policy that has been sound so far; false where one of them no longer is."""
        try:
            take(await self._with(self._sound(), call))
        except RaisedError:
            return False
        except LateError:
            await self._restart()
            return False
        return True

    def _sound(self) -> frozenset[str]:
        return (self._of_resources | self._of_stacks) - self._suspects - self._stuck.keys()

    async def _one_by_one(
        self, names: frozenset[str], urn: str, call: Callable[[], Awaitable[Any]], take: Callable[[Any], None]
    ) -> None:
        """Ask each policy alone, to find the one that is broken and to hear the others."""
        for name in [known for known in self.settings if known in names]:
            try:
                take(await self._with(frozenset({name}), call))
            except RaisedError as error:
                self._suspects.add(name)
                self.say(name, "broken", urn, f"it raised {error}")
            except LateError:
                self._stuck[name] = 0
                self.say(name, "broken", urn, f"it took longer than {self._seconds:g} s")
                await self._restart()

    async def _with(self, names: frozenset[str], call: Callable[[], Awaitable[Any]]) -> Any:
        """Make a call with only these policies switched on."""
        if self._enabled != names:
            config = {
                name: analyzer_pb2.PolicyConfig(
                    enforcementLevel=LEVELS.index(setting.level) if name in names else _DISABLED,  # type: ignore[arg-type]
                    properties=encode(setting.properties),
                )
                for name, setting in self.settings.items()
            }
            await self._call("Configure", analyzer_pb2.ConfigureAnalyzerRequest(policyConfig=config))
            self._enabled = names
        return await call()

    async def _restart(self) -> None:
        """Start the process again: a policy that hangs cannot be ended otherwise.

        Packs remember what they have seen of each resource for when they look at the whole stack, so it is
        shown to them again.
        """
        assert self._process is not None  # noqa: S101 - as above
        await self._process.stop()
        self._enabled = frozenset()
        self._restarts += 1
        await self._process.start()
        try:
            await self._tell_stack()
        except (RaisedError, LateError):
            raise PackError("a policy hung, and the pack did not start again") from None
        for request in self._seen:
            await self._repeat(functools.partial(self._call, "Analyze", request))

    async def _repeat(self, call: Callable[[], Awaitable[Any]]) -> None:
        """Make a call once more, of which the answer is known."""
        try:
            await self._with(self._sound(), call)
        except RaisedError:
            pass
        except LateError:
            raise PackError("a policy hung, and after a new start another one, where it had not") from None

    def say(self, policy: str, status: str, urn: str, message: str) -> None:
        """Keep a result; its level is the one at which the policy runs, whatever the protocol says."""
        level = self.settings[policy].level if policy in self.settings else "mandatory"
        level = "mandatory" if level == "remediate" else level
        self.results.append(PolicyResult(self.name, policy, level, status, urn, message.strip()))

    async def remediate(self, subject: Subject) -> bool:
        """Let the remediations change a resource's inputs; whether any did."""
        names = self._remediating
        if not names:
            return False
        urn, before = subject.resource.urn, subject.inputs

        def take(answer: Any) -> None:
            for done in answer.remediations:
                if done.diagnostic:
                    self.say(done.policyName, "unevaluated", urn, done.diagnostic)
                elif done.HasField("properties"):
                    # A secret stays one, though the pack has read it: so the runtime has it, too.
                    after = mark_secrets(decode(done.properties), secret_paths(subject.inputs))
                    self._context.redactor.add_secrets(after)
                    self.say(done.policyName, "remediated", urn, _remediation(done, subject.inputs, after))
                    subject.inputs = after

        await self.ask(names, urn, lambda: self._call("Remediate", subject.request(internal=True)), take)
        return subject.inputs is not before

    async def analyze(self, subject: Subject) -> None:
        """Let the policies look at one resource."""
        names, urn = self._of_resources, subject.resource.urn
        request = subject.request()
        await self.ask(
            names, urn, lambda: self._call("Analyze", request), lambda answer: self._found(answer, urn, {urn})
        )
        if not self.error:
            self._seen.append(request)
            self.analyzed += 1

    async def analyze_stack(self, subjects: list[Subject]) -> None:
        """Let the policies look at the whole stack."""
        names = self._of_stacks
        if not names:
            return
        request = analyzer_pb2.AnalyzeStackRequest(resources=[subject.in_stack() for subject in subjects])
        known = {subject.resource.urn for subject in subjects}
        seconds = self._seconds + _PER_RESOURCE * len(subjects)
        await self.ask(
            names,
            "",
            lambda: self._call("AnalyzeStack", request, seconds),
            lambda answer: self._found(answer, "", known),
        )

    def leave_out_stack(self) -> None:
        """Say of the policies of the whole stack that there is none to look at."""
        for name in sorted(self._of_stacks):
            if self._types[name] == _STACK:
                self.say(name, "unevaluated", "", "it looks at the whole stack, and the program failed")

    def _found(self, answer: Any, urn: str, known: set[str]) -> None:
        for said in answer.diagnostics:
            opening = f"can't run policy '{said.policyName}' from policy pack '{self.name}@v"
            unevaluated = said.message.startswith(opening) and " during preview: " in said.message
            # Of one resource it is always that one which is meant; of a stack the one that is named.
            about = urn or (said.urn if said.urn in known else "")
            self.say(said.policyName, "unevaluated" if unevaluated else "violated", about, said.message)

    async def stop(self) -> None:
        """End its process, and say what remains to be said."""
        async with self._asking:
            process, self._process = self._process, None
            if process is None:
                return
            await process.stop()
            if printed := process.printed().strip():
                text = f"policy pack {self.name!r} printed:\n{printed[-_LONGEST:]}"
                said = Diagnostic("info", text, code="policy")
                if said not in self._context.diagnostics:  # an up runs the program twice
                    self._context.diagnostics.append(said)
        for name, missed in self._stuck.items():
            if missed:
                text = f"it was not asked about {missed} more resources, since it had hung before"
                self.say(name, "broken", "", text)

    def texts(self) -> Iterable[PolicyResult]:
        """The results as they may be shown, each once: without secrets, and not too long."""
        for result in dict.fromkeys(self.results):
            yield replace(result, message=self.shown(result.message))

    def shown(self, message: str) -> str:
        """A message as it may be shown."""
        text = self._context.redactor.text(message)
        return f"{text[:_LONGEST]}… ({len(text)} characters)" if len(text) > _LONGEST else text

    def run(self) -> PolicyPackRun:
        """The pack as the report names it."""
        policies = [
            PolicyInfo(name, setting.level, self._descriptions[name])
            for name, setting in self.settings.items()
        ]
        return PolicyPackRun(
            self.name, self.version, tuple(policies), self.analyzed, self._context.redactor.text(self.error)
        )


def _remediation(done: Any, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    old, new = dict(leaves(before)), dict(leaves(after))
    same = {path for path in old.keys() & new.keys() if old[path] == new[path]}
    paths = sorted(dotted(path) for path in {**old, **new} if path and path not in same)
    more = f" and {len(paths) - _PATHS} more" if len(paths) > _PATHS else ""
    return f"{done.description}\nchanged {', '.join(paths[:_PATHS]) or 'nothing'}{more}".strip()


class Policies:
    """Every pack of a request, beside one run of its program.

    Args:
        context: what the runs of one command share.
        interpreter: runs the packs, too, unless they name another Python.
        dry_run: whether the packs are told that it is a preview.
    """

    def __init__(self, context: Context, interpreter: Interpreter, *, dry_run: bool) -> None:
        self.dry_run = dry_run
        self._packs = [
            _Pack(pack, context, interpreter, dry_run=dry_run) for pack in context.request.policy_packs
        ]
        self._starting = [asyncio.create_task(pack.start()) for pack in self._packs]

    async def _ready(self) -> list[_Pack]:
        await asyncio.wait(self._starting)  # which does not end them where one of many that wait is cancelled
        for task in self._starting:
            task.result()
        return self._packs

    async def require(self) -> None:
        """Wait until every pack serves.

        Raises:
            Refused: one does not.
        """
        for pack in await self._ready():
            if pack.error:
                raise Refused(f"policy pack {pack.name!r} did not run: {pack.error}")

    async def check(self, subject: Subject) -> bool:
        """Let every pack remediate a resource, then look at it; whether its inputs changed.

        What they find is in `results`; see `forbids` for whether the resource may be deployed.
        """
        packs = await self._ready()
        changed = False
        for pack in packs:
            changed = await pack.remediate(subject) or changed
        await asyncio.gather(*(pack.analyze(subject) for pack in packs))
        return changed

    def require_allowed(self, subject: Subject) -> None:
        """Refuse a resource that breaks a mandatory policy, or at which a policy broke.

        Raises:
            ForbiddenError: it may not be deployed.
        """
        resource = subject.resource
        for pack in self._packs:
            if pack.error:
                raise ForbiddenError(f"policy pack {pack.name!r} does not work any more: {pack.error}")
            for result in pack.results:
                if result.urn == resource.urn and result.fails:
                    how = "forbids" if result.status == "violated" else "could not judge"
                    raise ForbiddenError(
                        f"policy {result.policy!r} of pack {pack.name!r} {how} {resource.type} "
                        f"{resource.name!r}: {pack.shown(result.message)}"
                    )

    async def finish(self, subjects: list[Subject] | None) -> None:
        """Let the packs look at the whole stack, and end them.

        Args:
            subjects: every resource with its outputs; None where the program did not get so far.
        """
        packs = await self._ready()
        try:
            if subjects is not None:
                await asyncio.gather(*(pack.analyze_stack(subjects) for pack in packs))
                return
            for pack in packs:
                pack.leave_out_stack()
        finally:
            await self.stop()

    async def stop(self) -> None:
        """End every pack's process."""
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        await asyncio.gather(*(pack.stop() for pack in self._packs))

    @property
    def results(self) -> tuple[PolicyResult, ...]:
        """What was found, in the order of packs, policies and URNs."""
        found = []
        for pack in self._packs:
            order = {name: number for number, name in enumerate(pack.settings)}
            found += sorted(
                pack.texts(), key=lambda r: (order.get(r.policy, len(order)), r.urn, r.status, r.message)
            )
        return tuple(found)

    @property
    def runs(self) -> tuple[PolicyPackRun, ...]:
        """The packs as the report names them."""
        return tuple(pack.run() for pack in self._packs)

    def problem(self) -> str:
        """What keeps the run from being ok, as one sentence; empty where nothing does."""
        results = [result for result in self.results if result.fails]
        broken = sorted({result.policy for result in results if result.status == "broken"})
        violated = sorted({result.policy for result in results if result.status == "violated"})
        parts = [f"policy pack {run.name!r} did not run: {run.error}" for run in self.runs if run.error]
        parts += [f"mandatory policies are violated: {', '.join(violated)}"] if violated else []
        parts += [f"policies are broken: {', '.join(broken)}"] if broken else []
        return "; ".join(parts)
