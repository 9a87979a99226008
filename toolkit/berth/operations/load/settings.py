"""What a load is: its settings, checked."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

from berth.operations.errors import LoadSettingsError

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
class LoadSettings:
    """An open-loop load: requests begin when the arrival process says so, however slow the answers are.

    Attributes:
        endpoint: base address, e.g. `http://198.18.0.11:30080`.
        key: API key, or `None`. Never shown and never reported.
        route: one of `ROUTES`. Chat is streamed.
        rate: arrivals per second, or `None` for `overload` times a measured capacity.
        overload: factor on the measured capacity where `rate` is `None`.
        arrivals: poisson (as independent clients are) or constant.
        duration_seconds: how long requests begin.
        max_outstanding: requests in flight at once; an arrival above it is not sent, and counted.
        max_new_tokens: asked of each request.
        request_seconds: after this a request is given up.
        seed: of arrivals and of the choice of prompts: the same seed sends the same load.
        prompts: what is asked; empty takes the ones that come with this package.
        target: what is watched meanwhile; `None` watches nothing.
        scale_down_seconds: how long is waited, after the load, for the replicas to be back.
    """

    endpoint: str
    key: str | None = field(default=None, repr=False)
    route: str = "/generate_stream"
    rate: float | None = None
    overload: float = 2.0
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
        _one_of("route", self.route, ROUTES)
        _one_of("arrivals", self.arrivals, ARRIVALS)
        if self.rate is not None:
            _within("rate", self.rate, 0.001, 10_000, "requests per second, or auto")
        _within("overload", self.overload, 0.1, 100, "times the capacity")
        _within("duration_seconds", self.duration_seconds, 0.1, 86_400, "seconds")
        _within("max_outstanding", self.max_outstanding, 1, 10_000, "requests")
        _within("max_new_tokens", self.max_new_tokens, 1, 100_000, "tokens")
        _within("request_seconds", self.request_seconds, 0.1, 3_600, "seconds")
        _within("scale_down_seconds", self.scale_down_seconds, 0, 3_600, "seconds")

    def to_json(self) -> dict[str, object]:
        """Return the settings for a report: without the key, and with the prompts counted only."""
        target = self.target
        return {
            "endpoint": self.endpoint,
            "route": self.route,
            "rate": self.rate,
            "overload": self.overload,
            "arrivals": self.arrivals,
            "duration_seconds": self.duration_seconds,
            "max_outstanding": self.max_outstanding,
            "max_new_tokens": self.max_new_tokens,
            "request_seconds": self.request_seconds,
            "seed": self.seed,
            "prompts": len(self.prompts or packaged_prompts()),
            "scale_down_seconds": self.scale_down_seconds,
            "watched": target and f"{target.namespace}/{target.deployment}",
        }


def packaged_prompts() -> tuple[str, ...]:
    """Return the prompts that come with this package (prompts.json says under which licence)."""
    text = resources.files("berth.operations.load").joinpath("prompts.json").read_text(encoding="utf-8")
    return tuple(json.loads(text)["prompts"])


def read_prompts(path: Path) -> tuple[str, ...]:
    """Read prompts of the user's: a JSON list of strings, or a text file with one on each line.

    Raises:
        LoadSettingsError: the file cannot be read, or holds no prompt.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LoadSettingsError(f"The prompts' file {path} cannot be read: {error}") from error
    try:
        found = json.loads(text) if text.lstrip().startswith("[") else text.splitlines()
    except ValueError as error:
        raise LoadSettingsError(
            f"The prompts' file {path} begins with '[' but is no JSON list: {error}"
        ) from error
    if not all(isinstance(prompt, str) for prompt in found):
        raise LoadSettingsError(f"The prompts' file {path} must hold strings only")
    prompts = tuple(prompt.strip() for prompt in found if prompt.strip())
    if not prompts:
        raise LoadSettingsError(f"The prompts' file {path} holds no prompt")
    return prompts


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise LoadSettingsError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")


def _within(name: str, value: float, lowest: float, highest: float, unit: str) -> None:
    if not math.isfinite(value) or not lowest <= value <= highest:
        raise LoadSettingsError(f"{name} is {value:g}; it must be {lowest:g} to {highest:g} ({unit})")
