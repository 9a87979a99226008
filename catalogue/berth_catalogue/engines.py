"""Engines: how each one is started, probed, told its settings and watched. One file per engine in engines/.

from berth_catalogue.engines import engine
engine("vllm").build("nvidia.com/gpu").reference  # docker.io/vllm/vllm-openai:v0.30.0

Keys of a file:

    port               where it listens, on loopback only
    formats            weight formats that it loads
    command, args      how it starts, without a shell; {…} is filled from the model server's settings
    environment        what it reads; filled as args are
    health             the path that says whether it is well
    probes             commands that answer by their exit code, for an engine cannot be reached from outside;
                       `drained` ends once nobody listens on the gateway's port 8000 any more, and waits as
                       long: the engine's preStop hook
    startup_seconds    budget for loading a model where nothing was measured
    stall_seconds      silence within a request after which it counts as lost
    metrics            its own names of what the gateway, and dashboards, look at
    shutdown           what it does on SIGTERM
    settings           what can be set, and by which args: `args` with {value}, or `enabled`; {} where
                       something else than an arg carries it
    refuses            what cannot be set, each with the reason
    needs              what its container needs: a user (any, or root), memory behind /dev/shm,
                       a writable /scratch; `checked` says how that is known
    builds             its images by role: device, Kubernetes resource, image and version where it is not
                       ours, further args, environment, refuses and budget
    sources            where all of it was read, and when

Together, `settings` and `refuses` name every setting that a model server has for engines.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Formatter
from types import MappingProxyType
from typing import TYPE_CHECKING

from berth_catalogue.errors import CatalogueError, unknown
from berth_catalogue.reading import Entry, load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from berth_catalogue.sources import Source

PLACEHOLDERS = frozenset(
    {
        *("port", "slots", "places", "threads", "weights", "model_id"),
        *("max_input_tokens", "max_total_tokens", "tensor_parallel", "pipeline_parallel"),
    }
)
"""What args and environment can be filled with; `places` is slots and some for probes."""
SETTINGS = (
    *("threads", "tensor_parallel", "dtype", "quantisation", "kv_cache_dtype", "memory_fraction"),
    *("prefix_caching", "shared_memory", "scratch"),
)
"""Settings of an engine; each file says for each of them how it is honoured, or why it is refused."""
DEVICES = ("cpu", "gpu", "neuron", "tpu")
_METRICS = ("waiting", "running", "kv_cache", "first_token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A command that answers by its exit code, and how long it may take."""

    command: tuple[str, ...]
    timeout_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How an engine is told a setting.

    Attributes:
        args: with {value}; empty where something else than an arg carries it.
        switch: whether it is on or off.
        on: args of a switch that is on; empty where it is on by itself.
        off: args of one that is off.
        allowed: values that it takes; empty where they are numbers or sizes.
    """

    args: tuple[str, ...] = ()
    switch: bool = False
    on: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """An engine in an image, for one kind of device.

    Attributes:
        role: the image's role.
        device: cpu, gpu, neuron or tpu.
        resource: what a pod asks Kubernetes for; "" for cpu.
        image: repository of the official image; "" where the image is ours (images.yaml).
        version: its tag; digests are asked of a registry, never recorded here.
        cores_per_accelerator: what the engine counts as devices in one of the resource.
        driver: oldest driver's major version that the image runs with; "" where that is not known.
        pipeline: whether layers can be spread over devices besides tensors.
        args: those of this build besides the engine's.
        environment: the same.
        refuses: settings that only this build refuses, with the reason.
        startup_seconds: budget for loading a model where nothing was measured.
        sources: where it was read.
    """

    role: str
    device: str
    resource: str
    image: str
    version: str
    cores_per_accelerator: int
    driver: str
    pipeline: bool
    args: tuple[tuple[str, ...], ...]
    environment: Mapping[str, str]
    refuses: Mapping[str, str]
    startup_seconds: int
    sources: tuple[Source, ...]

    @property
    def reference(self) -> str:
        """The official image by its version; "" where the image is ours."""
        return f"{self.image}:{self.version}" if self.image else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What an engine's container needs.

    Attributes:
        non_root: whether it runs as another user than root, which Pod Security "restricted" asks for.
        shared_memory: size of /dev/shm as a Kubernetes quantity; "" for the container runtime's own.
        scratch: size of the writable /scratch; "" for none.
        checked: how that is known.
    """

    non_root: bool
    shared_memory: str
    scratch: str
    checked: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One engine, as its file describes it."""

    name: str
    title: str
    command: tuple[str, ...]
    args: tuple[tuple[str, ...], ...]
    port: int
    health: str
    startup: Probe
    liveness: Probe
    drained: tuple[str, ...]
    stall_seconds: int
    formats: tuple[str, ...]
    environment: Mapping[str, str]
    metrics: Mapping[str, str]
    shutdown: str
    settings: Mapping[str, Setting]
    refuses: Mapping[str, str]
    needs: Needs
    builds: Mapping[str, Build]

    @property
    def image(self) -> str:
        """Role of its first image."""
        return next(iter(self.builds))

    @property
    def accelerators(self) -> tuple[str, ...]:
        """Devices that it computes on: cpu, gpu, neuron, tpu."""
        return tuple(build.device for build in self.builds.values())

    @property
    def startup_probe(self) -> tuple[str, ...]:
        """The start-up probe's command."""
        return self.startup.command

    @property
    def liveness_probe(self) -> tuple[str, ...]:
        """The liveness probe's command."""
        return self.liveness.command

    def build(self, resource: str) -> Build:
        """The build for a Kubernetes resource; "" is the CPU.

        Raises:
            CatalogueError: there is none; the message names those that there are.
        """
        for build in self.builds.values():
            if build.resource == resource:
                return build
        known = ", ".join(build.resource or "no accelerator" for build in self.builds.values())
        raise CatalogueError(
            f"{self.title} has no build for {resource or 'the CPU'}; it has them for: {known}"
        )

    def refusal(self, setting: str, build: Build) -> str | None:
        """Why a setting cannot be honoured, or None where it can."""
        return self.refuses.get(setting) or build.refuses.get(setting)


