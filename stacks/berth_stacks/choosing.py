"""Choosing where a model is served: cloud, own hardware, both, or a managed endpoint, from what is needed.

    options = compare(read_needs(file), directory)
    options[0].title, options[0].reasons, options[0].text   # the best, why, and its stack file

Every option is a whole stack file, read and planned like any other, so that what is said of it is what its
program would say.
"""

import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from berth_catalogue.accelerators import accelerators
from berth_catalogue.pairings import CPU
from berth_planner.cost import HOURS
from berth_planner.measurements import FOLDER, read_measurements
from berth_planner.plan import Plan
from berth_planner.service import service
from pydantic import Field, ValidationError

from berth_stacks.errors import SettingsError
from berth_stacks.fields import Flag, Number, Settings, Text, Whole, limits
from berth_stacks.load import read
from berth_stacks.new import REGIONS, CannotError, Ground, Wish, choices, stack_text
from berth_stacks.plan_settings import PlannedLoad
from berth_stacks.planned import asked, plan
from berth_stacks.settings import Stack

Cloud = Literal["aws", "gcp"]
_NAME = "chosen"
_CLOUDS: Mapping[str, Ground] = {"aws": "aws", "gcp": "gcp"}
_TITLES = {
    "own": "own hardware",
    "hybrid": "hybrid: own hardware first, a cloud beside it",
    "aws": "cloud: EKS on AWS",
    "gcp": "cloud: GKE on Google Cloud",
    "sagemaker": "managed endpoint: SageMaker on AWS",
}
_FOR = {
    "own": "nothing is rented, and no request leaves your hardware",
    "hybrid": "what is there is used first; the cloud carries bursts, and the loss of the site",
    "aws": "nodes come and go with the load, from zero where nobody asks",
    "gcp": "nodes come and go with the load, from zero where nobody asks",
    "sagemaker": "no cluster to run; clients authenticate by IAM",
}
_ORDER = [*_TITLES]
_CAP = 10
"""US dollars an hour, where neither a budget nor a price says another: the file says to set it."""
_HEAD = """# yaml-language-server: $schema=schema.json
# Own hardware first, a cloud for what it cannot serve, by ./berth choose. Yours to set before the first `up`:
# costCapPerHour, and in beyond where the router comes from (cidrs), domain and certificate: docs/hybrid.md.
"""
_INTERNAL: Mapping[str, Mapping[str, str]] = {
    "eks": {
        "service.beta.kubernetes.io/aws-load-balancer-type": "nlb",
        "service.beta.kubernetes.io/aws-load-balancer-internal": "true",
    },
    "gke": {"networking.gke.io/load-balancer-type": "Internal"},
}
"""What makes a load balancer of a cloud one of its own network."""


class Needs(Settings):
    """What is needed."""

    model: Text
    """Its name in the catalogue."""
    load: PlannedLoad
    """The traffic, at the busiest."""
    environment: Literal["development", "production"] = "production"
    """development buys spot machines and is content with one replica. Default: production."""
    first_token_seconds: Annotated[Number, limits(0.001, 3600, "a number")] | None = None
    """What 95 % of the first tokens are to come within. Default: nothing is promised."""
    residency: Literal["own", "anywhere"] = "anywhere"
    """own: no request may leave own hardware. Default: anywhere; regions are then named."""
    clouds: list[Cloud] = ["aws", "gcp"]  # noqa: RUF012 - pydantic copies defaults
    """Clouds with an account. Default: both; none is possible."""
    regions: dict[Cloud, Text] = Field(default_factory=dict)
    """The region in each. Default: eu-central-1 and europe-west4."""
    own_accelerators: dict[Text, Annotated[Whole, limits(1, 100_000)]] = Field(default_factory=dict)
    """Free accelerators of own hardware, by key of the catalogue; cpu: nodes without. Default: none."""
    operates_kubernetes: Flag = True
    """Whether the team runs Kubernetes. Default: true."""
    budget_per_month: Annotated[Number, limits(1, 1e9, "a number")] | None = None
    """US dollars a month for machines at the most replicas. Default: none."""


