"""What happens to one object in an `up` or a `down`: apply, replace, wait, delete."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from . import manifest as m
from . import why
from .client import FIELD_MANAGER
from .cluster import owner
from .compare import differences, immutable_fields, wanted_changes
from .errors import NOT_FOUND, ApiError, ClusterError
from .plan import (
    REREADS,
    Outcome,
    explain,
    finish,
    new_step,
    read,
    refuse_protected,
)
from .readiness import DEFAULT_SECONDS, Status, seconds
from .report import Op

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .client import Api, Kind
    from .cluster import Access
    from .desired import Desired

_FIRST_LOOK, _SLOWEST_LOOK, _SLOWER = 0.1, 2.0, 1.5  # seconds between looks, and how they grow
_KIND_SECONDS = 30.0  # for the API server to serve a kind whose definition was just established
_DETAIL_EVERY = 3  # looks at an object per look at its pods
_PROPAGATIONS = {"foreground": "Foreground", "background": "Background", "orphan": "Orphan"}


class NotReady(ClusterError):  # noqa: N818 - reads as the state it reports
    """An object was applied and did not become ready; the text says why.

    Attributes:
        outcome: what was done before the waiting.
    """

    code = "not-ready"
    outcome: Outcome | None = None


async def apply(
    desired: Desired,
    access: Access,
    *,
    resume: bool,
    wait: bool,
    tell: Callable[[str], None],
    enough: Callable[[], bool],
) -> Outcome:
    """Bring the object into the wanted state and wait until it is ready.

    Args:
        desired: the object.
        access: its cluster.
        resume: wait for unchanged objects, too: the last run did not end well, perhaps while it waited.
        wait: false for an object that something else in the program has to follow first.
        tell: told what is being waited for, whenever that changes.
        enough: whether to stop waiting, since the run has failed elsewhere; the next run waits again.

    Raises:
        Refused: the object is somebody else's or protected.
        NotReady: it did not become ready.
        ClusterError: the API server refuses it.
    """
    await _find_kind(desired, access)
    key = desired.key
    await access.cluster.state.cover([key.group_kind], [key.namespace] if key.namespace else [])
    live, after, reasons = await _bring_about(desired, access, tell)
    outcome = _outcome(desired, access, live, after, reasons)
    timeouts = desired.resource.timeouts
    changed = outcome.step.op is not Op.SAME
    if wait and (changed or resume) and not desired.waiting.skip:
        limit = desired.waiting.limit
        if outcome.step.op is Op.UPDATE and timeouts.get("update"):
            limit = seconds(timeouts["update"])
        try:
            ready = await _until_ready(desired, access, after, limit, tell=tell, enough=enough)
        except NotReady as error:
            outcome.step.note = "not ready"
            error.outcome = outcome
            raise
        if enough():
            outcome.step.note = "perhaps not ready: not waited for any longer, since something else failed"
        changes = outcome.step.changes
        outcome.outputs = finish(desired, outcome.step, ready, live, [])
        outcome.step.changes = changes
    if key.kind == "CustomResourceDefinition":
        access.api.forget_kinds(str((after.get("spec") or {}).get("group") or ""))
    return outcome


async def _find_kind(desired: Desired, access: Access) -> None:
    deadline = asyncio.get_running_loop().time() + _KIND_SECONDS
    while desired.kind is None:
        version = desired.manifest["apiVersion"]
        desired.kind = await access.api.kind(version, desired.key.kind)
        if desired.kind is None:
            if asyncio.get_running_loop().time() > deadline:
                raise ClusterError(missing_kind(desired.key.group_kind, version, access.cluster.label))
            await asyncio.sleep(_FIRST_LOOK * 2)
            access.api.forget_kinds(version.rpartition("/")[0])
    if not desired.kind.namespaced and desired.key.namespace:
        desired.manifest["metadata"].pop("namespace")
        desired.key = m.key_of(desired.manifest)


def missing_kind(group_kind: str, version: str, where: str) -> str:
    """The message for a kind that the cluster does not serve."""
    return (
        f"{where} has no kind {group_kind} in {version}: its CustomResourceDefinition is not installed, or "
        "in another version. Install it, or declare it in the program."
    )


async def _bring_about(
    desired: Desired, access: Access, tell: Callable[[str], None]
) -> tuple[Mapping[str, Any] | None, dict[str, Any], list[str]]:
    """Apply the object: what was there, what is there now, and why it had to be replaced, if it had."""
    kind, key = desired.kind, desired.key
    assert kind is not None  # noqa: S101 - for the type checker; _find_kind has seen to it
    reasons: list[str] = []
    before: Mapping[str, Any] | None = None
    member = access.cluster.members.get(key)
    # What was listed when the Lease was taken will do, unless its fields are to be taken over as they are.
    live = member.live if member and not desired.resource.ignore else await read(desired, access)
    for _ in range(REREADS + 1):
        before = before or live
        if live is not None:
            reasons = reasons or await _forced_replacement(desired, access, live)
        try:
            if live is not None and reasons:
                await _delete_for_replacement(desired, access, live, reasons, tell)
            manifest = desired.to_apply(None if reasons else live)
            after = await access.api.apply(kind, manifest, dry_run=False, force=desired.force)
        except ApiError as error:
            fields = immutable_fields(error)
            if fields and live is not None and not reasons:
                reasons = fields
            elif not error.is_stale and not (error.is_field_conflict and desired.resource.ignore):
                raise explain(desired, access, error) from None
            live = await read(desired, access)
        else:
            return before, after, reasons
    raise ClusterError(f"{key} on {access.cluster.label} changes faster than it can be read")


async def _forced_replacement(desired: Desired, access: Access, live: Mapping[str, Any]) -> list[str]:
    """Which changes the program wants as a replacement; asked of the API server only where it says so."""
    if not desired.resource.replace_on or desired.kind is None:
        return []
    try:
        after = await access.api.apply(
            desired.kind, desired.to_apply(live), dry_run=True, force=desired.force
        )
    except ApiError:
        return []  # the real apply meets the same error, and is the one to report it
    return desired.must_replace(differences(live, after))


async def _delete_for_replacement(
    desired: Desired,
    access: Access,
    live: Mapping[str, Any],
    reasons: list[str],
    tell: Callable[[str], None],
) -> None:
    assert desired.kind is not None  # noqa: S101 - for the type checker; _find_kind has seen to it
    refuse_protected(desired.key, live, "replaced", because=", ".join(reasons))
    await delete(access.api, desired.kind, live, tell)


def _outcome(
    desired: Desired,
    access: Access,
    live: Mapping[str, Any] | None,
    after: dict[str, Any],
    reasons: list[str],
) -> Outcome:
    if after["_created"] and not reasons:
        live = None  # it was deleted since it was listed
    changes = differences(live, after) if live is not None and not _untouched(desired, live, after) else []
    op = Op.CREATE if live is None else Op.UPDATE if changes else Op.SAME
    step = new_step(desired, access, Op.REPLACE if reasons else op)
    step.replace_reasons = tuple(reasons)
    if live is not None and owner(live) != access.cluster.state.id:
        step.note = "taken over: it existed already"
    return Outcome(step, finish(desired, step, after, live, changes))


def _untouched(desired: Desired, live: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether our apply changed nothing; what others changed since the object was listed is not our doing.

    Our entry in the managed fields alone does not tell: it names fields, not values, and its time is in
    whole seconds.
    """
    if live["metadata"].get("uid") != after["metadata"].get("uid"):
        return False
    return bool(_own_entry(live) == _own_entry(after)) and not wanted_changes(live, desired.manifest)


