"""Mutants of a resource: each leaf removed, flipped, widened or emptied, each container of leaves removed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from berth_policy.testing.resources import SIGNATURE, UNKNOWN, Given

Operation = Literal["removed", "flipped", "widened", "emptied", "changed"]
Path = tuple[str | int, ...]
JSON = "$json"
"""In a path, where a text goes on as a document of JSON."""
EVERYWHERE = {"4": "0.0.0.0/0", "6": "::/0"}
_ANY_WORD = "*"
_FACTOR = 10
_DOCUMENT = 8192
"""Characters of the longest text that is mutated inside: longer ones are a program's, such as a dashboard,
whose thousands of leaves say how something is drawn."""
_OPPOSITES: Mapping[str, str] = {
    "true": "false", "false": "true", "True": "False", "False": "True",
    "enabled": "disabled", "disabled": "enabled", "ENABLED": "DISABLED", "DISABLED": "ENABLED",
    "required": "optional", "optional": "required",
    "ALL": "NONE", "NONE": "ALL",
    "RuntimeDefault": "Unconfined", "Localhost": "Unconfined",
    "restricted": "privileged", "baseline": "privileged",
    "ClusterIP": "LoadBalancer", "NodePort": "LoadBalancer",
    "Local": "Cluster", "Cluster": "Local",
    "Ingress": "Egress", "Egress": "Ingress",
    "NoSchedule": "PreferNoSchedule", "NoExecute": "PreferNoSchedule",
    "DoNotSchedule": "ScheduleAnyway", "ScheduleAnyway": "DoNotSchedule",
    "RollingUpdate": "Recreate", "AlwaysAllow": "IfHealthyBudget",
    "Allow": "Deny", "Deny": "Allow", "HTTPS": "HTTP", "https": "http",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One changed resource.

    Attributes:
        resource: the resource as it is now.
        path: where it was changed.
        operation: what was done.
        before: the value that was there.
        after: the value that is there now; None where it was removed.
    """

    resource: Given
    path: Path
    operation: Operation
    before: Any
    after: Any = None

    @property
    def where(self) -> str:
        """The path as one word, such as spec.containers[0].image."""
        text = ""
        for part in self.path:
            text += f"[{part}]" if isinstance(part, int) else f".{part}" if "." not in part else f'["{part}"]'
        return text.removeprefix(".")

    @property
    def description(self) -> str:
        """What was done, in one line; a value that was a secret is not told."""
        what = f"{self.resource.type} {self.resource.name}: {self.where} {self.operation}"
        return what if self.after is None else f"{what}: {_short(self.before)} → {_short(self.after)}"


def mutate(resource: Given) -> Iterator[Mutant]:
    """Every mutant of a resource's inputs, in a fixed order; the resource itself stays as it is.

    A leaf is removed; a boolean, or a word that has an opposite, is flipped; an address range, a number, a
    list or a name is widened; a text, list or mapping is emptied. Mappings and lists are removed and emptied
    as a whole, too. Documents of JSON in a text, such as those of IAM, are mutated inside
    where they are not long. Values that are
    unknown, and the envelopes of secrets, are only removed.
    """
    for path, value in _places(resource.inputs, ()):
        for operation, after in _changes(value, path):
            yield Mutant(_with(resource, path, operation, after), path, operation, value, after)


def _places(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if path and path[-1] != JSON:
        yield path, value
    if isinstance(value, Mapping) and SIGNATURE not in value:
        for key, item in value.items():
            yield from _places(item, (*path, key))
    elif _is_list(value):
        for number, item in enumerate(value):
            yield from _places(item, (*path, number))
    elif (inside := _document(value)) is not None:
        yield from _places(inside, (*path, JSON))


def _document(value: Any) -> Any:
    """What a text holds, if it is a document of JSON."""
    if not isinstance(value, str) or value[:1] not in {"{", "["} or len(value) > _DOCUMENT:
        return None
    try:
        return json.loads(value)
    except ValueError:
        return None


def _changes(value: Any, path: Path) -> Iterator[tuple[Operation, Any]]:
    yield "removed", None
    if value == UNKNOWN or (isinstance(value, Mapping) and SIGNATURE in value):
        return
    if isinstance(value, bool):
        yield "flipped", not value
    elif isinstance(value, int | float):
        yield from _numbers(value)
    elif isinstance(value, str):
        yield from _words(value, path)
    elif _is_list(value):
        if value:
            yield "emptied", []
        if value and all(isinstance(one, str) for one in value) and _ANY_WORD not in value:
            yield "widened", [*value, _ANY_WORD]
    elif isinstance(value, Mapping) and value:
        yield "emptied", {}


def _numbers(value: float) -> Iterator[tuple[Operation, Any]]:
    if value:
        yield "emptied", 0
    yield "widened", value * _FACTOR if value else 1
    if value > 1:
        yield "flipped", 1


def _words(value: str, path: Path) -> Iterator[tuple[Operation, Any]]:
    if value:
        yield "emptied", ""
    if value in _OPPOSITES:
        yield "flipped", _OPPOSITES[value]
    network, slash, length = value.partition("/")
    if slash and length.isdigit():
        wide = EVERYWHERE["6" if ":" in network else "4"]
        if value != wide:
            yield "widened", wide
    elif "@sha256:" in value:
        yield "widened", value.partition("@")[0]
        yield "changed", value.partition("@")[0].rpartition(":")[0] + ":latest"
    elif path[-1] == "image" or (":" in value and "/" in value and " " not in value and "//" not in value):
        yield "changed", value.rpartition(":")[0] + ":latest"
    elif value != _ANY_WORD and value not in _OPPOSITES and value:
        yield "widened", _ANY_WORD


def _with(resource: Given, path: Path, operation: Operation, after: Any) -> Given:
    """The resource with one value replaced or removed; what is not on the way to it is shared."""
    inputs = _replaced(resource.inputs, path, operation, after)
    return resource.but(inputs=inputs, outputs=None)


def _replaced(value: Any, path: Path, operation: Operation, after: Any) -> Any:
    first, *rest = path
    if first == JSON:
        return json.dumps(_replaced(json.loads(value), tuple(rest), operation, after))
    changed: Any = dict(value) if isinstance(value, Mapping) else list(value)
    if rest:
        changed[first] = _replaced(value[first], tuple(rest), operation, after)
    elif operation == "removed":
        del changed[first]
    else:
        changed[first] = after
    return changed


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"  # noqa: PLR2004 - a line of a report