@cache
def engines() -> Mapping[str, Engine]:
    """All engines by name.

    Raises:
        CatalogueError: a file says something wrong.
    """
    folder = files("berth_catalogue").joinpath("engines")
    names = sorted(one.name.removesuffix(".yaml") for one in folder.iterdir() if one.name.endswith(".yaml"))
    return MappingProxyType({name: _engine(name, load(f"engines/{name}.yaml")) for name in names})


def engine(name: str) -> Engine:
    """One engine.

    Raises:
        CatalogueError: there is none of this name; the message names the closest.
    """
    known = engines()
    if name not in known:
        raise unknown("engine", name, known, "engines/")
    return known[name]


def _engine(name: str, top: Entry) -> Engine:
    table = top.sources()
    probes = top.entry("probes")
    settings = {key: _setting(one) for key, one in top.entry("settings").entries()}
    refuses = _texts(top, "refuses")
    if settings.keys() | refuses.keys() != set(SETTINGS) or settings.keys() & refuses.keys():
        raise top.wrong(
            "settings and refuses",
            sorted([*settings, *refuses]),
            f"together each of {', '.join(sorted(SETTINGS))} once",
        )
    budget = top.whole("startup_seconds")
    made = Engine(
        name=name,
        title=top.text("title"),
        command=top.texts("command"),
        args=_args(top),
        port=top.whole("port"),
        health=top.text("health"),
        startup=_probe(probes.entry("startup")),
        liveness=_probe(probes.entry("liveness")),
        drained=probes.texts("drained"),
        stall_seconds=top.whole("stall_seconds"),
        formats=top.texts("formats"),
        environment=_filled(top, "environment"),
        metrics=_metrics(top),
        shutdown=top.text("shutdown"),
        settings=MappingProxyType(settings),
        refuses=refuses,
        needs=_needs(top.entry("needs")),
        builds=MappingProxyType(
            {role: _build(role, one, table, budget) for role, one in top.entry("builds").entries()}
        ),
    )
    probes.end()
    top.end()
    if not made.builds:
        raise top.wrong("builds", {}, "at least one image")
    return made


