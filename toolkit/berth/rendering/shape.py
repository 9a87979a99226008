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
    from collections.abc import Sequence

    from berth.deployer.values import Path

    from .collect import Item

MISSING = object()


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


@dataclass(frozen=True)
class Shape:
    """What a chart that serves several stacks consists of.

    Attributes:
        items: the objects of all of them, each as the first stack has it that has it.
        manifests: the same by alias, with a `NamespaceRef` for each namespace that the chart makes.
        slots: per alias, what of an object is a value.
        flags: per alias of an object that not every stack has, the keys of the value that says so.
        spaces: the names of the namespaces that the chart makes, by their keys.
    """

    items: tuple[Item, ...]
    manifests: Mapping[str, Any]
    slots: Mapping[str, tuple[Slot, ...]]
    flags: Mapping[str, tuple[str, ...]]
    spaces: Mapping[str, str]


def shape_of(first: Stack, others: Sequence[Stack] = ()) -> Shape:
    """The shape of a chart that serves all of these stacks.

    Raises:
        RenderError: another stack has no object in common with the first.
    """
    stacks = [first, *others]
    everything = [stack.manifests() for stack in stacks]
    for other, theirs in zip(others, everything[1:], strict=True):
        if not everything[0].keys() & theirs.keys():
            raise RenderError(
                f"one chart cannot serve both stacks: {first.name} and {other.name} have no object in common"
            )
    items = {item.alias: item for stack in reversed(stacks) for item in stack.items}
    items = {alias: items[alias] for stack in stacks for item in stack.items for alias in [item.alias]}
    manifests = {alias: next(one[alias] for one in everything if alias in one) for alias in items}
    keys = keys_of(tuple(items.values()))
    slots: dict[str, tuple[Slot, ...]] = {}
    for alias, item in items.items():
        found = _usual(item, manifests[alias], keys[alias])
        for theirs in everything:
            if alias in theirs and item.kind != "Namespace":
                # Indices count in what is left, but lists become one value as a whole: they do not matter.
                one, two = (without(manifest, found) for manifest in (manifests[alias], theirs[alias]))
                found = _merged(found, [joined(path, keys[alias]) for path in differing(one, two)])
        slots[alias] = tuple(found)
    spaces = {key: name for stack in reversed(stacks) for name, key in stack.spaces.items()}
    return Shape(
        tuple(items.values()), manifests, slots, _flags(keys, items, everything), dict(sorted(spaces.items()))
    )


def _flags(
    keys: Mapping[str, tuple[str, str]], items: Mapping[str, Item], everything: list[dict[str, Any]]
) -> dict[str, tuple[str, ...]]:
    """Which value says whether an object is there: one of the component where all its objects go together."""
    flags: dict[str, tuple[str, ...]] = {}
    for alias, (component, part) in keys.items():
        if items[alias].kind == "Namespace" or all(alias in theirs for theirs in everything):
            continue
        whole = {
            other
            for other, (name, _) in keys.items()
            if name == component and items[other].kind != "Namespace"
        }
        together = all(len(whole & theirs.keys()) in {0, len(whole)} for theirs in everything)
        flags[alias] = (component, "enabled") if together else (component, part, "enabled")
    return flags


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


def values_of(shape: Shape, stack: Stack) -> dict[str, Any]:
    """The values with which the chart gives a stack's objects; of what it lacks, those of who has it."""
    manifests = stack.manifests()
    own = {key: name for name, key in stack.spaces.items()}
    names = {**shape.spaces, **own}
    values: dict[str, Any] = {}
    if shape.spaces:
        values["namespaces"] = {key: {"create": key in own, "name": names[key]} for key in shape.spaces}
    for alias, slots in shape.slots.items():
        if alias in shape.flags:
            *above, last = shape.flags[alias]
            _level(values, tuple(above))[last] = alias in manifests
        for slot in slots:
            level = _level(values, slot.keys[:-1])
            value = value_at(manifests.get(alias, shape.manifests[alias]), slot.path)
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
