"""`berth calibrate`: measure what a replica does, for the planner."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from berth.cli.console import Console
from berth.cli.errors import UserError
from berth.cli.reports import json_option
from berth.cli.stackfile import STACKS

if TYPE_CHECKING:
    from berth_catalogue.planning import Range
    from berth_planner.asked import Asked
    from berth_planner.measurements import Measurement

    from berth.operations.calibrate import Calibrated, CalibrationProgress, CalibrationSettings, Replicas
    from berth.operations.load import ScalingTarget

_ENDPOINT_LEVELS = (1, 2, 4, 8, 16)


class _Levels(click.ParamType[tuple[int, ...]]):
    name = "levels"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        try:
            return tuple(int(one) for one in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of whole numbers such as 1,2,4", param, ctx)


@dataclass(frozen=True)
class _Told:
    """What an endpoint does not say of itself.

    Attributes:
        model: key in the catalogue.
        quantisation: of its weights.
        engine: its name in the catalogue.
        version: of the engine, as far as it is known.
        accelerator: key in the catalogue, or cpu.
        count: accelerators, or cores, of a replica.
        machine: in words.
        name: of the file.
    """

    model: str
    quantisation: str
    engine: str
    version: str
    accelerator: str
    count: float
    machine: str
    name: str


@click.command()
@click.argument("target", metavar="STACK|URL")
@click.option("--model", metavar="SITE/MODEL", help="Which of the stack's; with a URL its catalogue key.")
@click.option("--levels", type=_Levels(), help="Requests at once per replica.  [default: to the slots]")
@click.option("--repeats", default=3, show_default=True, help="How often each level is measured.")
@click.option("--seconds", default=10.0, show_default=True, help="How long each time, at least.")
@click.option("--input-tokens", type=int, help="Of a prompt.  [default: the stack's load, else as they are]")
@click.option("--output-tokens", type=int, help="Of an answer.  [default: the stack's load, else 48]")
@click.option(
    "--prompts", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A file of prompts."
)
@click.option("--key-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The API key.")
@click.option("--context", metavar="NAME", help="A context of your kubeconfig, as for `up`.")
@click.option("--engine", help="With a URL: its name in the catalogue.")
@click.option("--engine-version", default="", help="With a URL: the engine's version.")
@click.option("--accelerator", help="With a URL: key in the catalogue, or cpu.")
@click.option("--count", default=1.0, show_default=True, help="With a URL: accelerators, or cores.")
@click.option("--quantisation", help="With a URL: of the weights.  [default: the model's]")
@click.option("--machine", help="With a URL: what it runs on, in words.")
@click.option("--out", type=click.Path(path_type=Path), help="The file.  [default: in stacks/measurements]")
@json_option
def calibrate(*, target: str, out: Path | None, as_json: bool, **options: Any) -> None:
    """Measure how fast a replica of a live endpoint is, for the planner.

    Loads it with more and more requests at once, each level several times,
    and writes throughput and time to first token with their range, what the
    engine holds and how long it loaded where that can be read. `plan` and the
    gate predict replicas and service level from such files. Interrupted, it
    writes nothing. Nothing else should use the endpoint meanwhile.
    """
    console = Console()
    made, file = (_endpoint if "://" in target else _stack)(target, options, console)
    path = out or STACKS / _folder() / file
    _write(path, made)
    if as_json:
        click.echo(json.dumps({"file": str(path), **made.to_data()}, indent=2))
    else:
        click.echo(_page(made, path))


def _folder() -> str:
    from berth_planner.measurements import FOLDER

    return FOLDER


def _stack(name: str, options: dict[str, Any], console: Console) -> tuple[Measurement, str]:
    """A stack's own endpoint: it says what runs there, and its cluster what that holds."""
    from berth_stacks.load import read
    from berth_stacks.planned import asked

    from berth import deployer
    from berth.cli.load import api_key, chosen_model, scaling_target
    from berth.cli.preparing import Need, prepare

    if given := [key for key in ("engine", "accelerator", "quantisation", "machine") if options[key]]:
        raise UserError(f"--{given[0]}: only with a URL; a stack says it itself")
    prepared = prepare(name, console, context=options["context"], yes=False, gpus=None, need=Need.EXISTING)
    outputs = asyncio.run(deployer.outputs(prepared.request))
    chosen = chosen_model(outputs, options["model"])
    settings = read(STACKS, name, prepared.request.config, prepared.request.secret_keys).settings
    subject = next(key for key, one in outputs["models"].items() if one is chosen or one == chosen)
    about = next(one for one in asked(settings) if one.subject == subject)
    scaling = scaling_target(chosen, prepared.request.config)
    load = about.load
    measured = _settings(
        {
            **options,
            "levels": options["levels"] or _to_slots(about.slots),
            "input_tokens": options["input_tokens"] or (load.input_tokens if load else None),
            "output_tokens": options["output_tokens"] or (load.output_tokens if load else None),
        },
        str(chosen["endpoint"]),
        api_key(prepared.key, options["key_file"], name),
    )
    busy = _busy(console) if settings.environment == "local" else ""
    found, replicas = asyncio.run(_measured_with_pods(measured, scaling, console))
    machine = replicas.machine + (_this_cpu() if settings.environment == "local" else "")
    told = _Told(
        model=about.name,
        quantisation=about.quantised_as,
        engine=about.engine,
        version=about.version,
        accelerator=about.accelerator or "cpu",
        count=_count(about),
        machine=machine or "unknown",
        name=f"{name}-{subject.replace('/', '-')}.yaml",
    )
    how = f"./berth calibrate {name}, {measured.repeats} times {measured.seconds:g} s at each level{busy}"
    return _made(told, found, replicas, how), told.name