def _own_entry(live: Mapping[str, Any]) -> Any:
    entries = live["metadata"].get("managedFields") or []
    ours = (e for e in entries if e.get("manager") == FIELD_MANAGER and e.get("operation") == "Apply")
    return next(ours, None)


async def _until_ready(
    desired: Desired,
    access: Access,
    live: dict[str, Any],
    limit: float,
    *,
    tell: Callable[[str], None],
    enough: Callable[[], bool],
) -> dict[str, Any]:
    """Wait until the object is ready, or nobody wants to wait any more; returns it as it is then.

    Raises:
        NotReady: it failed, vanished, or the time is over.
    """
    assert desired.kind is not None  # noqa: S101 - for the type checker; _find_kind has seen to it
    loop = asyncio.get_running_loop()
    key, api = desired.key, access.api
    deadline, pause, looks, told = loop.time() + limit, _FIRST_LOOK, 0, ""
    while True:
        status = await desired.waiting.check(key.group, live, api)
        if status.ready or enough():
            return live
        if status.failed or loop.time() > deadline:
            raise NotReady(await _explain_not_ready(desired, access, live, status, limit))
        looks += 1
        if looks == 1 or looks % _DETAIL_EVERY == 0:
            detail = await why.briefly(live, api) if looks > 1 else ""
            text = status.waiting + (f"; {detail}" if detail else "")
            if text != told:
                tell(text)
            told = text
        await asyncio.sleep(min(pause, max(deadline - loop.time(), 0.0) + 0.01))
        pause = min(pause * _SLOWER, _SLOWEST_LOOK)
        now = await api.get(desired.kind, key.namespace, key.name)
        if now is None:
            raise NotReady(f"{key} on {access.cluster.label} was deleted while it was waited for")
        live = now


