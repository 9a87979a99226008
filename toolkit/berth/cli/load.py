"""`berth load`: open-loop load on a stack, and what its autoscaler did meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from berth.cli.console import Console
from berth.cli.errors import UserError
from berth.cli.preparing import Need, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from berth.operations.load import LoadReport, LoadSettings, Progress

SAY_EVERY_SECONDS = 5.0


class _Rate(click.ParamType[float | None]):
    name = "rate"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        if value is None or value == "auto":
            return None
        try:
            return float(str(value))
        except ValueError:
            self.fail(f"{value!r} is neither a number of requests per second nor 'auto'", param, ctx)


@click.command()
@click.argument("stack")
@click.option("--model", metavar="SITE/MODEL", help="Which endpoint; needed where the stack has several.")
@click.option(
    "--rate",
    type=_Rate(),
    default="auto",
    show_default=True,
    help="Requests per second, or 'auto': over capacity.",
)
@click.option(
    "--overload", default=2.0, show_default=True, help="With --rate auto: times the measured capacity."
)
@click.option("--duration", "duration_seconds", default=60.0, show_default=True, help="Seconds of arrivals.")
@click.option("--arrivals", type=click.Choice(["poisson", "constant"]), default="poisson", show_default=True)
@click.option(
    "--route",
    type=click.Choice(["/generate_stream", "/generate", "/v1/chat/completions"]),
    default="/generate_stream",
    show_default=True,
)
@click.option("--max-new-tokens", default=48, show_default=True, help="Tokens asked of each request.")
@click.option("--seed", default=0, show_default=True, help="The same seed sends the same load.")
@click.option(
    "--prompts", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A file of prompts."
)
@click.option("--key-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The API key.")
@click.option("--context", metavar="NAME", help="A context of your kubeconfig, as for `up`.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
def load(
    *, stack: str, model: str | None, prompts: Path | None, key_file: Path | None, context: str | None,
    as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Put load on STACK; say how fast it answered and how it scaled.

    Requests begin when the arrival process says so, however slow the answers
    are. Exit code 1 where any admitted request failed; 429 is the server's
    right answer to overload and is counted apart.
    """
    from berth import deployer
    from berth.operations.load import render

    console = Console()
    prepared = prepare(stack, console, context=context, yes=False, gpus=None, need=Need.EXISTING)
    outputs = asyncio.run(deployer.outputs(prepared.request))
    key = _key(prepared.key, key_file, stack)
    settings = _settings(_chosen(outputs, model), prepared.request.config, key, prompts, options)
    report = asyncio.run(_run(settings, console))
    click.echo(json.dumps(report.to_json(), indent=2) if as_json else render(report), nl=as_json)
    if report.tally.failed - report.tally.by_status["429"]:
        raise click.exceptions.Exit(1)


def _key(made: str | None, key_file: Path | None, stack: str) -> str:
    if key_file is not None:
        return key_file.read_text().strip()
    key = os.environ.get("BERTH_API_KEY") or made
    if key is None:
        raise UserError(f"the stack '{stack}' wants an API key: give --key-file FILE or set BERTH_API_KEY")
    return key


def _chosen(outputs: Mapping[str, Any], model: str | None) -> Mapping[str, Any]:
    models = outputs.get("models")
    if not isinstance(models, dict) or not models:
        raise UserError("the stack has no outputs: `berth up` it first")
    if model is None and len(models) == 1:
        model = next(iter(models))
    if model not in models:
        raise UserError(f"--model {model or '(none)'}: the stack serves {', '.join(models)}")
    chosen = models[model]
    if not isinstance(chosen, dict):
        raise UserError(f"the output models.{model} is no map; was this stack deployed by another program?")
    return chosen


def _settings(
    model: Mapping[str, Any],
    config: Mapping[str, str],
    key: str,
    prompts: Path | None,
    options: dict[str, Any],
) -> LoadSettings:
    from berth.operations.load import LoadSettings, ScalingTarget, read_prompts

    connections = json.loads(config.get("berth:connections", "{}"))
    connection = connections.get(model["site"]) or json.loads(config["berth:sites"])[model["site"]].get(
        "cluster", {}
    )
    target = ScalingTarget(
        kubeconfig=connection["kubeconfig"],
        context=connection.get("context") or "",
        namespace=model["namespace"],
        deployment=model["deployment"],
        autoscaler=model["autoscaler"],
        selector=model["selector"],
    )
    return LoadSettings(
        endpoint=model["endpoint"],
        key=key,
        target=target,
        prompts=read_prompts(prompts) if prompts else (),
        **options,
    )


async def _run(settings: LoadSettings, console: Console) -> LoadReport:
    from berth.operations.load import run

    return await run(settings, _teller(console))


def _teller(console: Console) -> Callable[[Progress], None]:
    last: dict[str, float] = {}

    def tell(progress: Progress) -> None:
        if progress.phase in last and progress.seconds - last[progress.phase] < SAY_EVERY_SECONDS:
            return
        last[progress.phase] = progress.seconds
        parts = [
            f"{progress.seconds:.0f} of {progress.of:.0f} s" if progress.of else f"{progress.seconds:.0f} s"
        ]
        if progress.clients:
            parts.append(f"{progress.clients} clients")
        if progress.sent:
            parts.append(f"{progress.sent} sent, {progress.ok} ok, {progress.failed} failed")
        if progress.queue_depth is not None:
            parts.append(f"{progress.queue_depth} waiting")
        if progress.desired is not None:
            parts.append(f"{progress.ready} of {progress.desired} replicas ready")
        console.line(progress.phase, ", ".join(parts))

    return tell