@dataclass(frozen=True)
class Option:
    """One way to serve it.

    Attributes:
        name: own, hybrid, aws, gcp or sagemaker.
        title: in words.
        accelerator: what it computes on; "" where it is out before that is known.
        fits: whether nothing speaks against it for certain.
        reasons: for and against, each a sentence.
        usd_per_month: machines at the fewest and at the most; None where a price is not known.
        unknown: findings of its plan that are open.
        text: its stack file; "" where it is out.
    """

    name: str
    title: str
    accelerator: str
    fits: bool
    reasons: tuple[str, ...]
    usd_per_month: tuple[float, float] | None
    unknown: tuple[str, ...]
    text: str

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "name": self.name,
            "title": self.title,
            "accelerator": self.accelerator,
            "fits": self.fits,
            "reasons": list(self.reasons),
            "usd_per_month": list(self.usd_per_month) if self.usd_per_month else None,
            "unknown": list(self.unknown),
            "stack": self.text,
        }


def read_needs(file: Path) -> Needs:
    """What a file says; docs/choose.md has an example.

    Raises:
        CannotError: it cannot be read, or says what is not allowed.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CannotError(f"{file}: cannot be read: {' '.join(str(error).split())}") from None
    return needs_of(content, str(file))


def needs_of(content: Any, where: str) -> Needs:
    """What is needed, from plain data.

    Raises:
        CannotError: something in it is not allowed; the message names it.
    """
    try:
        found = Needs.model_validate(content)
    except ValidationError as error:
        said = [
            f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg'].lower()}, got {one['input']!r}"
            for one in error.errors(include_url=False)
        ]
        raise CannotError("; ".join(f"{where}: {line}" for line in said)) from None
    unknown = found.own_accelerators.keys() - {CPU, *accelerators()}
    if unknown:
        known = ", ".join([CPU, *accelerators()])
        raise CannotError(f"{where}: ownAccelerators: is {', '.join(sorted(unknown))}; allowed: {known}")
    return found


def compare(needs: Needs, directory: Path) -> list[Option]:
    """Every way to serve it, the best first: what fits before what does not, then the cheapest.

    Args:
        needs: what is needed.
        directory: where the stacks' bases, prices and measurements are.

    Raises:
        CannotError: the model is not in the catalogue.
        PlannerError: a file of prices or measurements is wrong.
    """
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(directory / "bases", Path(folder) / "bases")
        chooser = _Chooser(needs, directory, Path(folder))
        found = [chooser.option(name) for name in _ORDER]
    return sorted(found, key=_rank)


def _rank(one: Option) -> tuple[bool, bool, float, int]:
    most = one.usd_per_month[1] if one.usd_per_month else 0.0
    return not one.fits, one.usd_per_month is None, most, _ORDER.index(one.name)


@dataclass(frozen=True)
class _Tried:
    accelerator: str
    text: str
    stack: Stack
    plan: Plan

    @property
    def failed(self) -> list[str]:
        return [
            f"{one.key}: {one.found}; wanted: {one.wanted}"
            for one in self.plan.checks
            if one.status == "failed"
        ]

    @property
    def unknown(self) -> tuple[str, ...]:
        return tuple(one.key for one in self.plan.checks if one.status == "unknown")

    @property
    def usd_per_month(self) -> tuple[float, float] | None:
        figures = {figure.name: figure.value for section in self.plan.sections for figure in section.figures}
        if "at the fewest" not in figures:
            return None
        return figures["at the fewest"] * HOURS, figures["at the most"] * HOURS

    @property
    def memory_gib(self) -> float:
        if self.accelerator == CPU:
            return 0
        count = next(one.accelerators for one in asked(self.stack))
        return accelerators()[self.accelerator].memory_gib * count


class _Chooser:
    def __init__(self, needs: Needs, directory: Path, folder: Path) -> None:
        self._needs, self._directory, self._folder = needs, directory, folder
        self._measured = read_measurements(directory / FOLDER)

    def option(self, name: str) -> Option:
        reasons = [_FOR[name]]
        against = [*self._against(name)]
        tried = None if against else self._best(name)
        if tried is None:
            against = against or [self._why_not(name)]
            return Option(
                name,
                _TITLES[name],
                "",
                fits=False,
                reasons=(*reasons, *against),
                usd_per_month=None,
                unknown=(),
                text="",
            )
        against += tried.failed
        against += self._too_dear(tried)
        against += self._too_few(name, tried)
        if not self._needs.operates_kubernetes and name in {"aws", "gcp"}:
            reasons.append("the cloud runs the control plane, yet somebody has to know Kubernetes")
        if tried.usd_per_month is None:
            reasons.append("what it costs is not known: ./berth plan says which prices are missing")
        return Option(
            name=name,
            title=_TITLES[name],
            accelerator=tried.accelerator,
            fits=not against,
            reasons=(*reasons, *against),
            usd_per_month=tried.usd_per_month,
            unknown=tried.unknown,
            text=tried.text,
        )

    def _against(self, name: str) -> Iterator[str]:
        """What rules it out before anything is planned."""
        needs = self._needs
        if needs.residency == "own" and name != "own":
            yield "no request may leave own hardware"
        if name in {"own", "hybrid"} and not needs.own_accelerators:
            yield "there is no own hardware with room"
        if name in {"own", "hybrid"} and not needs.operates_kubernetes:
            yield "nobody runs Kubernetes"
        cloud = {"sagemaker": "aws"}.get(name, name)
        if cloud in _CLOUDS and cloud not in needs.clouds:
            yield f"there is no account at {cloud}"
        if name == "hybrid" and not needs.clouds:
            yield "there is no account at a cloud"

    def _best(self, name: str) -> _Tried | None:
        """The cheapest that does not fail, by price where that is known, else by memory; else any."""
        if name == "hybrid":
            return self._hybrid()
        ground: Ground = "sagemaker" if name == "sagemaker" else "own" if name == "own" else _CLOUDS[name]
        keys = [*self._needs.own_accelerators] if ground == "own" else choices(ground)
        tried = [one for key in keys if (one := self._tried(ground, key)) is not None]
        return min(tried, key=self._preference, default=None)

    @staticmethod
    def _preference(one: _Tried) -> tuple[bool, int, bool, float]:
        cost = one.usd_per_month
        return bool(one.failed), len(one.unknown), cost is None, cost[1] if cost else one.memory_gib

    def _tried(self, ground: Ground, key: str) -> _Tried | None:
        needs = self._needs
        named: Mapping[str, str] = {str(cloud): where for cloud, where in needs.regions.items()}
        region = named.get("aws" if ground == "sagemaker" else ground, "")
        try:
            text = stack_text(Wish(ground, needs.model, key, needs.environment, region or REGIONS[ground]))
        except CannotError:
            return None
        load = json.dumps(needs.load.model_dump(by_alias=True, exclude_none=True))
        return self._planned(key, f"{text.rstrip()}\n      load: {load}\n")

    def _planned(self, key: str, text: str) -> _Tried | None:
        (self._folder / f"Pulumi.{_NAME}.yaml").write_text(text, encoding="utf-8")
        config = yaml.safe_load(text)["config"]
        flat = {name: one if isinstance(one, str) else json.dumps(one) for name, one in config.items()}
        try:
            stack = read(self._folder, _NAME, flat).settings
        except SettingsError:
            return None
        return _Tried(key, text, stack, plan(_NAME, stack, self._directory))

    def _hybrid(self) -> _Tried | None:
        """Own hardware and the best cloud in one file: one model at two sites, with a pool of one name."""
        own = self._best("own")
        clouds = [one for name in self._needs.clouds if (one := self._best(name)) is not None]
        cloud = min(clouds, key=self._preference, default=None)
        if own is None or cloud is None:
            return None
        here, there = (yaml.safe_load(one.text)["config"] for one in (own, cloud))
        mine, theirs = (one["berth:models"]["chat"] for one in (here, there))
        alike = ("pool", "gpu")
        if mine["engine"]["name"] != theirs["engine"]["name"]:
            return None
        if any(mine.get(key) != theirs.get(key) for key in alike):
            return None
        slots = min(one["concurrency"]["slots"] for one in (mine, theirs))
        merged = {
            **there,
            "berth:sites": {**here["berth:sites"], **there["berth:sites"]},
            "berth:models": {
                "chat": {
                    **theirs,
                    "sites": [*here["berth:sites"], *there["berth:sites"]],
                    "concurrency": {**theirs["concurrency"], "slots": slots},
                }
            },
            "berth:routers": {"front": self._router([*here["berth:sites"], *there["berth:sites"]], cloud)},
        }
        text = _HEAD + yaml.safe_dump({"config": merged}, sort_keys=False, width=116)
        return self._planned(cloud.accelerator, text)

    def _router(self, sites: list[str], cloud: _Tried) -> dict[str, Any]:
        """One address: own hardware first, the cloud below what the budget leaves, or it costs at most."""
        budget, cost = self._needs.budget_per_month, cloud.usd_per_month
        month = budget if budget is not None else cost[1] if cost else None
        there = next(one for key, one in cloud.stack.sites.items() if key in sites)
        beyond: dict[str, Any] = {
            "cidrs": ["10.10.0.0/16"],
            "service": {
                "type": "LoadBalancer",
                "domain": "sites.example.org",
                "annotations": {**_INTERNAL["eks" if there.eks else "gke"]},
            },
        }
        if self._needs.environment == "production":
            beyond["tls"] = {
                "secret": "gateway-tls",
                "serverName": "sites.example.org",
                "caSecret": "sites-ca",
            }
        hybrid = {
            "model": "chat",
            "sites": sites,
            "costCapPerHour": _CAP if month is None else math.ceil(month / HOURS * 100) / 100,
            "beyond": beyond,
        }
        return {"site": sites[0], "hybrid": hybrid}

    def _why_not(self, name: str) -> str:
        if name == "hybrid":
            return (
                "one model cannot be served alike on own hardware and in the cloud: engines or numbers differ"
            )
        what = ", ".join(self._needs.own_accelerators) if name == "own" else "any accelerator there"
        return f"{self._needs.model} cannot be served on {what}"

    def _too_dear(self, tried: _Tried) -> Iterator[str]:
        budget, cost = self._needs.budget_per_month, tried.usd_per_month
        if budget is not None and cost is not None and cost[1] > budget:
            yield f"{cost[1]:,.0f} USD a month at the most; the budget is {budget:,.0f}"

    def _too_few(self, name: str, tried: _Tried) -> Iterator[str]:
        """Own accelerators, and the time to the first token, which the plan is not told of."""
        for one in asked(tried.stack):
            if one.load is not None and self._needs.first_token_seconds is not None:
                within = replace(one.load, first_token_seconds=self._needs.first_token_seconds)
                for check in service(replace(one, load=within), self._measured).section.checks:
                    if check.name == "first token" and check.status == "failed":
                        yield f"first token: {check.found}; wanted: {check.wanted}"
            if name == "own" and one.accelerator:
                there = self._needs.own_accelerators.get(one.accelerator, 0)
                if one.most_replicas * one.accelerators > there:
                    wanted = one.most_replicas * one.accelerators
                    yield f"{there} x {one.accelerator} are there, and {wanted} are needed at the most"
