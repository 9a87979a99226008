"""What checks look at: a resource, and all resources of a stack.

Properties are those that the runtime hands over: mappings and lists that raise `UnknownValueError` where a
value is read that a preview does not know.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from pulumi_policy.proxy import UnknownValueError

Settings = TypeVar("Settings")
Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass
class Resource:
    """A resource that the program declares.

    Attributes:
        token: its type token, such as kubernetes:apps/v1:Deployment.
        urn: its URN.
        name: its name in the program.
        props: its inputs, in camelCase.
        configured: the settings of the rule that looks at it.
        parent: the URN of its parent, or "".
        dependencies: URNs of what it comes after; known only to rules of the stack.
        references: by input, URNs of the resources that its value comes from; the same.
        protect: whether Pulumi refuses to delete it.
        provider: the URN of its provider, or "".
        memory: what further views of it remember, by their name.
    """

    token: str
    urn: str
    name: str
    props: Mapping[str, Any]
    configured: object = None
    parent: str = ""
    dependencies: tuple[str, ...] = ()
    references: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    protect: bool = False
    provider: str = ""
    memory: dict[str, Any] = field(default_factory=dict, repr=False)

    def settings(self, kind: type[Settings]) -> Settings:
        """The rule's settings, as the pack's user configured them."""
        return self.configured if isinstance(self.configured, kind) else kind()

    @property
    def title(self) -> str:
        """The resource as a person calls it."""
        if not self.token.startswith("kubernetes:"):
            return f"{self.token} {self.name}"
        kind = self.token.rpartition(":")[2]
        try:
            metadata = mapping(self.props.get("metadata"))
            named = metadata.get("name") or metadata.get("generateName")
            where = metadata.get("namespace")
        except UnknownValueError:
            named = where = None
        return f"{kind} {where}/{named}" if where and named else f"{kind} {named or self.name}"


@dataclass
class Stack:
    """All resources of a stack.

    Attributes:
        resources: every one, in the order of the runtime.
        environment: local, development or production; see environment.py.
        configured: the settings of the rule that looks at it.
        pending: raised once the rule that runs has found what it could: something it needed is unknown.
        memory: what views of it remember, by their name.
    """

    resources: Sequence[Resource]
    environment: str
    configured: object = None
    pending: UnknownValueError | None = None
    memory: dict[str, Any] = field(default_factory=dict, repr=False)

    def settings(self, kind: type[Settings]) -> Settings:
        """The rule's settings, as the pack's user configured them."""
        return self.configured if isinstance(self.configured, kind) else kind()

    @cached_property
    def clusters(self) -> "Sequence[Stack]":
        """The stack as each of its clusters sees it: its own objects, and what is in no cluster."""
        where = [one.provider if one.token.startswith("kubernetes:") else "" for one in self.resources]
        found = sorted({*where} - {""})
        if len(found) < 2:  # noqa: PLR2004 - one cluster is the stack
            return [self]
        return [
            Stack(
                [one for one, place in zip(self.resources, where, strict=True) if place in {"", cluster}],
                self.environment,
            )
            for cluster in found
        ]

    @cached_property
    def _by_type(self) -> Mapping[str, list[Resource]]:
        found: dict[str, list[Resource]] = {}
        for one in self.resources:
            found.setdefault(one.token, []).append(one)
        return found

    def of(self, *beginnings: str) -> list[Resource]:
        """Resources whose type token begins with any of the given words."""
        return [one for kind, group in self._by_type.items() if kind.startswith(beginnings) for one in group]


def survey(
    items: Iterable[Item],
    look: Callable[[Item], Iterable[Found]],
    name: Callable[[Item], str] = lambda _: "",
) -> Iterator[Found]:
    """Look at each item, also after one that has an unknown value; that one is raised at the end.

    Args:
        items: what to look at.
        look: what finds something about one of them.
        name: what the error calls an item; the runtime itself tells the property's path only.

    Raises:
        UnknownValueError: of the first item that could not be judged.
    """
    unknown: UnknownValueError | None = None
    for item in items:
        try:
            yield from look(item)
        except UnknownValueError as error:
            called = [word for word in [name(item)] if word]
            unknown = unknown or UnknownValueError(error.unknown_type_sentinel, [*called, *error.props])
    if unknown is not None:
        raise unknown


def title_of(resource: Resource) -> str:
    """What errors call a resource."""
    return f"({resource.title})"


def mapping(value: object) -> Mapping[str, Any]:
    """A mapping as it is; anything else, null too, as an empty one."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: object) -> Sequence[Any]:
    """A list as it is; anything else, null too, as an empty one."""
    return value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else ()


def at(value: object, *path: str) -> Any:
    """What is below keys of nested mappings; None where it is not there."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value
