"""Pulumi's URNs: how they are made of a resource's place, and which ones it had before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pulumi.runtime.proto import alias_pb2

STACK = "pulumi:pulumi:Stack"
_PARTS = 4  # urn:pulumi:<stack> :: <project> :: <types> :: <name>


def _types(urn: str) -> str:
    parts = urn.split("::", _PARTS - 1)
    return parts[2] if len(parts) == _PARTS else ""


def type_of(urn: str) -> str:
    """The type of the resource that a URN names."""
    return _types(urn).rpartition("$")[2]


def name_of(urn: str) -> str:
    """The name of the resource that a URN names."""
    parts = urn.split("::", _PARTS - 1)
    return parts[3] if len(parts) == _PARTS else ""


def make(stack: str, project: str, parent: str, type_: str, name: str) -> str:
    """A resource's URN; the parent's types come first, except where the parent is the stack."""
    types = _types(parent)
    chain = f"{types}${type_}" if types and types != STACK else type_
    return f"urn:pulumi:{stack}::{project}::{chain}::{name}"


def stack_urn(stack: str, project: str) -> str:
    """The root's URN."""
    return make(stack, project, "", STACK, f"{project}-{stack}")


def former(
    urn: str,
    parent: str,
    parent_former: Iterable[str],
    aliases: Iterable[alias_pb2.Alias],
    alias_urns: Iterable[str],
) -> tuple[str, ...]:
    """The URNs that a resource had before: by its own aliases, and because its parent was renamed.

    A child whose name begins with its parent's is taken to have been renamed with it, as Pulumi does.
    """
    stack, project, type_, name = _stack(urn), _project(urn), type_of(urn), name_of(urn)
    found: dict[str, None] = dict.fromkeys(alias_urns)
    places = [(name, type_, parent)]
    for alias in aliases:
        if alias.WhichOneof("alias") == "urn":
            found[alias.urn] = None
            continue
        spec = alias.spec
        above = "" if spec.noParent else spec.parentUrn or parent
        place = (spec.name or name, spec.type or type_, above)
        found[make(spec.stack or stack, spec.project or project, above, place[1], place[0])] = None
        places.append(place)
    for old_parent in parent_former:
        for old_name, old_type, above in places:
            if above == parent:
                renamed = _renamed(old_name, name_of(parent), name_of(old_parent))
                found[make(_stack(old_parent), _project(old_parent), old_parent, old_type, renamed)] = None
    found.pop(urn, None)
    return tuple(found)


def _renamed(name: str, parent: str, old_parent: str) -> str:
    return old_parent + name.removeprefix(parent) if parent and name.startswith(parent) else name


def _stack(urn: str) -> str:
    return urn.removeprefix("urn:pulumi:").partition("::")[0]


def _project(urn: str) -> str:
    return urn.partition("::")[2].partition("::")[0]