async def _explain_not_ready(
    desired: Desired, access: Access, live: Mapping[str, Any], status: Status, limit: float
) -> str:
    text = status.failed or f"not ready within {limit:.0f} s: {status.waiting}"
    details = await why.in_full(live, access.api)
    return f"{desired.key} on {access.cluster.label}: {text}" + (f"\n{details}" if details else "")


async def delete(api: Api, kind: Kind, live: Mapping[str, Any], tell: Callable[[str], None]) -> None:
    """Delete an object, its dependents first, and wait until it is gone.

    Raises:
        NotReady: it is still there when the time is over.
    """
    metadata = live["metadata"]
    namespace, name, uid = metadata.get("namespace", ""), metadata["name"], metadata["uid"]
    wanted = (metadata.get("annotations") or {}).get("pulumi.com/deletionPropagationPolicy", "foreground")
    propagation = _PROPAGATIONS.get(str(wanted).lower(), "Foreground")
    await api.delete(kind, namespace, name, preconditions={"uid": uid}, propagation=propagation)
    limit = float(m.noted(live, m.DELETE_SECONDS) or DEFAULT_SECONDS)
    loop = asyncio.get_running_loop()
    deadline, pause, looks, told = loop.time() + limit, _FIRST_LOOK / 2, 0, ""
    while True:  # whatever was answered: a namespace that is going already answers with a conflict
        now = await api.get(kind, namespace, name)
        if now is None or now["metadata"]["uid"] != uid:
            return
        if loop.time() > deadline:
            raise NotReady(f"{m.key_of(live)} is still there after {limit:.0f} s: {_why_still_there(now)}")
        looks += 1
        if looks >= _DETAIL_EVERY and (text := _why_still_there(now)) != told:
            tell(text)
            told = text
        await asyncio.sleep(pause)
        pause = min(pause * _SLOWER, _SLOWEST_LOOK)


def _why_still_there(live: Mapping[str, Any]) -> str:
    for condition in (live.get("status") or {}).get("conditions") or []:
        remains = {
            "NamespaceContentRemaining",
            "NamespaceFinalizersRemaining",
            "NamespaceDeletionDiscoveryFailure",
        }
        if condition.get("type") in remains and condition.get("status") == "True":
            return str(condition.get("message"))
    finalizers = live["metadata"].get("finalizers") or (live.get("spec") or {}).get("finalizers") or []
    return f"waiting for its finalizers {', '.join(finalizers)}" if finalizers else "being deleted"


async def release(api: Api, kind: Kind, live: Mapping[str, Any]) -> None:
    """Let go of an object without deleting it: no bookkeeping, no membership is left on it."""
    notes = dict.fromkeys(m.BOOKKEEPING)
    patch = {"metadata": {"labels": {m.PART_OF: None}, "annotations": notes}}
    metadata = live["metadata"]
    try:
        await api.merge(kind, metadata.get("namespace", ""), metadata["name"], patch)
    except ApiError as error:
        if error.status != NOT_FOUND:
            raise
