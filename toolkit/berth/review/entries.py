"""Two sets of a stack's resources, matched, and what happens to each."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .model import Entry, Resource
from .properties import added, differences
from .replacing import JUST_MADE, is_at, kind_of, lost_with, plain_path, reasons

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NAMES = frozenset({"name", "namePrefix", "accountId", "displayName", "namespace"})
_PROVIDERS = "pulumi:providers:"
_REFUSED = "it is protected: `up` refuses this until protect=False was deployed"


class _Hint(NamedTuple):
    """That something gone and something new look like one thing."""

    notes: tuple[str, ...] = ()
    twin: str = ""


_NO_HINT = _Hint()


def compared(before: Sequence[Resource], after: Sequence[Resource]) -> tuple[Entry, ...]:
    """What happens to each resource; those that are gone come last.

    Resources are matched by URN, then by the aliases that the program gives; nothing else makes two of them
    one, since nothing else does for an engine.
    """
    old = {resource.urn: resource for resource in before}
    new = {resource.urn: resource for resource in after}
    was: dict[str, Resource] = {urn: old[urn] for urn in new if urn in old}
    taken = set(was)
    for urn, resource in new.items():
        if urn not in was:
            alias = next((one for one in resource.aliases if one in old and one not in taken), "")
            if alias:
                was[urn] = old[alias]
                taken.add(alias)
    gone = [resource for urn, resource in old.items() if urn not in taken]
    come = [resource for urn, resource in new.items() if urn not in was]
    hints = _renamed(gone, come, old, new)
    entries = [
        _kept(was[urn], resource) if urn in was else _created(resource, hints.get(urn, _NO_HINT))
        for urn, resource in new.items()
    ]
    return (*entries, *(_deleted(resource, hints.get(resource.urn, _NO_HINT)) for resource in gone))


def _entry(resource: Resource, op: str, **fields: object) -> Entry:
    entry = Entry(
        resource.urn,
        resource.type,
        resource.name,
        op,
        parent=resource.parent,
        custom=resource.custom,
        object=resource.object,
    )
    return dataclasses.replace(entry, **fields)  # type: ignore[arg-type]  # each field's own type


def _created(resource: Resource, hint: _Hint) -> Entry:
    changes = added(resource.inputs) if resource.custom else ()
    op = "create" if resource.custom else "same"
    return _entry(resource, op, changes=changes, notes=hint.notes, twin=hint.twin)


def _deleted(resource: Resource, hint: _Hint) -> Entry:
    if not resource.custom:
        return _entry(resource, "delete", notes=hint.notes, twin=hint.twin)
    if resource.retain:
        stays = "the object stays (retain_on_delete)"
        return _entry(resource, "retain", notes=(stays, *hint.notes), twin=hint.twin)
    found = list(hint.notes) or ["no longer declared"]
    if lost := lost_with(resource.type, "delete"):
        found.append(lost)
    if resource.protect:
        found.append(_REFUSED)
    return _entry(resource, "delete", notes=tuple(found), twin=hint.twin)


def _kept(before: Resource, after: Resource) -> Entry:
    notes: tuple[str, ...] = ()
    if before.urn != after.urn:
        notes = (f"was {before.name}, kept by an alias",)
    if not after.custom:
        return _structure(before, after, notes)
    changes = tuple(
        change
        for change in differences(before.inputs, after.inputs)
        if not any(_covers(path, change.path) for path in (*before.ignore, *after.ignore))
    )
    if not changes:
        return _entry(after, "same", notes=notes)
    why = reasons(before, after, changes)
    replaced = any(reason.certain for reason in why)
    if replaced:
        notes += (lost,) if (lost := lost_with(after.type, "replace")) else ()
        notes += (_REFUSED,) if before.protect and after.protect else ()
        why = tuple(reason for reason in why if reason.certain)
    return _entry(after, "replace" if replaced else "update", changes=changes, reasons=why, notes=notes)


def _structure(before: Resource, after: Resource, notes: tuple[str, ...]) -> Entry:
    """A component changes through what is in it; a provider's configuration counts like a resource's."""
    changes = differences(before.inputs, after.inputs) if after.type.startswith(_PROVIDERS) else ()
    if not changes or not before.inputs:  # an export tells no inputs that could be compared
        return _entry(after, "same", notes=notes)
    told = (*notes, "what it makes may be replaced: another region or account is another place")
    return dataclasses.replace(_entry(after, "update", changes=changes, notes=told), custom=True)


def _covers(root: str, path: str) -> bool:
    """Whether ignoring a path ignores all of a change at another one: at it or below, not above."""
    return is_at(path, root) and (root == "*" or len(plain_path(path)) >= len(plain_path(root)))


def _renamed(
    gone: Iterable[Resource],
    come: Iterable[Resource],
    old: Mapping[str, Resource],
    new: Mapping[str, Resource],
) -> dict[str, _Hint]:
    """By URN: that something gone and something new look like one thing, which an alias would have kept.

    A component is like another one of its type if what is in them is of the same types; an object on its own
    if it is of the same type and in the same place, or is the same object of a cluster.
    """
    gone, come = list(gone), list(come)
    hints: dict[str, _Hint] = {}
    below_old, below_new = _children(old.values()), _children(new.values())
    candidates: dict[tuple[str, ...], list[Resource]] = defaultdict(list)
    for resource in gone:
        candidates[_shape(resource, below_old)].append(resource)
    for resource in come:
        if resource.urn in hints:
            continue
        found = candidates.get(_shape(resource, below_new), [])
        match = _likest(resource, [one for one in found if one.urn not in hints])
        if match is None:
            continue
        found.remove(match)
        _hint(match, resource, hints)
        if not resource.custom:
            _hint_below(match, resource, below_old, below_new, hints)
    return hints


def _shape(resource: Resource, children: Mapping[str, list[Resource]]) -> tuple[str, ...]:
    """What two resources have in common that may be one, renamed."""
    if resource.custom:
        return ("object", resource.type)
    return ("component", resource.type, *sorted(child.type for child in children.get(resource.urn, ())))


def _likest(resource: Resource, candidates: Sequence[Resource]) -> Resource | None:
    """The candidate that is most like it: the same object, name or inputs; of components, the same parent."""

    def likeness(other: Resource) -> tuple[bool, ...]:
        return (
            bool(resource.object) and other.object == resource.object,
            other.name == resource.name,
            resource.custom and _unnamed(other) == _unnamed(resource),
            not resource.custom and other.parent == resource.parent,
        )

    ranked = [other for other in candidates if any(likeness(other))]
    return max(ranked, key=likeness) if ranked else None


def _unnamed(resource: Resource) -> dict[str, Any]:
    """The inputs without what only names the resource."""
    inputs = {key: value for key, value in resource.inputs.items() if key not in _NAMES}
    if isinstance(metadata := inputs.get("metadata"), Mapping):
        inputs["metadata"] = {key: value for key, value in metadata.items() if key not in _NAMES}
    return inputs


def _children(resources: Iterable[Resource]) -> dict[str, list[Resource]]:
    found: dict[str, list[Resource]] = defaultdict(list)
    for resource in resources:
        found[resource.parent].append(resource)
    return found


def _hint(before: Resource, after: Resource, hints: dict[str, _Hint]) -> None:
    renamed = before.name != after.name
    alias = f'pulumi.Alias(name="{before.name}")' if renamed else f'"{before.urn}"'
    keep = f"`aliases=[{alias}]` on it would keep it"
    extra = _same_object(before, after)
    was = f"looks like `{before.name}`, {'renamed' if renamed else 'moved'}: {keep}"
    now = f"looks renamed to `{after.name}`: {keep}" if renamed else f"looks moved: {keep}"
    hints[after.urn] = _Hint((was, *extra), before.urn)
    hints[before.urn] = _Hint((now, *extra), after.urn)


def _same_object(before: Resource, after: Resource) -> tuple[str, ...]:
    """A warning where both names stand for one object of a cluster: an engine that goes by URN deletes it."""
    if kind_of(after.type) and before.object and before.object == after.object:
        return (f"both are {before.object}: {JUST_MADE}",)
    return ()


def _hint_below(
    before: Resource,
    after: Resource,
    below_old: Mapping[str, list[Resource]],
    below_new: Mapping[str, list[Resource]],
    hints: dict[str, _Hint],
) -> None:
    """The same for what is in a renamed component: it needs no alias of its own."""
    text = f"in a component renamed from `{before.name}` to `{after.name}`: an alias there would keep it"
    rest = list(below_old.get(before.urn, ()))
    for child in below_new.get(after.urn, ()):
        alike = [one for one in rest if one.type == child.type]
        if not alike:
            continue
        suffix = child.name.removeprefix(after.name)
        twin = next((one for one in alike if one.name == before.name + suffix), alike[0])
        rest.remove(twin)
        notes = (text, *_same_object(twin, child))
        hints[child.urn], hints[twin.urn] = _Hint(notes, twin.urn), _Hint(notes, child.urn)
        if not child.custom:
            _hint_below(twin, child, below_old, below_new, hints)


def with_policies(entries: Iterable[Entry], violated: Mapping[str, Sequence[str]]) -> tuple[Entry, ...]:
    """The entries with the policies that each violates."""
    return tuple(
        dataclasses.replace(entry, policies=tuple(violated[entry.urn])) if entry.urn in violated else entry
        for entry in entries
    )
