"""What a load is: its settings, checked."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from berth.operations.errors import LoadSettingsError
from berth.operations.load.profiles import PROFILES, Profile
from berth.operations.load.prompts import packaged_prompts

ROUTES = ("/generate_stream", "/generate", "/v1/chat/completions")
ARRIVALS = ("poisson", "constant")


@dataclass(frozen=True, kw_only=True)
class ScalingTarget:
    """What is watched while the load runs.

    Attributes:
        kubeconfig: path of a kubeconfig, or its contents.
        context: of the kubeconfig; `""` is its current one.
        namespace: of all that follows.
        deployment: name of the model server's Deployment.
        autoscaler: name of its HorizontalPodAutoscaler; `""` where there is none.
        selector: labels of its pods, which are also the metric's selector.
    """

    kubeconfig: str = field(repr=False)
    namespace: str
    deployment: str
    selector: Mapping[str, str]
    autoscaler: str = ""
    context: str = ""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Where the results go while they come: a receiver of Prometheus' remote write.

    Attributes:
        url: its address, or Prometheus' own, whose path `/api/v1/write` follows by itself. With
            `kubeconfig`, a path at that cluster's API server.
        kubeconfig: path or contents, where the receiver is reached through the API server; else "".
        context: of that kubeconfig.
        labels: put on every series, such as site and model.
        seconds: between two pushes.
    """

    url: str
    kubeconfig: str = field(default="", repr=False)
    context: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 5.0


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """An open-loop load: requests begin when the arrival process says so, however slow the answers are.

    Attributes:
        endpoint: base address, e.g. `http://198.18.0.11:30080`.
        key: API key, or `None`. Never shown and never reported.
        route: one of `ROUTES`. Chat is streamed.
        profile: one of `PROFILES`: how the rate goes, what is asked, how clients read.
        rate: the profile's base rate in arrivals per second, or `None` for a share of a measured capacity.
        overload: that share; `None` is the profile's own.
        stall_seconds: how long a client that stalls reads nothing.
        ca: a file with the certificates of the authority that an `https` endpoint is believed by; `None`
            takes those that this machine knows.
        server_name: what an `https` endpoint's certificate must say, where that is not the address's host.
        recording: where the results go while they come; `None` keeps them for the report.
        arrivals: poisson (as independent clients are) or constant.
        duration_seconds: how long requests begin.
        max_outstanding: requests in flight at once; an arrival above it is not sent, and counted.
        max_new_tokens: asked of each request.
        request_seconds: after this a request is given up.
        seed: of arrivals and of the choice of prompts: the same seed sends the same load.
        prompts: what is asked; empty takes the ones that come with this package, long ones where the profile
            wants them.
        target: what is watched meanwhile; `None` watches nothing.
        scale_down_seconds: how long is waited, after the load, for the replicas to be back.
    """

    endpoint: str
    key: str | None = field(default=None, repr=False)
    route: str = "/generate_stream"
    profile: str = "steady"
    rate: float | None = None
    overload: float | None = None
    stall_seconds: float = 10.0
    ca: Path | None = None
    server_name: str = ""
    recording: Recording | None = None
    arrivals: str = "poisson"
    duration_seconds: float = 60.0
    max_outstanding: int = 256
    max_new_tokens: int = 48
    request_seconds: float = 120.0
    seed: int = 0
    prompts: tuple[str, ...] = ()
    target: ScalingTarget | None = None
    scale_down_seconds: float = 180.0

    def __post_init__(self) -> None:
        """Refuse what cannot be a load.

        Raises:
            LoadSettingsError: a value is not allowed.
        """
        parts = urlsplit(self.endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise LoadSettingsError(
                f"endpoint is {self.endpoint!r}; it must be an address such as http://198.18.0.11:30080"
            )
        if parts.scheme == "http" and (self.ca or self.server_name):
            raise LoadSettingsError(
                f"endpoint is {self.endpoint!r}, which is not encrypted: no certificate of an authority and "
                "no server name go with it"
            )
        _one_of("route", self.route, ROUTES)
        _one_of("profile", self.profile, tuple(PROFILES))
        if self.kind.stalling and self.route == "/generate":
            raise LoadSettingsError(
                "profile is 'stalling', which needs an answer that streams; route is '/generate'. Take "
                "/generate_stream or /v1/chat/completions"
            )
        _one_of("arrivals", self.arrivals, ARRIVALS)
        if self.rate is not None:
            _within("rate", self.rate, 0.001, 10_000, "requests per second, or auto")
        _within("overload", self.share, 0.1, 100, "times the capacity")
        _within("stall_seconds", self.stall_seconds, 0.01, 3_600, "seconds")
        _within("duration_seconds", self.duration_seconds, 0.1, 86_400, "seconds")
        _within("max_outstanding", self.max_outstanding, 1, 10_000, "requests")
        _within("max_new_tokens", self.max_new_tokens, 1, 100_000, "tokens")
        _within("request_seconds", self.request_seconds, 0.1, 3_600, "seconds")
        _within("scale_down_seconds", self.scale_down_seconds, 0, 3_600, "seconds")

    @property
    def kind(self) -> Profile:
        """The profile itself."""
        return PROFILES[self.profile]

    @property
    def share(self) -> float:
        """Base rate in multiples of the measured capacity, where no rate is given."""
        return self.kind.share if self.overload is None else self.overload

    def to_json(self) -> dict[str, object]:
        """Return the settings for a report: without the key, and with the prompts counted only."""
        target = self.target
        return {
            "endpoint": self.endpoint,
            "route": self.route,
            "profile": self.profile,
            "rate": self.rate,
            "overload": self.share,
            "stall_seconds": self.stall_seconds if self.kind.stalling else None,
            "arrivals": self.arrivals,
            "duration_seconds": self.duration_seconds,
            "max_outstanding": self.max_outstanding,
            "max_new_tokens": self.max_new_tokens,
            "request_seconds": self.request_seconds,
            "seed": self.seed,
            "prompts": len(self.prompts) or (None if self.kind.long_prompts else len(packaged_prompts())),
            "scale_down_seconds": self.scale_down_seconds,
            "watched": target and f"{target.namespace}/{target.deployment}",
        }


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise LoadSettingsError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")


def _within(name: str, value: float, lowest: float, highest: float, unit: str) -> None:
    if not math.isfinite(value) or not lowest <= value <= highest:
        raise LoadSettingsError(f"{name} is {value:g}; it must be {lowest:g} to {highest:g} ({unit})")
