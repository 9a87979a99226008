"""What a drill is about: a router over several sites, and how everything of it is reached from here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class DrilledSite:
    """One site of a hybrid router.

    Attributes:
        name: the stack's name for it.
        backend: the router's name for it, which its answers carry.
        reporter: base address of its reporter as this machine reaches it; "" where it does not.
        cost_per_replica_hour: US dollars; `None` where nobody says it.
    """

    name: str
    backend: str
    reporter: str = ""
    cost_per_replica_hour: float | None = 0.0


@dataclass(frozen=True, kw_only=True)
class Residency:
    """A rule that keeps requests at some sites.

    Attributes:
        name: of the rule.
        sites: where they may be answered.
        headers: by which it takes a request; empty where it asks for a key that this machine does not have.
        key: the API key by which it takes a request; `None` where it asks for none, or for one of others.
    """

    name: str
    sites: tuple[str, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    key: str | None = field(default=None, repr=False)

    @property
    def can_be_asked(self) -> bool:
        """Whether this machine can send a request that the rule takes."""
        return bool(self.headers) or self.key is not None


@dataclass(frozen=True, kw_only=True)
class Objectives:
    """What a stack states of the model; `None` is not stated.

    Attributes:
        availability: share of requests that are answered: not refused, not failed.
        error_ratio: share of admitted requests that may fail.
        first_token_p95_seconds, first_token_p99_seconds: 95 and 99 % of first tokens come within.
        inter_token_seconds: per token after the first, mean of a request.
        inter_token_target: share of requests that keep it.
        window_days: of the error budget.
    """

    availability: float | None = None
    error_ratio: float | None = None
    first_token_p95_seconds: float | None = None
    first_token_p99_seconds: float | None = None
    inter_token_seconds: float | None = None
    inter_token_target: float = 0.99
    window_days: int = 30


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A stack's hybrid router.

    Attributes:
        stack, router, model: their names.
        endpoint: base address of the router.
        key: API key of the load, or `None`.
        ca: a file with the authority's certificates of an `https` endpoint; `None` takes this machine's.
        server_name: what its certificate must say, where that is not the address's host.
        sites: in order of preference.
        residency: rules that keep requests at some sites.
        cost_cap_per_hour: US dollars; `None` is no cap.
        silent_seconds: after so long without an answer of its reporter a site counts as silent.
        objectives: of the model; `None` where the stack states none.
        token: what reporters want.
        kubeconfig, context: of the cluster that has the router.
        namespace: of the router.
        slots: requests that one replica works on at once.
        simulated: what of all this is simulated, in a sentence; "" where nothing is.
    """

    stack: str
    router: str
    model: str
    endpoint: str
    sites: tuple[DrilledSite, ...]
    key: str | None = field(default=None, repr=False)
    ca: Path | None = None
    server_name: str = ""
    residency: tuple[Residency, ...] = ()
    cost_cap_per_hour: float | None = None
    silent_seconds: float = 10.0
    objectives: Objectives | None = None
    token: str = field(default="", repr=False)
    kubeconfig: str = field(default="", repr=False)
    context: str = ""
    namespace: str = ""
    slots: int = 1
    simulated: str = ""

    @property
    def preferred(self) -> DrilledSite:
        """The site that has everything while it can."""
        return self.sites[0]

    def site(self, name: str) -> DrilledSite:
        """The site of that name."""
        return next(one for one in self.sites if one.name == name)

    def backends(self, sites: tuple[str, ...]) -> frozenset[str]:
        """What the router calls some sites."""
        return frozenset(self.site(name).backend for name in sites)
