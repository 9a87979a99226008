"""What a component's args declare."""

from __future__ import annotations

from typing import Any, get_args, is_typeddict


def leaves(declared: type, path: str = "") -> set[str]:
    """Every argument that a TypedDict declares, by dotted path."""
    found = set()
    for key, hint in declared.__annotations__.items():
        groups = [option for option in _options(hint) if is_typeddict(option)]
        where = f"{path}{key}"
        found |= leaves(groups[0], f"{where}.") if groups else {where}
        if groups and "Sequence" in str(hint):  # a list of groups is an argument too
            found.add(where)
    return found


def _options(hint: Any) -> list[Any]:
    return [hint, *(option for part in get_args(hint) for option in _options(part))]
