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

    from berth.operations.load import LoadReport, LoadSettings, Progress, Recording, ScalingTarget

SAY_EVERY_SECONDS = 5.0
# As in berth.operations.load.profiles, which `--help` does not import.
PROFILES = ("steady", "burst", "diurnal", "overload", "long-context", "stalling")


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
@click.option(
    "--model", metavar="SITE/MODEL", help="Which endpoint; needed where the stack has several and no router."
)
@click.option(
    "--profile",
    type=click.Choice(PROFILES),
    help="How the load goes.  [default: overload; with a --rate of your own: steady]",
)
@click.option(
    "--rate",
    type=_Rate(),
    default="auto",
    show_default=True,
    help="The profile's base rate, requests per second; 'auto' measures the capacity first.",
)
@click.option(
    "--overload",
    type=float,
    help="With --rate auto: times the measured capacity.  [default: the profile's; overload: 2]",
)
@click.option("--duration", "duration_seconds", default=60.0, show_default=True, help="Seconds of arrivals.")
@click.option(
    "--stall",
    "stall_seconds",
    default=10.0,
    show_default=True,
    help="Profile stalling: for how many seconds a quarter of the clients reads nothing.",
)
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
@click.option("--endpoint", metavar="URL", help="Ask here instead, such as an HTTPS front before the stack.")
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificates of the authority of an HTTPS endpoint.",
)
@click.option(
    "--server-name", default="", metavar="NAME", help="What its certificate says, if not the address."
)
@click.option(
    "--remote-write",
    metavar="URL",
    help="A Prometheus that takes the results too, by remote write.  [default: the stack's own]",
)
@click.option("--context", metavar="NAME", help="A context of your kubeconfig, as for `up`.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
def load(
    *, stack: str, model: str | None, prompts: Path | None, key_file: Path | None, context: str | None,
    remote_write: str | None, endpoint: str | None, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Put load on STACK; say how fast it answered and how it scaled.

    Requests begin when the arrival process says so, however slow the answers
    are. Exit code 1 where any admitted request failed; 429 is the server's
    right answer to overload and is counted apart, and so are clients that
    stall on purpose. Profiles are described in docs/operations.md. Of a stack
    with several sites behind one router, the router is asked, and the report
    says which site answered how much.
    """
    from berth import deployer
    from berth.operations.load import LoadSettings, read_prompts, render

    console = Console()
    prepared = prepare(stack, console, context=context, yes=False, gpus=None, need=Need.EXISTING)
    outputs = asyncio.run(deployer.outputs(prepared.request))
    key = api_key(prepared.key, key_file, stack)
    chosen = chosen_model(outputs, model or _behind_router(outputs))
    target = scaling_target(chosen, prepared.request.config)
    options["profile"] = options["profile"] or ("overload" if options["rate"] is None else "steady")
    settings = LoadSettings(
        endpoint=endpoint or chosen["endpoint"],
        key=key,
        target=target,
        prompts=read_prompts(prompts) if prompts else (),
        recording=_recording(remote_write, outputs, chosen, target, console),
        **options,
    )
    report = asyncio.run(_run(settings, console))
    click.echo(json.dumps(report.to_json(), indent=2) if as_json else render(report), nl=as_json)
    if report.tally.failed - report.tally.by_status["429"]:
        raise click.exceptions.Exit(1)


def api_key(made: str | None, key_file: Path | None, stack: str) -> str:
    """The key for a stack's endpoint: of a file, of $BERTH_API_KEY, or the one that was made for it."""
    if key_file is not None:
        return key_file.read_text().strip()
    key = os.environ.get("BERTH_API_KEY") or made
    if key is None:
        raise UserError(f"the stack '{stack}' wants an API key: give --key-file FILE or set BERTH_API_KEY")
    return key


def chosen_model(outputs: Mapping[str, Any], model: str | None) -> Mapping[str, Any]:
    """What a stack's outputs say of one of its models."""
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


def _behind_router(outputs: Mapping[str, Any]) -> str | None:
    """The model at the site of the only router in front of several sites, through which clients ask it."""
    routers = outputs.get("routers")
    found = [one for one in (routers.values() if isinstance(routers, dict) else ()) if one.get("sites")]
    return f"{found[0]['site']}/{found[0]['model']}" if len(found) == 1 else None


def scaling_target(model: Mapping[str, Any], config: Mapping[str, str]) -> ScalingTarget:
    """Where a model's replicas and autoscaler are."""
    from berth.operations.load import ScalingTarget

    connections = json.loads(config.get("berth:connections", "{}"))
    connection = connections.get(model["site"]) or json.loads(config["berth:sites"])[model["site"]].get(
        "cluster", {}
    )
    return ScalingTarget(
        kubeconfig=connection["kubeconfig"],
        context=connection.get("context") or "",
        namespace=model["namespace"],
        deployment=model["deployment"],
        autoscaler=model["autoscaler"],
        selector=model["selector"],
    )


def _recording(
    remote_write: str | None,
    outputs: Mapping[str, Any],
    model: Mapping[str, Any],
    target: ScalingTarget,
    console: Console,
) -> Recording | None:
    """Where the results go: what was named, else the Prometheus of the model's site."""
    from berth.operations.load import Recording
    from berth.operations.watching import prometheus_of

    labels = {"site": str(model["site"]), "namespace": target.namespace, "model": str(model["deployment"])}
    if remote_write:
        return Recording(url=remote_write, labels=labels)
    at = prometheus_of(outputs, str(model["site"]))
    if at is None:
        console.line("recording", "the stack has no Prometheus, so results go to this report only")
        return None
    if at.url:
        return Recording(url=at.url, labels=labels)
    return Recording(url=at.proxy_path, kubeconfig=target.kubeconfig, context=target.context, labels=labels)


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
