"""What a chart is made of: the objects of one stack, and the slots in which it differs from others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import RenderError
from .slots import (
    NamespaceRef,
    Slot,
    differing,
    joined,
    keys_of,
    namespaces,
    referred,
    usual,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from berth.deployer.values import Path

    from .collect import Item

MISSING = object()


@dataclass(frozen=True)
class Shape:
    """What all stacks that a chart serves have in common.

    Attributes:
        items: the objects of the first stack, with a `NamespaceRef` for each of its own namespaces.
        slots: per alias of an object, what of it is a value.
        spaces: the keys of the namespaces that the chart makes.
    """

    items: tuple[Item, ...]
    slots: Mapping[str, tuple[Slot, ...]]
    spaces: tuple[str, ...]


@dataclass(frozen=True)
class Stack:
    """One stack's objects in one cluster, as far as a chart is concerned."""

    name: str
    items: tuple[Item, ...]

    @property
    def spaces(self) -> dict[str, str]:
        """The keys of its namespaces, by their names."""
        return namespaces(self.items)

    def manifests(self) -> dict[str, Any]:
        """Its objects by alias, with references to its own namespaces."""
        return {item.alias: referred(item.manifest, self.spaces) for item in self.items}


def shape_of(first: Stack, others: Iterable[Stack] = ()) -> Shape:
    """The shape of a chart that serves all of these stacks.

    Raises:
        RenderError: one has objects that another has not; each is named.
    """
    own, keys = first.manifests(), keys_of(first.items)
    slots = {item.alias: _usual(item, own[item.alias], keys[item.alias]) for item in first.items}
    for other in others:
        theirs = other.manifests()
        _require_same(first, other, own.keys(), theirs.keys())
        for item in first.items:
            if item.kind == "Namespace":
                continue
            alias = item.alias
            one, two = (without(manifests[alias], slots[alias]) for manifests in (own, theirs))
            # Indices count in what is left, but lists become one value as a whole, so they do not matter.
            found = [joined(path, keys[alias]) for path in differing(one, two)]
            slots[alias] = _merged(slots[alias], found)
    return Shape(
        first.items,
        {alias: tuple(found) for alias, found in slots.items()},
        tuple(sorted(set(first.spaces.values()))),
    )


def _usual(item: Item, manifest: Any, keys: tuple[str, str]) -> list[Slot]:
    """The usual slots whose surroundings are there."""
    if item.kind == "Namespace":
        return []
    return [slot for slot in usual(item, keys) if isinstance(value_at(manifest, slot.path[:-1]), Mapping)]


def _merged(known: list[Slot], found: list[Slot]) -> list[Slot]:
    """The slots, without those below another one; each with a name of its own."""
    whole = {slot.path: slot for slot in [*found, *known]}
    kept = [
        slot
        for path, slot in whole.items()
        if not any(path[:length] in whole for length in range(1, len(path)))
    ]
    named: dict[tuple[str, ...], Slot] = {}
    for slot in sorted(kept, key=lambda slot: [str(part) for part in slot.path]):
        keys, number = slot.keys, 2
        while keys in named:
            keys, number = (*slot.keys[:-1], f"{slot.keys[-1]}{number}"), number + 1
        named[keys] = Slot(slot.path, keys, slot.optional)
    return list(named.values())


def _require_same(first: Stack, other: Stack, own: Iterable[str], theirs: Iterable[str]) -> None:
    lacks, more = sorted(set(own) - set(theirs)), sorted(set(theirs) - set(own))
    if not lacks and not more:
        return
    said = [f"  only in {first.name}: {alias}" for alias in lacks]
    said += [f"  only in {other.name}: {alias}" for alias in more]
    raise RenderError(
        f"one chart cannot serve both stacks, since {first.name} and {other.name} consist of different "
        "objects; render a chart for each:\n" + "\n".join(said)
    )


def values_of(shape: Shape, stack: Stack) -> dict[str, Any]:
    """The values with which the chart gives a stack's objects."""
    manifests = stack.manifests()
    names = {key: name for name, key in stack.spaces.items()}
    values: dict[str, Any] = {}
    if shape.spaces:
        values["namespaces"] = {key: {"create": True, "name": names[key]} for key in shape.spaces}
    for alias, slots in shape.slots.items():
        for slot in slots:
            level = _level(values, slot.keys[:-1])
            value = value_at(manifests[alias], slot.path)
            if value is not MISSING:
                level[slot.keys[-1]] = plain_names(value, names)
    return values


def value_at(value: Any, path: Path) -> Any:
    """What stands at a path, `MISSING` where nothing does."""
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return MISSING
    return value


def plain_names(value: Any, names: Mapping[str, str]) -> Any:
    """The value with the names of namespaces in place of the references to them."""
    if isinstance(value, NamespaceRef):
        return names[value.key]
    if isinstance(value, Mapping):
        return {key: plain_names(item, names) for key, item in value.items()}
    return [plain_names(item, names) for item in value] if isinstance(value, list) else value


def _level(values: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """The map below some keys, made where it is not there: templates look into it in any case."""
    for key in keys:
        values = values.setdefault(key, {})
    return values


def overrides(base: Any, wanted: Any) -> Any:
    """What Helm has to merge over the base to get what is wanted; `MISSING` where nothing.

    Helm merges maps, so a key that must go is null; it replaces lists.
    """
    if not isinstance(base, Mapping) or not isinstance(wanted, Mapping):
        return MISSING if base == wanted and type(base) is type(wanted) else wanted
    found: dict[str, Any] = {}
    for key in {**base, **wanted}:
        if key not in wanted:
            found[key] = None
        elif key not in base:
            found[key] = wanted[key]
        elif (inner := overrides(base[key], wanted[key])) is not MISSING:
            found[key] = inner
    return found or MISSING