def _count(about: Asked) -> float:
    return about.accelerators if about.accelerator else about.cpus


def _to_slots(slots: int) -> tuple[int, ...]:
    powers = [2**power for power in range(slots.bit_length()) if 2**power < slots]
    return (*powers, slots)


def _endpoint(url: str, options: dict[str, Any], console: Console) -> tuple[Measurement, str]:
    """Any endpoint that speaks chat completions: who asks says what runs there."""
    from berth_catalogue.accelerators import accelerator
    from berth_catalogue.engines import engine
    from berth_catalogue.models import model

    for key in ("model", "engine", "accelerator", "machine"):
        if not options[key]:
            raise UserError(f"--{key} is missing: an endpoint does not say what it runs on")
    known = model(options["model"])
    engine(options["engine"])
    if options["accelerator"] != "cpu":
        accelerator(options["accelerator"])
    told = _Told(
        model=known.key,
        quantisation=options["quantisation"] or known.quantisation,
        engine=options["engine"],
        version=options["engine_version"],
        accelerator=options["accelerator"],
        count=options["count"],
        machine=options["machine"],
        name=f"{known.key}-{options['engine']}-{options['accelerator']}.yaml",
    )
    key_file: Path | None = options["key_file"]
    api_key = key_file.read_text().strip() if key_file else None
    settings = _settings({**options, "levels": options["levels"] or _ENDPOINT_LEVELS}, url, api_key)
    found = asyncio.run(_measured(settings, console))
    how = f"./berth calibrate {url}, {settings.repeats} times {settings.seconds:g} s at each level"
    return _made(told, found, None, how), told.name


def _settings(options: dict[str, Any], endpoint: str, key: str | None) -> CalibrationSettings:
    from berth.operations.calibrate import CalibrationSettings
    from berth.operations.load import read_prompts

    tokens = {"output_tokens": options["output_tokens"]} if options["output_tokens"] is not None else {}
    return CalibrationSettings(
        endpoint=endpoint,
        key=key,
        levels=options["levels"],
        repeats=options["repeats"],
        seconds=options["seconds"],
        input_tokens=options["input_tokens"],
        prompts=read_prompts(options["prompts"]) if options["prompts"] else (),
        **tokens,
    )


async def _measured_with_pods(
    settings: CalibrationSettings, target: ScalingTarget, console: Console
) -> tuple[Calibrated, Replicas]:
    """The figures of one replica, where as many are there at the end as at the beginning."""
    from berth.operations.calibrate import replicas_of

    before = await replicas_of(target)
    if not before.pods:
        raise UserError(f"no replica of {target.namespace}/{target.deployment} is Ready: ./berth up it first")
    console.line("replicas", f"{len(before.pods)} on {before.machine or 'unknown machines'}")
    found = await _measured(replace(settings, replicas=len(before.pods)), console)
    after = await replicas_of(target)
    if after.pods != before.pods:
        raise UserError(
            f"the replicas changed meanwhile, from {', '.join(before.pods)} to {', '.join(after.pods)}; "
            "nothing was written. Try again once it is quiet, or with lower --levels",
            exit_code=1,
        )
    return found, after


