"""The apply phase of an `up`: objects as the program declares them, then what it no longer declares."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from .apply import apply, delete
from .errors import DeployError
from .prune import Doomed, prune
from .readiness import DEFAULT_SECONDS, NEEDS_PODS
from .report import Op, Step
from .request import Context, Stopped

if TYPE_CHECKING:
    from . import manifest as m
    from .cluster import Access
    from .desired import Desired
    from .plan import Outcome
    from .planning import Plan


class Applier:
    """Applies each object as the program declares it.

    Args:
        context: what the runs of one command share.
        plan: what is expected to happen.
        resume: whether the last run ended in the middle, so that unchanged objects are waited for as well.
    """

    def __init__(self, context: Context, plan: Plan, *, resume: bool) -> None:
        self._context, self._plan, self._resume = context, plan, resume
        self._came: dict[tuple[str, str, str], asyncio.Event] = {
            needed: asyncio.Event() for needed in plan.to_come
        }
        self.stopping = False
        self.not_started = 0

    async def object(self, desired: Desired, access: Access) -> Outcome:
        """Apply one object and wait until it is ready."""
        if not self.stopping:
            await self._wait_for_what_comes(desired, access)
        if self.stopping:
            self.not_started += 1
            raise Stopped(f"{desired.key} was not started")
        planned = self._plan.outcomes.get(desired.resource.urn)
        expected = (
            planned.step if planned else Step(desired.resource.urn, desired.resource.type, "", op=Op.CREATE)
        )
        where = self._context.on(access.cluster)
        if expected.op is not Op.SAME:
            self._context.tell("started", f"{_DOING[expected.op]} {desired.key}{where}", expected)
        began = time.monotonic()
        try:
            outcome = await self._apply(desired, access, expected)
        except DeployError:
            self.halt()
            raise
        outcome.step.seconds = time.monotonic() - began
        if planned and planned.replaced and outcome.step.op is Op.CREATE:
            outcome.step.op, outcome.replaced = Op.REPLACE, planned.replaced
            outcome.step.replace_reasons, outcome.step.note = expected.replace_reasons, expected.note
        if outcome.step.op is not Op.SAME:
            text = f"{_DONE[outcome.step.op]} {desired.key}{where} ({outcome.step.seconds:.1f} s)"
            self._context.tell("finished", text, outcome.step)
        self._tell_it_came(desired, access)
        return outcome

    def halt(self) -> None:
        """Begin nothing more; what is under way goes on."""
        self.stopping = True
        for event in self._came.values():
            event.set()

    async def _apply(self, desired: Desired, access: Access, expected: Step) -> Outcome:
        def tell(text: str) -> None:
            self._context.tell("waiting", f"waiting for {desired.key}: {text}", expected)

        prior = desired.prior
        if prior is not None and desired.resource.delete_first and expected.op is Op.REPLACE:
            await delete(access.api, prior.kind, prior.live, tell)
        awaited = (desired.key.group, desired.key.kind) not in NEEDS_PODS
        wait = awaited or desired.resource.urn not in self._plan.followed
        return await apply(
            desired,
            access,
            resume=self._resume,
            wait=wait,
            tell=tell,
            enough=lambda: self.stopping,
        )

    async def _wait_for_what_comes(self, desired: Desired, access: Access) -> None:
        """A namespace or a kind that the program itself creates comes first, also without `depends_on`."""
        wanted = [("namespace", desired.key.namespace)]
        wanted += [("kind", desired.key.group_kind)] if desired.kind is None else []
        for needed in wanted:
            event = self._came.get((access.cluster.uid, *needed))
            if event is None or event.is_set():
                continue
            self._context.tell("waiting", f"{desired.key} waits for {needed[0]} {needed[1]}")
            try:
                async with asyncio.timeout(DEFAULT_SECONDS):
                    await event.wait()
            except TimeoutError:
                raise DeployError(f"{desired.key}: {needed[0]} {needed[1]} did not come") from None

    def _tell_it_came(self, desired: Desired, access: Access) -> None:
        names = {("namespace", desired.key.name)} if desired.key.kind == "Namespace" else set()
        if desired.key.kind == "CustomResourceDefinition":
            spec = desired.manifest.get("spec") or {}
            names.add(("kind", f"{(spec.get('names') or {}).get('kind')}.{spec.get('group')}"))
        for needed in names:
            event = self._came.get((access.cluster.uid, *needed))
            if event is not None:
                event.set()


_DOING = {
    Op.CREATE: "creating",
    Op.UPDATE: "updating",
    Op.REPLACE: "replacing",
    Op.DELETE: "deleting",
    Op.RETAIN: "letting go of",
}
_DONE = {
    Op.CREATE: "created",
    Op.UPDATE: "updated",
    Op.REPLACE: "replaced",
    Op.DELETE: "deleted",
    Op.RETAIN: "let go of",
    Op.SAME: "unchanged",
}


async def remove(context: Context, doomed: list[Doomed], gone: list[Step]) -> bool:
    """Delete objects in reverse order of dependency; `gone` gets the step of each. True where all went."""
    steps: dict[tuple[str, m.Key], Step] = {}
    began: dict[m.Key, float] = {}

    def step(item: Doomed) -> Step:
        return steps.setdefault((item.cluster.uid, item.key), item.step())

    def started(item: Doomed) -> None:
        began[item.key] = time.monotonic()
        context.tell("started", f"{_DOING[step(item).op]} {item.key}{context.on(item.cluster)}", step(item))

    def waiting(item: Doomed, text: str) -> None:
        context.tell("waiting", f"waiting for {item.key} to go: {text}", step(item))

    def finished(item: Doomed, error: DeployError | None) -> None:
        if error is not None:
            context.complain(error, item.member.urn)
            return
        step(item).seconds = time.monotonic() - began[item.key]
        gone.append(step(item))
        where = context.on(item.cluster)
        text = f"{_DONE[step(item).op]} {item.key}{where} ({step(item).seconds:.1f} s)"
        context.tell("finished", text, step(item))

    return await prune(doomed, started, waiting, finished)
