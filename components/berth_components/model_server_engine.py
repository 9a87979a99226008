"""A model server's engine: which build of it, how it is started, and what its container needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

import pulumi
from berth_catalogue.engines import Build, Engine, engines
from berth_catalogue.errors import CatalogueError
from pulumi_kubernetes.core import v1 as core

from berth_components import checks
from berth_components import model_server_args as declared
from berth_components.arguments import Arguments, combine
from berth_components.model_server_resources import read_resources

SPARE_PLACES = 8
"""Requests that an engine takes besides its slots: the gateway's and the kubelet's questions."""
_MOST_CORES = 32


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """Everything that an engine's container is made from.

    Attributes:
        args: after the command; empty where the environment says everything.
        environment: filled.
        startup: budget for loading a model where nothing was measured, in seconds.
        device: cpu, gpu, neuron or tpu.
        shared_memory: size of /dev/shm; None for the container runtime's own.
        scratch: size of the writable /scratch; None for none.
        gpu_simulated: its accelerators exist for the scheduler only.
    """

    engine: Engine
    image: pulumi.Input[str]
    resources: core.ResourceRequirementsArgs
    args: pulumi.Input[Sequence[str]]
    environment: pulumi.Input[Mapping[str, pulumi.Input[str]]]
    startup: pulumi.Input[int]
    device: pulumi.Input[str]
    gpu_count: pulumi.Input[int]
    gpu_resource: pulumi.Input[str]
    gpu_simulated: bool
    shared_memory: pulumi.Input[str] | None
    scratch: pulumi.Input[str] | None


def read_name(given: Arguments) -> Engine:
    """The engine that is named.

    Raises:
        ArgumentError: the catalogue has none of this name.
    """
    args = given.group("engine", declared.EngineArgs)
    engine = engines()[args.plain("name", checks.choice(*sorted(engines())))]
    if not engine.needs.non_root:
        raise args.refuse(
            "name",
            engine.name,
            "an engine whose image runs as another user than root",
            f"Pod Security restricted would not admit it; {engine.needs.checked}",
        )
    return engine


def read_startup(given: Arguments) -> pulumi.Input[int]:
    """Budget for loading a model with this engine where nothing was measured, in seconds."""
    engine = read_name(given)
    return combine(lambda build: int(build.startup_seconds), _build(given, engine)[0])


def read_engine(given: Arguments, engine: Engine, values: Mapping[str, Any]) -> EngineSpec:
    """Check the groups `engine` and `gpu`.

    Args:
        given: the server's args.
        engine: as `read_name` gave it.
        values: what the engine's args and environment are filled with, as far as it is known outside.

    Raises:
        ArgumentError: an argument is missing, not allowed, or the engine cannot honour it.
    """
    args = given.group("engine", declared.EngineArgs)
    build, count, resource, simulated = _build(given, engine)
    resources = read_resources(args, None, count, resource)
    tensor, pipeline = _parallel(args, engine, build, count)
    flags = _flags(args, engine, build)
    filled: dict[str, Any] = {
        **values,
        "port": engine.port,
        "places": combine(lambda slots: int(slots) + SPARE_PLACES, values["slots"]),
        "threads": (
            args.read("threads", checks.whole_number(0, 1024, "threads"), 0)
            if _honours(args, engine, build, "threads")
            else 0
        ),
        "tensor_parallel": tensor,
        "pipeline_parallel": pipeline,
    }
    words = combine(lambda known: [word for group in (*engine.args, *known.args) for word in group], build)
    return EngineSpec(
        engine=engine,
        image=args.read("image", checks.image),
        resources=resources,
        args=combine(
            lambda texts, more, known: [*(text.format(**known) for text in texts), *more],
            words,
            flags,
            filled,
        ),
        environment=_environment(engine, build, filled),
        startup=combine(lambda known: int(known.startup_seconds), build),
        device=combine(lambda known: str(known.device), build),
        gpu_count=count,
        gpu_resource=resource,
        gpu_simulated=simulated,
        shared_memory=_shared_memory(args, engine, build),
        scratch=_size(args, engine, build, "scratch", engine.needs.scratch),
    )


def _build(
    given: Arguments, engine: Engine
) -> tuple[pulumi.Input[Build], pulumi.Input[int], pulumi.Input[str], bool]:
    gpu = given.group("gpu", declared.GpuArgs)
    per_replica = checks.whole_number(0, 16, "accelerators per replica")
    count = gpu.read("count", per_replica) if "gpu" in given else 0
    resource = gpu.read("resource", checks.qualified_name, "nvidia.com/gpu")
    simulated = gpu.plain("simulated", checks.boolean, False)
    on_cpu = engine.accelerators == ("cpu",)

    def suits(count: int) -> int:
        if count and not simulated and on_cpu:
            raise gpu.refuse(
                "count", count, f"0, since {engine.name} computes on the CPU", "a GPU would lie idle"
            )
        if not count and "cpu" not in engine.accelerators:
            raise gpu.refuse("count", count, f"at least 1, since {engine.name} does not compute on the CPU")
        return count

    def chosen(resource: str) -> Build:
        try:
            return engine.build("" if on_cpu else resource)
        except CatalogueError as error:
            known = ", ".join(build.resource for build in engine.builds.values())
            raise gpu.refuse("resource", resource, f"one of {known}", str(error)) from None

    return combine(chosen, resource), combine(suits, count), resource, simulated


def _honours(args: Arguments, engine: Engine, build: pulumi.Input[Build], setting: str) -> bool:
    """Whether a setting is given or has a default; refused where it is given and cannot be honoured."""

    def refuse(known: Build) -> bool:
        reason = engine.refusal(setting, known)
        if reason is not None and setting in args:
            where = f"nothing where engine.name is {engine.name}"
            if setting not in engine.refuses:
                where += f" on {known.resource}"
            raise args.refuse(setting, "given", where, reason)
        return reason is None

    found = combine(refuse, build)
    # An output's refusal comes when it resolves; until then the engine itself decides.
    return found if isinstance(found, bool) else setting not in engine.refuses


def _parallel(
    args: Arguments, engine: Engine, build: pulumi.Input[Build], count: pulumi.Input[int]
) -> tuple[pulumi.Input[int], pulumi.Input[int]]:
    wanted = None
    if _honours(args, engine, build, "tensor_parallel"):
        wanted = args.maybe("tensor_parallel", checks.whole_number(1, 16 * _MOST_CORES, "devices"))

    def tensor(known: Build, count: int, wanted: int | None) -> int:
        devices = int(count) * known.cores_per_accelerator
        if wanted is None:
            return devices
        if devices % wanted:
            raise args.refuse("tensor_parallel", wanted, f"a number that divides the replica's {devices}")
        if wanted != devices and not known.pipeline:
            raise args.refuse(
                "tensor_parallel",
                wanted,
                f"{devices}, all that the replica has",
                f"{engine.title} spreads no layers over the rest, which would lie idle",
            )
        return int(wanted)

    degree = combine(tensor, build, count, wanted)
    pipeline = combine(
        lambda known, count, degree: (int(count) * known.cores_per_accelerator) // max(1, int(degree)),
        build,
        count,
        degree,
    )
    return degree, pipeline


def _flags(args: Arguments, engine: Engine, build: pulumi.Input[Build]) -> pulumi.Input[list[str]]:
    """The args of the settings that are given."""
    flags: list[Any] = []
    for name in ("dtype", "quantisation", "kv_cache_dtype", "memory_fraction", "prefix_caching"):
        if not _honours(args, engine, build, name) or name not in args:
            continue
        setting = engine.settings[name]
        if setting.switch:
            flags.append(
                combine(
                    lambda on, setting=setting: [*(setting.on if on else setting.off)],
                    args.read(name, checks.boolean),
                )
            )
            continue
        check: Any = checks.choice(*setting.allowed) if setting.allowed else checks.number(0, 1)
        flags.append(
            combine(
                lambda value, setting=setting: [word.format(value=value) for word in setting.args],
                args.read(name, check),
            )
        )
    return combine(lambda groups: [word for group in groups for word in group], flags)


def _environment(
    engine: Engine, build: pulumi.Input[Build], filled: Mapping[str, Any]
) -> pulumi.Input[Mapping[str, pulumi.Input[str]]]:
    def fill(text: str) -> pulumi.Input[str]:
        # Only what the text names, so that a preview knows every variable that can be known.
        names = sorted({name for _, name, _, _ in Formatter().parse(text) if name})
        return combine(
            lambda *known: text.format(**dict(zip(names, known, strict=True))),
            *(filled[name] for name in names),
        )

    def whole(known: Build) -> dict[str, Any]:
        return {key: fill(text) for key, text in {**engine.environment, **known.environment}.items()}

    return combine(whole, build)


def _size(
    args: Arguments, engine: Engine, build: pulumi.Input[Build], name: str, default: str
) -> pulumi.Input[str] | None:
    if not _honours(args, engine, build, name):
        return None
    return args.read(name, checks.quantity, default)


def _shared_memory(args: Arguments, engine: Engine, build: pulumi.Input[Build]) -> pulumi.Input[str] | None:
    size = _size(args, engine, build, "shared_memory", engine.needs.shared_memory)
    if size is None:
        return None
    resources = args.group("resources", declared.ResourcesArgs)

    def fits(size: str, limit: str) -> str:
        if checks.amount(size) >= checks.amount(limit):
            raise args.refuse(
                "shared_memory",
                size,
                f"less than resources.memory_limit, which is {limit}",
                "it counts as the container's memory",
            )
        return size

    return combine(fits, size, resources.read("memory_limit", checks.quantity))