async def _measured(settings: CalibrationSettings, console: Console) -> Calibrated:
    from berth.operations.calibrate import calibrate

    def tell(progress: CalibrationProgress) -> None:
        last = f", {progress.tokens_per_second:.1f} tokens/s" if progress.tokens_per_second else ""
        console.line("measuring", f"{progress.level} at once, {progress.repeat} of {progress.repeats}{last}")

    return await calibrate(settings, tell)


def _made(told: _Told, found: Calibrated, replicas: Replicas | None, how: str) -> Measurement:
    from berth_catalogue.planning import Range
    from berth_planner.measurements import Measurement, Point

    from berth.cli.plan_asking import today

    if not found.input_tokens:
        raise UserError(
            "the endpoint does not say how many tokens a prompt has (usage of the last event): the planner "
            "could not tell which load this is for",
            exit_code=1,
        )
    memory = replicas.memory_gib if replicas else None
    return Measurement(
        model=told.model,
        quantisation=told.quantisation,
        engine=told.engine,
        version=told.version,
        accelerator=told.accelerator,
        count=told.count,
        machine=told.machine,
        input_tokens=found.input_tokens,
        output_tokens=found.output_tokens,
        points=tuple(
            Point(
                concurrency=one.concurrency,
                repeats=one.repeats,
                requests_per_second=Range(*one.requests_per_second),
                tokens_per_second=Range(*one.tokens_per_second),
                first_token_p50=Range(*one.first_token_p50),
                first_token_p95=Range(*one.first_token_p95),
            )
            for one in found.levels
        ),
        memory_gib=round(memory, 3) if memory else None,
        load_seconds=replicas.load_seconds if replicas else None,
        day=today(),
        source=how,
    )


def _write(path: Path, made: Measurement) -> None:
    """Whole or not at all."""
    import yaml

    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    text = yaml.safe_dump(made.to_data(), sort_keys=False, width=116, allow_unicode=True)
    beside.write_text(f"# Written by ./berth calibrate; docs/planner.md says what it means.\n{text}")
    beside.replace(path)


def _page(made: Measurement, path: Path) -> str:
    lines = [
        f"{made.model} on {made.engine}, {made.count:g} x {made.accelerator}: {made.machine}",
        f"{made.input_tokens:.0f} tokens in, {made.output_tokens:.0f} out",
        "",
        f"{'at once':>7} {'requests/s':>21} {'tokens/s':>25} {'first token, 95 %':>21}",
    ]
    for one in made.points:
        cells = [
            _span(value) for value in (one.requests_per_second, one.tokens_per_second, one.first_token_p95)
        ]
        lines.append(f"{one.concurrency:>7} {cells[0]:>21} {cells[1]:>25} {cells[2]:>21} s")
    memory = f"{made.memory_gib:.2f} GiB" if made.memory_gib else "unknown"
    loaded = f"{made.load_seconds:g} s" if made.load_seconds else "unknown"
    return "\n".join([*lines, "", f"memory: {memory}; load time: {loaded}", f"written: {path}"])


def _span(value: Range) -> str:
    """Three digits say enough, whatever the size."""
    digits = 0 if value.expected >= 100 else 1 if value.expected >= 10 else 2  # noqa: PLR2004 - as it says
    return f"{value.expected:.{digits}f} ({value.low:.{digits}f} to {value.high:.{digits}f})"


def _busy(console: Console) -> str:
    """How busy this machine was before, where the replica is on it: figures of a busy one are low."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores:
        console.line("machine", f"is busy already, {load:.1f} on {cores} cores: so will the figures be")
    return f"; the machine's load was {load:.1f} before"


def _this_cpu() -> str:
    """The processor's name, where the replica is on this machine."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    named = (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
    name = next(named, "")
    return f" of {name}" if name else ""