def _build(role: str, one: Entry, table: Mapping[str, Source], budget: int) -> Build:
    device = one.text("device", DEVICES)
    made = Build(
        role=role,
        device=device,
        resource=one.maybe_text("resource") or "",
        image=one.maybe_text("image") or "",
        version=one.maybe_text("version") or "",
        cores_per_accelerator=one.maybe_whole("cores_per_accelerator") or 1,
        driver=one.maybe_text("driver") or "",
        pipeline=one.maybe_text("pipeline_parallel") == "honoured",
        args=_args(one),
        environment=_filled(one, "environment"),
        refuses=_texts(one, "refuses"),
        startup_seconds=one.maybe_whole("startup_seconds") or budget,
        sources=one.cited(table),
    )
    one.end()
    if bool(made.resource) != (device != "cpu"):
        raise one.wrong("resource", made.resource, "given for every device but cpu")
    if bool(made.image) != bool(made.version) or made.version == "latest":
        raise one.wrong("version", made.version, "a version beside image, never latest")
    if strange := made.refuses.keys() - set(SETTINGS):
        raise one.wrong("refuses", sorted(strange), f"some of {', '.join(SETTINGS)}")
    return made


def _needs(one: Entry) -> Needs:
    made = Needs(
        non_root=one.text("user", ("any", "root")) == "any",
        shared_memory=one.maybe_text("shared_memory") or "",
        scratch=one.maybe_text("scratch") or "",
        checked=one.text("checked"),
    )
    one.end()
    return made


def _probe(one: Entry) -> Probe:
    made = Probe(command=one.texts("command"), timeout_seconds=one.whole("timeout_seconds"))
    one.end()
    return made


def _setting(one: Entry) -> Setting:
    switch = one.has("enabled") or one.has("disabled")
    made = Setting(
        args=tuple((one.maybe_text("args") or "").split()),
        switch=switch,
        on=tuple((one.maybe_text("enabled") or "").split()),
        off=tuple((one.maybe_text("disabled") or "").split()),
        allowed=one.texts("allowed") if one.has("allowed") else (),
    )
    one.end()
    if made.args and "{value}" not in made.args:
        raise one.wrong("args", list(made.args), "words of which one is {value}")
    return made


def _metrics(top: Entry) -> Mapping[str, str]:
    names = _texts(top, "metrics")
    if strange := names.keys() - set(_METRICS):
        raise top.wrong("metrics", sorted(strange), f"some of {', '.join(_METRICS)}")
    return names


def _args(one: Entry) -> tuple[tuple[str, ...], ...]:
    lines = one.texts("args") if one.has("args") else ()
    _check_placeholders(one, "args", lines)
    return tuple(tuple(line.split()) for line in lines)


def _filled(one: Entry, key: str) -> Mapping[str, str]:
    texts = _texts(one, key)
    _check_placeholders(one, key, [*texts.values()])
    return texts


def _texts(one: Entry, key: str) -> Mapping[str, str]:
    if not one.has(key):
        return MappingProxyType({})
    inner = one.entry(key)
    return MappingProxyType({name: inner.text(name) for name in inner.keys()})  # noqa: SIM118 - an entry, no dict: it is emptied while read


def _check_placeholders(one: Entry, key: str, texts: Sequence[str]) -> None:
    for text in texts:
        for _, placeholder, _, _ in Formatter().parse(text):
            if placeholder is not None and placeholder not in PLACEHOLDERS:
                raise one.wrong(key, text, f"filled with some of {', '.join(sorted(PLACEHOLDERS))}")
