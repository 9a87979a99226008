"""The documents that a router's agents follow, and the pods that follow them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from berth_policy.checks import all_pods, declared
from berth_policy.kubernetes import Object, Pod
from berth_policy.reading import peek
from berth_policy.subject import Stack, mapping, sequence

ROUTER, HYBRID, SITE = "router.json", "hybrid.json", "site.json"
"""What a router divides; what a controller divides among sites; what a reporter counts."""
_MARKS = {ROUTER: ("backends", "routes"), HYBRID: ("router", "sites"), SITE: ("models",)}
"""Keys that tell such a document from another file of that name."""
VARIABLES = {
    "BERTH_ROUTER_DOCUMENT": ROUTER,
    "BERTH_HYBRID_DOCUMENT": HYBRID,
    "BERTH_SITE_DOCUMENT": SITE,
}
"""By a container's variable that names the file: which document it is."""


@dataclass(frozen=True)
class Document:
    """A document of a ConfigMap.

    Attributes:
        object: the ConfigMap.
        entry: which entry of it, such as router.json.
        body: what it says, as JSON reads it.
    """

    object: Object
    entry: str
    body: Mapping[str, Any]

    @property
    def path(self) -> str:
        """Where it is in the resource."""
        return f"{self.object.path}data.{self.entry}"


def documents(stack: Stack, entry: str) -> list[Document]:
    """Every document of a kind that the stack declares."""
    key = f"documents {entry}"
    if key not in stack.memory:
        stack.memory[key] = list(_read(stack, entry))
    found: list[Document] = stack.memory[key]
    return found


def _read(stack: Stack, entry: str) -> Iterator[Document]:
    for one in declared(stack, "ConfigMap"):
        # Others' data may be unknown as a whole; a document of ours is known by its entry.
        text = mapping(peek(one.body, "data")).get(entry)
        try:
            body = json.loads(str(text or "null"))
        except ValueError:
            continue
        if isinstance(body, Mapping) and all(key in body for key in _MARKS[entry]):
            yield Document(one, entry, body)


def followers(stack: Stack) -> list[tuple[Pod, str]]:
    """Pods that follow a document, with which one."""
    found = []
    for pod in all_pods(stack):
        names = {name for one in pod.containers("containers") for name in variables(one.body)}
        found += [(pod, entry) for name, entry in VARIABLES.items() if name in names]
    return found


def variables(container: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """A container's variables by name; their values may be unknown."""
    return {str(mapping(one).get("name")): mapping(one) for one in sequence(container.get("env"))}


def entries(body: Mapping[str, Any], key: str) -> list[tuple[str, Mapping[str, Any]]]:
    """What a mapping of mappings holds, by name."""
    return [(str(name), mapping(value)) for name, value in mapping(body.get(key)).items()]


def items(body: Mapping[str, Any], key: str) -> list[tuple[str, Mapping[str, Any]]]:
    """What a list of mappings holds, each with its place."""
    return [(f"{key}[{number}]", mapping(one)) for number, one in enumerate(sequence(body.get(key)))]
