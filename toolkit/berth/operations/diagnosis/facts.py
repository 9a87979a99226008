"""What was seen of a stack at one site, at one moment: objects as the API server gave them, and probes.

A snapshot holds no secret: of a Secret only the names of its entries and their sizes, of a log only lines
that `logs` lets through. So it can be kept in a file, sent to somebody, and diagnosed there.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]
FORMAT = 1
"""Of a snapshot in a file; another one is refused."""


@dataclass(frozen=True, slots=True)
class AskedServer:
    """A model server that the stack's settings ask for.

    Attributes:
        name: the model's key, and the name of its Deployment.
        namespace: where it should be.
        autoscaled: whether a HorizontalPodAutoscaler should count its replicas.
        keda: whether KEDA makes that one, from a ScaledObject.
    """

    name: str
    namespace: str
    autoscaled: bool = False
    keda: bool = False


@dataclass(frozen=True, slots=True)
class SecretFacts:
    """A Secret without its values: sizes in bytes by entry; `None` of a Secret that is not there."""

    namespace: str
    name: str
    sizes: Mapping[str, int] | None


@dataclass(frozen=True, slots=True)
class LogTail:
    """The last lines of a container's log that may be shown.

    Attributes:
        previous: whether they are of the run before this one.
        withheld: how many of the lines looked at are left out, for they may quote a prompt.
    """

    namespace: str
    pod: str
    container: str
    previous: bool
    lines: tuple[str, ...]
    withheld: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What a gateway says of itself.

    Attributes:
        values: samples by name, labels as Prometheus writes them; histograms without their buckets.
        problem: why there are none.
    """

    namespace: str
    pod: str
    values: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Throttling:
    """How a CPU limit held a container back since it began: scheduler periods, and those cut short."""

    namespace: str
    pod: str
    container: str
    periods: float
    throttled: float


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that fires: its name, severity, what it is about, since when, and its runbook's address."""

    name: str
    severity: str
    labels: Mapping[str, str]
    summary: str = ""
    since: str = ""
    runbook: str = ""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate in use: where, and until when."""

    where: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint said to this machine.

    Attributes:
        server: namespace/name of the model server.
        url: what was asked.
        status: HTTP status; None where nothing came.
        with_key: whether this machine's key was sent.
        problem: why nothing came.
    """

    server: str
    url: str
    status: int | None
    with_key: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class NotRead:
    """A part that could not be read, and why."""

    what: str
    reason: str
    forbidden: bool = False


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A stack at one site, at one moment.

    Attributes:
        stack: its name.
        site: the site's.
        server: the API server's address, or where the kubeconfig is.
        taken: when.
        version: of Kubernetes; "" where the API server did not answer.
        namespaces: where the stack has objects, or should have.
        asked: its model servers.
        adapter: namespace of the metrics adapter that the stack makes; "" where it makes none.
        record: how its last run ended, from the deployer's record: id, state, by, at; None where it has none.
        outputs: the stack's outputs, as far as they are read here.
        objects: lists by plural name; a list that could not be read is absent and in `not_read`.
        secrets: of those that pods name.
        logs, readings, throttling, certificates, answers: what probes brought.
        alerts: those that fire; None where nobody could be asked.
        alerts_from: who was asked, or why nobody was.
        not_read: parts that could not be read.
    """

    stack: str
    site: str
    server: str
    taken: datetime
    version: str = ""
    namespaces: tuple[str, ...] = ()
    asked: tuple[AskedServer, ...] = ()
    adapter: str = ""
    record: Mapping[str, str] | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    objects: Mapping[str, tuple[Json, ...]] = field(default_factory=dict)
    secrets: tuple[SecretFacts, ...] = ()
    logs: tuple[LogTail, ...] = ()
    readings: tuple[Reading, ...] = ()
    throttling: tuple[Throttling, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    answers: tuple[Answer, ...] = ()
    alerts: tuple[Alert, ...] | None = None
    alerts_from: str = ""
    not_read: tuple[NotRead, ...] = ()

    @property
    def reached(self) -> bool:
        """Whether the API server answered at all."""
        return bool(self.version)

    def all(self, plural: str, namespace: str | None = None) -> list[Json]:
        """Return the objects of a kind, of one namespace where it is given."""
        found = self.objects.get(plural, ())
        return [one for one in found if namespace in {None, one["metadata"].get("namespace")}]

    def one(self, plural: str, namespace: str, name: str) -> Json | None:
        """Return an object by its name; None where it is not there, or was not read."""
        found = (one for one in self.all(plural, namespace) if one["metadata"]["name"] == name)
        return next(found, None)

    def knows(self, plural: str) -> bool:
        """Whether a kind was read."""
        return plural in self.objects

    def to_json(self) -> Json:
        """Return it as plain values, ready for `json.dumps`."""
        found = asdict(self)
        found["taken"] = self.taken.isoformat()
        for one in found["certificates"]:
            one["until"] = one["until"].isoformat()
        return {"snapshot": FORMAT, **found}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Return what `to_json` gave.

        Raises:
            ValueError: it is no snapshot, or of another format.
        """
        if found.get("snapshot") != FORMAT:
            raise ValueError(f"it has snapshot: {found.get('snapshot')!r}, not {FORMAT}")
        given = {key: value for key, value in found.items() if key != "snapshot"}
        unknown = given.keys() - {one.name for one in fields(cls)}
        if unknown:
            raise ValueError(f"it has what a snapshot has not: {', '.join(sorted(unknown))}")
        try:
            return cls(**{key: _READERS.get(key, _as_is)(value) for key, value in given.items()})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"it is no snapshot: {error}") from error


def _as_is(value: Any) -> Any:
    return value


def _many(kind: type) -> Any:
    return lambda values: tuple(kind(**one) for one in values)


def _logs(values: list[Json]) -> tuple[LogTail, ...]:
    return tuple(LogTail(**{**one, "lines": tuple(one["lines"])}) for one in values)


def _certificates(values: list[Json]) -> tuple[Certificate, ...]:
    return tuple(Certificate(one["where"], datetime.fromisoformat(one["until"])) for one in values)


_READERS: Mapping[str, Any] = {
    "taken": datetime.fromisoformat,
    "namespaces": tuple,
    "asked": _many(AskedServer),
    "objects": lambda values: {key: tuple(items) for key, items in values.items()},
    "secrets": _many(SecretFacts),
    "logs": _logs,
    "readings": _many(Reading),
    "throttling": _many(Throttling),
    "certificates": _certificates,
    "answers": _many(Answer),
    "alerts": lambda values: None if values is None else _many(Alert)(values),
    "not_read": _many(NotRead),
}
