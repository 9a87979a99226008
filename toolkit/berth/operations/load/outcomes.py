"""What became of requests: one outcome each, and the tally of all."""

import math
from array import array
from collections import Counter
from dataclasses import dataclass, field

QUANTILES = (50, 90, 95, 99)
REFUSED = 429
"""Too Many Requests: the right answer to overload."""
BACKEND_HEADER = "x-berth-backend"
"""By which a router says which of its backends answered."""


@dataclass(slots=True)
class Outcome:
    """What became of one request; times in seconds.

    Attributes:
        status: HTTP status, or `None` where no response began.
        error: kind of failure, or `None`: the answer came whole.
        latency: from when it should have begun to its end.
        first_token: from when it should have begun to its first token; `None` where it is not streamed.
        gaps: between one token and the next.
        tokens: generated.
        stalled: whether its client stopped reading for a while; its times are its own doing.
        prompt_tokens: of the prompt with its template; 0 where the endpoint does not say.
        backend: who answered behind a router, as `BACKEND_HEADER` says; "" where nobody says it.
    """

    status: int | None = None
    error: str | None = None
    latency: float = 0.0
    first_token: float | None = None
    gaps: list[float] = field(default_factory=list)
    tokens: int = 0
    stalled: bool = False
    prompt_tokens: int = 0
    backend: str = ""

    @property
    def ok(self) -> bool:
        """Say whether the answer came whole."""
        return self.error is None

    @property
    def result(self) -> str:
        """What it counts as: ok, refused (429), stalled (its client's own doing, whole or not) or failed."""
        if self.status == REFUSED:
            return "refused"
        if self.stalled:
            return "stalled"
        return "ok" if self.ok else "failed"


class Distribution:
    """Values with exact percentiles; eight bytes each."""

    def __init__(self) -> None:
        self._values = array("d")

    def add(self, value: float) -> None:
        """Take one more value."""
        self._values.append(value)

    def __len__(self) -> int:
        return len(self._values)

    def to_json(self) -> dict[str, float | int]:
        """Return count, mean, percentiles and maximum; only the count where there is no value."""
        if not self._values:
            return {"count": 0}
        ordered = sorted(self._values)
        found: dict[str, float | int] = {"count": len(ordered), "mean": math.fsum(ordered) / len(ordered)}
        found.update({f"p{q}": percentile(ordered, q) for q in QUANTILES})
        found["max"] = ordered[-1]
        return found


def percentile(ordered: list[float], q: float) -> float:
    """Return the q-th percentile of rising values, linear between the closest ranks (as numpy does)."""
    rank = (len(ordered) - 1) * q / 100
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


class Tally:
    """All outcomes of a load."""

    def __init__(self) -> None:
        self.sent = 0
        self.unsent = 0
        self.late = 0
        self.ok = 0
        self.failed = 0
        self.stalled = 0
        self.stalled_errors: Counter[str] = Counter()
        self.tokens = 0
        self.by_status: Counter[str] = Counter()
        self.by_backend: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.latency = Distribution()
        self.first_token = Distribution()
        self.gaps = Distribution()
        self.refused_latency = Distribution()

    @property
    def scheduled(self) -> int:
        """How many requests were due."""
        return self.sent + self.unsent

    @property
    def outstanding(self) -> int:
        """How many requests are running."""
        return self.sent - self.ok - self.failed - self.stalled

    def add(self, outcome: Outcome) -> None:
        """Count an outcome. Latencies of answers that did not come whole are not mixed with the others.

        Nor are those of clients that stalled; that a server cuts such a client off is no failure of its.
        """
        self.by_status[str(outcome.status) if outcome.status else "none"] += 1
        if outcome.backend:
            self.by_backend[outcome.backend] += 1
        self.tokens += outcome.tokens
        if outcome.result == "stalled":
            self.stalled += 1
            if not outcome.ok:
                self.stalled_errors[str(outcome.error)] += 1
            return
        if not outcome.ok:
            self.failed += 1
            self.errors[str(outcome.error)] += 1
            if outcome.status == REFUSED:
                self.refused_latency.add(outcome.latency)
            return
        self.ok += 1
        self.latency.add(outcome.latency)
        if outcome.first_token is not None:
            self.first_token.add(outcome.first_token)
        for gap in outcome.gaps:
            self.gaps.add(gap)
