"""What a drill saw: answers, readings of sites and weights, and phases. Times are seconds of one clock."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from berth.operations.load.outcomes import REFUSED, Outcome

LOAD, PROBE = "load", "probe"
RESULTS = ("ok", "refused", "cut", "failed")
_OK = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request.

    Attributes:
        stream: whose it was: `LOAD`, `PROBE`, or the name of a residency rule.
        began: when it should have begun.
        ended: when nothing more came.
        result: one of `RESULTS`: whole, refused for want of room (429), broken off after its answer had
            begun, or failed before.
        backend: who answered, as the router says; "" where it does not.
        error: what went wrong; "" where nothing did.
        first_token: seconds from `began`; `None` where none came.
        per_token: mean seconds between tokens; `None` where there were fewer than two.
        attempts: how often the router tried; `None` where it does not say.
    """

    stream: str
    began: float
    ended: float
    result: str
    backend: str = ""
    error: str = ""
    first_token: float | None = None
    per_token: float | None = None
    attempts: int | None = None

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


def answer_of(stream: str, began: float, outcome: Outcome) -> Answer:
    """Turn a load's outcome into an answer."""
    if outcome.status == REFUSED:
        result = "refused"
    elif outcome.ok:
        result = "ok"
    else:
        result = "cut" if outcome.status == _OK else "failed"
    return Answer(
        stream=stream,
        began=began,
        ended=began + outcome.latency,
        result=result,
        backend=outcome.backend,
        error=outcome.error or "",
        first_token=outcome.first_token,
        per_token=sum(outcome.gaps) / len(outcome.gaps) if outcome.gaps else None,
    )


@dataclass(frozen=True, slots=True)
class SiteReading:
    """What a site's reporter said.

    Attributes:
        waiting, running: requests of all its gateways.
        ready, billed: replicas that serve, and that cost.
        cost: US dollars an hour; `None` where a replica's price is unknown.
        slots: requests that its replicas work on at once; 0 where it is not said.
    """

    waiting: int
    running: int
    ready: int
    billed: int
    cost: float | None
    slots: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at everything.

    Attributes:
        at: when.
        weights: percent of the requests by site; `None` where they could not be read.
        sites: by name; `None` for one that said nothing.
    """

    at: float
    weights: Mapping[str, float] | None
    sites: Mapping[str, SiteReading | None]


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of a drill: steady, overload, fault or recovery."""

    name: str
    began: float
    ended: float

    def __contains__(self, moment: float) -> bool:
        return self.began <= moment < self.ended


@dataclass
class Record:
    """Everything that a drill saw.

    Attributes:
        answers: of every stream, as they ended.
        readings: one a second.
        phases: in order.
        sent: when requests of the load began.
        unsent: when arrivals were not sent, since too many were waiting.
        notes: what was done or noticed, and when.
        fault_at: when the fault was there; `None` before.
        restored_at: when everything was as before; `None` before.
    """

    answers: list[Answer] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)
    unsent: list[float] = field(default_factory=list)
    notes: list[tuple[float, str]] = field(default_factory=list)
    fault_at: float | None = None
    restored_at: float | None = None

    def of(self, stream: str) -> list[Answer]:
        """The answers of a stream."""
        return [one for one in self.answers if one.stream == stream]

    def phase(self, name: str) -> Phase | None:
        """The phase of that name, if it was reached."""
        return next((one for one in self.phases if one.name == name), None)

    def began_in(self, name: str) -> list[Answer]:
        """Answers to the load's requests that began in a phase."""
        phase = self.phase(name)
        return [one for one in self.of(LOAD) if phase is not None and one.began in phase]


def count(answers: Iterable[Answer]) -> dict[str, int]:
    """How many by result; every result is named."""
    found = Counter(one.result for one in answers)
    return {name: found[name] for name in RESULTS}


def cost(reading: Reading, last: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    """Dollars an hour of all sites, and of each; a silent one costs what it last said (`last`)."""
    now = {
        name: one.cost if one is not None and one.cost is not None else last.get(name, 0.0)
        for name, one in reading.sites.items()
    }
    return sum(now.values()), now


def costs(readings: Sequence[Reading]) -> list[tuple[float, float]]:
    """When, and how many dollars an hour all sites cost then."""
    found: list[tuple[float, float]] = []
    last: dict[str, float] = {}
    for reading in readings:
        total, last = cost(reading, last)
        found.append((reading.at, total))
    return found
