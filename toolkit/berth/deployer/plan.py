"""What would happen to one object: asked of the API server by a dry run, or worked out from the inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import manifest as m
from .cluster import owner, refuse_foreign
from .compare import Change, differences, immutable_fields, public, wanted_changes, with_unknowns
from .desired import step_of
from .errors import FORBIDDEN, NOT_FOUND, UNPROCESSABLE, ApiError, ClusterError, Refused
from .report import Op, Step, shown_changes
from .values import Secret, mark_secrets, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .cluster import Access
    from .desired import Desired

REREADS = 5
_OFFLINE = "planned without the cluster"


@dataclass
class Outcome:
    """What happened, or would happen, to one object.

    Attributes:
        step: for the report.
        outputs: what the program gets back.
        needs: what must be there, and is not: ("namespace", its name) or ("kind", `Kind.group`).
        replaced: the key of the object that has to go, where another one takes its place.
        warning: something a reader should know.
        forbidden: why the API server could not be asked, where an `up` would fail for the same reason.
    """

    step: Step
    outputs: Mapping[str, Any] = field(repr=False)
    needs: tuple[str, str] | None = None
    replaced: m.Key | None = None
    warning: str = ""
    forbidden: str = ""


def new_step(desired: Desired, access: Access | None, op: Op) -> Step:
    """A step for an object, without its changes."""
    return step_of(
        desired.resource,
        op,
        object=str(desired.key) if desired.key.name else desired.key.kind,
        cluster=access.cluster.label if access else "",
        inputs=shown(mark_secrets(public(desired.manifest), desired.hidden(None))),
        manifest=desired.wanted(),
    )


def finish(
    desired: Desired,
    step: Step,
    after: Mapping[str, Any],
    live: Mapping[str, Any] | None,
    changes: list[Change],
) -> Mapping[str, Any]:
    """Complete a step with its changes; returns the outputs with secrets marked."""
    hidden = desired.hidden(live)
    step.changes = shown_changes(changes, hidden)
    outputs: dict[str, Any] = mark_secrets(public(after), hidden)
    text = desired.resource.inputs.get("stringData")
    if text is not None and desired.key.kind == "Secret":
        outputs["stringData"] = text if isinstance(text, Secret) else Secret(text)
    for name in desired.resource.secret_outputs:
        if name in outputs and not isinstance(outputs[name], Secret):
            outputs[name] = Secret(outputs[name])
    return outputs


def offline(desired: Desired, why: str = _OFFLINE) -> Outcome:
    """The plan for an object of which no cluster can be asked."""
    step = new_step(desired, None, Op.CREATE)
    step.note = why
    predicted = with_unknowns(public(desired.manifest), desired.manifest, created=True, changed=True)
    return Outcome(step, finish(desired, step, predicted, None, []))


async def plan(desired: Desired, access: Access) -> Outcome:
    """What an `up` would do to the object.

    Raises:
        Refused: the object is somebody else's.
        ClusterError: the API server refuses the object.
    """
    if desired.name_is_unknown:
        return offline(desired, "its name is known only to an up")
    if desired.kind is None:
        outcome = offline(desired, f"planned by its inputs: the cluster has no {desired.key.group_kind} yet")
        outcome.step.cluster = access.cluster.label
        outcome.needs = ("kind", desired.key.group_kind)
        return outcome
    member = access.cluster.members.get(desired.key)
    live = member.live if member else None
    # Of what is not ours nothing is known yet; the dry run tells whether there is anything to look at.
    if live is None and (desired.has_unknown or desired.resource.ignore):
        live = await read(desired, access)
    for _ in range(REREADS):
        if desired.has_unknown:
            return _by_inputs(desired, access, live)
        try:
            after = await access.api.apply(
                desired.kind, desired.to_apply(live), dry_run=True, force=desired.force
            )
        except ApiError as error:
            live = live or (await read(desired, access) if error.status != NOT_FOUND else None)
            if error.is_stale or (error.is_field_conflict and live is not None and desired.resource.ignore):
                live = await read(desired, access)  # what was listed is out of date
                continue
            return await _refused(desired, access, live, error)
        if not after["_created"]:
            live = live or await read(desired, access)
        return await _asked(desired, access, live, after)
    raise ClusterError(f"{desired.key} on {access.cluster.label} changes faster than it can be read")


async def read(desired: Desired, access: Access) -> Mapping[str, Any] | None:
    """The live object, read now; refuses one that is not ours.

    Raises:
        Refused: it is somebody else's.
    """
    if desired.kind is None:
        return None
    live = await access.api.get(desired.kind, desired.key.namespace, desired.key.name)
    if live is not None:
        check_owner(desired, access, live)
    return live


def check_owner(desired: Desired, access: Access, live: Mapping[str, Any]) -> None:
    """Refuse a live object that is another's, or nobody's without leave to take it over.

    Raises:
        Refused: with what to do.
    """
    theirs = owner(live)
    if theirs != access.cluster.state.id and (theirs or not desired.adopt):
        refuse_foreign(desired.key, live, access)


def _by_inputs(desired: Desired, access: Access, live: Mapping[str, Any] | None, note: str = "") -> Outcome:
    if live is None:
        outcome = offline(desired, note)
        outcome.step.cluster = access.cluster.label
        return outcome
    manifest = desired.to_apply(live)
    changes = wanted_changes(live, manifest)
    step = new_step(desired, access, Op.UPDATE if changes else Op.SAME)
    step.note = note
    merged = _merged(live, manifest)
    predicted = with_unknowns(merged, manifest, created=False, changed=bool(changes))
    return Outcome(step, finish(desired, step, predicted, live, changes))


def _merged(live: Any, manifest: Any) -> Any:
    if isinstance(live, dict) and isinstance(manifest, dict):
        return {**live, **{key: _merged(live.get(key), value) for key, value in manifest.items()}}
    return manifest


async def _asked(
    desired: Desired, access: Access, live: Mapping[str, Any] | None, after: dict[str, Any]
) -> Outcome:
    """The plan by a dry run that worked."""
    live = None if after["_created"] else live
    created = live is None
    changes: list[Change] = []
    if live is not None:
        changes = differences(live, after)
        if changes:  # perhaps what was listed is out of date: a controller writes, too
            live = await read(desired, access) or live
            changes = differences(live, after)
        reasons = desired.must_replace(changes)
        if reasons:
            return _replacement(desired, access, live, reasons)
    step = new_step(desired, access, Op.CREATE if created else Op.UPDATE if changes else Op.SAME)
    if live is not None and owner(live) != access.cluster.state.id:
        step.note = "taken over: it exists already"
    predicted = with_unknowns(
        public(after), desired.manifest, created=created, changed=created or bool(changes)
    )
    outcome = Outcome(step, finish(desired, step, predicted, live, changes))
    _note_prior(desired, outcome, created=created)
    return outcome


def _note_prior(desired: Desired, outcome: Outcome, *, created: bool) -> None:
    """A new name, namespace or kind for the same resource is a replacement."""
    if desired.prior is None or not created:
        return
    old, new = m.key_of(desired.prior.live), desired.key
    fields = {"kind": old.kind != new.kind or old.group != new.group}
    fields |= {"metadata.namespace": old.namespace != new.namespace, "metadata.name": old.name != new.name}
    outcome.step.op = Op.REPLACE
    outcome.step.replace_reasons = tuple(name for name, differs in fields.items() if differs)
    outcome.step.note = f"takes the place of {old}"
    outcome.replaced = old


async def _refused(
    desired: Desired, access: Access, live: Mapping[str, Any] | None, error: ApiError
) -> Outcome:
    """The plan where the dry run did not work."""
    if error.status == NOT_FOUND:
        return await _without_namespace(desired, access)
    if error.status == FORBIDDEN and _is_permission(error):
        note = "planned by its inputs: a dry run is forbidden"
        outcome = _by_inputs(desired, access, live, note)
        outcome.forbidden = f"{desired.key} on {access.cluster.label}: {error.message}"
        return outcome
    fields = immutable_fields(error)
    if fields and live is not None:
        return _replacement(desired, access, live, fields)
    raise explain(desired, access, error)


def _is_permission(error: ApiError) -> bool:
    """Whether a 403 is about our own rights, and not an admission plugin's or a quota's refusal."""
    return "cannot patch resource" in error.message or "cannot create resource" in error.message


async def _without_namespace(desired: Desired, access: Access) -> Outcome:
    """The plan for an object whose namespace is still to come.

    A dry run in the namespace `default` finds what is wrong with the object itself: a misspelt field, a
    value of the wrong type. Whatever else that namespace has to say does not count.
    """
    namespace = desired.key.namespace
    predicted = public(desired.manifest)
    assert desired.kind is not None  # noqa: S101 - for the type checker; plan() has checked it
    stand_in = {**desired.manifest, "metadata": {**desired.manifest["metadata"], "namespace": "default"}}
    try:
        after = await access.api.apply(desired.kind, stand_in, dry_run=True)
        if after["_created"]:
            predicted = {**public(after), "metadata": {**public(after)["metadata"], "namespace": namespace}}
    except ApiError as error:
        if error.status in {400, UNPROCESSABLE, 500}:
            raise explain(desired, access, error) from None
    step = new_step(desired, access, Op.CREATE)
    predicted = with_unknowns(predicted, desired.manifest, created=True, changed=True)
    outcome = Outcome(step, finish(desired, step, predicted, None, []), needs=("namespace", namespace))
    _note_prior(desired, outcome, created=True)
    return outcome


def _replacement(desired: Desired, access: Access, live: Mapping[str, Any], reasons: list[str]) -> Outcome:
    refuse_protected(desired.key, live, "replaced", because=", ".join(reasons))
    if desired.resource.protect:
        raise Refused(protected(desired.key, "replaced", ", ".join(reasons)))
    manifest = desired.to_apply(live)
    step = new_step(desired, access, Op.REPLACE)
    step.replace_reasons = tuple(reasons)
    step.note = "deleted first: it cannot be changed in place, and its name is taken until it is gone"
    predicted = with_unknowns(public(manifest), manifest, created=True, changed=True)
    return Outcome(step, finish(desired, step, predicted, live, wanted_changes(live, manifest)))


def protected(key: m.Key, what: str, because: str = "") -> str:
    """The message for a protected object that would be deleted or replaced."""
    reason = f" because of {because}" if because else ""
    return (
        f"{key} is protected and would be {what}{reason}. If that is wanted, set protect=False on it, run "
        "`up` once with the object still declared, and repeat."
    )


def refuse_protected(key: m.Key, live: Mapping[str, Any], what: str, because: str = "") -> None:
    """Refuse to touch an object that the cluster knows as protected.

    Raises:
        Refused: with what to do.
    """
    if m.noted(live, m.PROTECT) == "true":
        raise Refused(protected(key, what, because))


def explain(desired: Desired, access: Access, error: ApiError) -> ClusterError:
    """An API server's refusal as one message that names the object and what to do."""
    where = f"{desired.key} on {access.cluster.label}"
    if error.is_field_conflict:
        return ClusterError(_conflict(where, error))
    if error.status == FORBIDDEN and any(c.get("reason") == "NamespaceTerminating" for c in error.causes):
        return ClusterError(
            f"{where}: namespace {desired.key.namespace} is being deleted; wait until it is gone"
        )
    details = [f"{c.get('field')}: {c.get('message')}" for c in error.causes if c.get("field")]
    text = "; ".join(dict.fromkeys(details)) or error.message
    explained = ClusterError(f"{where}: {text}")
    explained.code = (error.reason or "api").lower()
    return explained


def _conflict(where: str, error: ApiError) -> str:
    owners: dict[str, list[str]] = {}
    for cause in error.causes:
        message = cause.get("message") or ""
        name = message.partition('"')[2].partition('"')[0] or message
        owners.setdefault(name, []).append((cause.get("field") or "").lstrip("."))
    said = "; ".join(f"{', '.join(fields)} by {name!r}" for name, fields in owners.items())
    first = next(iter(owners.values()))[0]
    return (
        f"{where}: these fields are owned by another field manager: {said}. Leave them out of the program, "
        f'or leave them as they are with ignore_changes=["{first}"], or take them over with the annotation '
        'pulumi.com/patchForce: "true".'
    )
