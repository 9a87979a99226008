"""What a proof looks at: a plan's resources as plain data, in which some values are not known yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Self


class NotKnown(Exception):  # noqa: N818 - a state of the plan, not a mistake
    """A value that a link needs is not known; the text names the object and the property."""


class Unknown:
    """What only another place can say: a cloud, a registry, a deployment.

    Whoever uses it as a value is told so by `NotKnown`: no comparison, no default and no branch can take it
    for something that it is not. Only `value is UNKNOWN` may be asked.
    """

    def _refuse(self, *_: object) -> NoReturn:
        raise NotKnown("a value that it compares is not known yet")

    __bool__ = __len__ = __iter__ = __contains__ = __getitem__ = _refuse
    __int__ = __float__ = __str__ = __format__ = __eq__ = __ne__ = __lt__ = __gt__ = _refuse
    __add__ = __radd__ = __mul__ = __rmul__ = _refuse
    __hash__ = _refuse

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __deepcopy__(self, memo: object) -> Self:
        return self


UNKNOWN: Any = Unknown()


@dataclass(frozen=True)
class Resource:
    """One resource of a plan.

    Attributes:
        urn: its URN.
        type: Pulumi's type token.
        name: its name in the program.
        properties: a Kubernetes object's manifest, another resource's inputs; `UNKNOWN` where not known.
        references: per top-level property, URNs of the resources whose outputs are in it.
        cluster: what tells the clusters of a plan apart; "" for what is in none.
    """

    urn: str
    type: str
    name: str
    properties: Mapping[str, Any] = field(repr=False)
    references: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    cluster: str = ""

    @property
    def kind(self) -> str:
        """A Kubernetes object's kind, else nothing."""
        return str(self.properties.get("kind", "")) if self.type.startswith("kubernetes:") else ""

    @property
    def namespace(self) -> str:
        """A Kubernetes object's namespace, or nothing."""
        return str(self.at("metadata", "namespace") or "")

    @property
    def title(self) -> str:
        """How it is named: `Kind namespace/name`, or its type and its name in the program."""
        if not self.kind:
            return f"{self.type.rpartition(':')[2]} {self.name}"
        try:
            metadata = self.properties.get("metadata") or {}
            name, namespace = metadata.get("name", self.name), metadata.get("namespace")
            title = f"{self.kind} {namespace}/{name}" if namespace else f"{self.kind} {name}"
        except NotKnown:
            title = f"{self.kind} {self.name}"
        return title

    def at(self, *path: str | int) -> Any:
        """The value at a path; None where there is none.

        Raises:
            NotKnown: it, or what should hold it, is not known.
        """
        return at(self.properties, *path, of=self.title)


def at(value: Any, *path: str | int, of: str) -> Any:
    """The value at a path below another value; see `Resource.at`."""
    walked = ""
    for step in path:
        if value is UNKNOWN:
            break
        walked += f"[{step}]" if isinstance(step, int) else f"{'.' if walked else ''}{step}"
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, Sequence) and not isinstance(value, str) and isinstance(step, int):
            value = value[step] if step < len(value) else None
        else:
            return None
    if value is UNKNOWN:
        raise NotKnown(f"{of}: {walked or 'the object'} is not known yet")
    return value


def known(value: Any, of: str, what: str) -> Any:
    """The value itself.

    Raises:
        NotKnown: it is not known.
    """
    if value is UNKNOWN:
        raise NotKnown(f"{of}: {what} is not known yet")
    return value


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, Any], of: str) -> bool:
    """Whether a Kubernetes label selector takes an object with these labels.

    Raises:
        NotKnown: a value that decides it is not known.
    """
    for key, value in (selector or {}).get("matchLabels", {}).items():
        if known(labels.get(key), of, f"label {key}") != known(value, of, f"selector {key}"):
            return False
    for one in (selector or {}).get("matchExpressions", []):
        has = known(labels.get(one["key"]), of, f"label {one['key']}")
        values = one.get("values") or []
        fits = {
            "In": has in values,
            "NotIn": has not in values,
            "Exists": has is not None,
            "DoesNotExist": has is None,
        }
        if not fits.get(one["operator"], False):
            return False
    return True


@dataclass(frozen=True)
class Figure:
    """How long one step takes.

    Attributes:
        step: what happens.
        seconds: how long at most; None where nobody has said.
        source: who says so, or why nobody does.
    """

    step: str
    seconds: float | None
    source: str


@dataclass(frozen=True)
class Quota:
    """What a cloud allows for one pool's machines.

    Attributes:
        nodes: so many nodes of the pool it allows.
        source: which quota that is, and when it was asked.
    """

    nodes: int
    source: str


@dataclass(frozen=True)
class Facts:
    """What the plan itself does not hold.

    Attributes:
        external_metrics: what our metrics adapter answers for.
        series: what gateways and engines export to a Prometheus, by name; None where nobody knows.
        quotas: by pool name, what its cloud allows; a pool that is missing has not been asked for.
        hpa_sync_seconds: how often the HPA controller looks; None for Kubernetes' default.
    """

    external_metrics: frozenset[str]
    series: frozenset[str] | None = None
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    hpa_sync_seconds: float | None = None
