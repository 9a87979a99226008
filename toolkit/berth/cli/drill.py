"""`berth drill`: break a site of a stack for real, under load, and see what clients notice."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from berth.cli.console import Console
from berth.cli.engines import PULUMI, engine_of, engine_option
from berth.cli.errors import UserError
from berth.cli.load import api_key
from berth.cli.mending import Breakage, drilling_alone, mend
from berth.cli.preparing import Need, prepare
from berth.cli.reports import json_option, stack_argument
from berth.cli.stackfile import find_stack

if TYPE_CHECKING:
    from berth.cli.levers import RecordedLever
    from berth.cli.stackfile import Stack
    from berth.operations.drill import Drilled, DrillSettings, Ground

# As in berth.operations.drill.faults, which `--help` does not import.
FAULTS = ("lose-site", "lose-pool", "lose-metrics", "slow-site")
_BY_API = {"lose-metrics"}


@click.command()
@stack_argument
@click.argument("fault", metavar="[FAULT]", required=False, type=click.Choice(FAULTS))
@click.option("--site", metavar="NAME", help="Whom it befalls.  [default: the preferred site]")
@click.option("--router", metavar="NAME", help="Which router; needed where several have sites.")
@click.option(
    "--seconds",
    default=30.0,
    show_default=True,
    type=click.FloatRange(1, 3600),
    help="How long the fault lasts.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 10_000),
    help="Requests per second of the overload.  [default: 1.5 times what the preferred site can do]",
)
@click.option("--seed", default=0, show_default=True, help="The same seed sends the same load.")
@click.option("--restore", is_flag=True, help="Only mend what a drill that was killed left broken.")
@click.option(
    "--out",
    "folder",
    metavar="DIR",
    default=Path("drills"),
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the dated record goes: .json, .svg and .md.",
)
@click.option("--yes", is_flag=True, help="Of a stack that is not local: yes, break it.")
@click.option("--key-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The API key.")
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificates of the authority of an HTTPS entrance.",
)
@click.option(
    "--server-name", default="", metavar="NAME", help="What its certificate says, if not the address."
)
@click.option(
    "--context",
    "contexts",
    multiple=True,
    metavar="[SITE=]NAME",
    help="Reach a site by this context of your kubeconfig; once per site.",
)
@engine_option
@json_option
def drill(
    stack: str, *, fault: str | None, site: str | None, router: str | None, seconds: float,
    rate: float | None, seed: int, restore: bool, folder: Path, yes: bool, key_file: Path | None,
    ca: Path | None, server_name: str, contexts: tuple[str, ...], engine: str, as_json: bool,
) -> None:  # fmt: skip
    """Break a site of STACK for real, under load, and see what clients notice.

    FAULT is one of these. lose-site: its nodes lose their network and are
    frozen. lose-pool: the nodes of its pool are drained and removed.
    lose-metrics: its reporter is scaled to 0. slow-site: its engines get a
    tenth of their processor time.

    The load is steady, then too much for the preferred site; then comes the
    fault, and what was broken is always mended, also after Ctrl-C; after a
    kill by the next drill, `up`, or --restore (docs/drills.md).

    Exit code: 0 everything passed, 1 something failed, 3 something is
    unknown and nothing failed, 2 wrong input.
    """
    console = Console()
    found = find_stack(stack)
    if restore:
        mended = mend(stack, console)
        click.echo("what was broken is whole again" if mended else "nothing is broken by a drill")
        return
    if fault is None:
        raise UserError(f"name a fault: {', '.join(FAULTS)}; or --restore")
    _allow(found, fault, yes=yes)
    mend(stack, console)
    from berth.cli.drilling import Asked

    prepared = prepare(
        stack, console, need=Need.EXISTING, by_pulumi=engine == PULUMI,
        context=contexts[0].rpartition("=")[2] if contexts and not found.is_local else None,
    )  # fmt: skip
    outputs = asyncio.run(engine_of(engine, stack).outputs(prepared.request))
    asked = Asked(router, api_key(prepared.key, key_file, stack), ca, server_name, contexts)
    with drilling_alone(stack):
        drilled = _drilled(found, outputs, asked, {"fault": fault, "site": site, "seconds": seconds,
                                                   "rate": rate, "seed": seed}, console)  # fmt: skip
    files = _write(drilled, folder)
    _print(drilled, files, as_json=as_json)
    raise click.exceptions.Exit(drilled.exit_code)


def _allow(stack: Stack, fault: str, *, yes: bool) -> None:
    """Refuse what cannot be done to a stack, or what nobody agreed to."""
    if stack.is_local:
        return
    if fault not in _BY_API:
        raise UserError(
            f"{fault} of '{stack.name}': nodes are broken for real, and undone, only where Berth made them: "
            "on a local stack, such as local-hybrid. On other clusters only what goes through the Kubernetes "
            f"API can be done: {', '.join(sorted(_BY_API))}; for the rest use the cloud's own fault injection"
        )
    if not yes:
        raise UserError(
            f"{fault} of '{stack.name}' breaks something that others may use, and loads it: add --yes. "
            "Nothing was changed"
        )


def _drilled(stack: Stack, outputs: Any, asked: Any, given: dict[str, Any], console: Console) -> Drilled:
    from berth.cli.drilling import ground_of, require_router_elsewhere
    from berth.cli.levers import lever
    from berth.operations.drill import FAULTS as KINDS
    from berth.operations.drill import DrillSettings

    ground, places = ground_of(stack, outputs, asked)
    site = given["site"] or ground.preferred.name
    if site not in places:
        raise UserError(f"--site {site}: the router {ground.router} has the sites {', '.join(places)}")
    settings = DrillSettings(**{**given, "site": site}, say=_teller(console))
    if KINDS[settings.fault].moves:
        require_router_elsewhere(ground, places[site])
    pulled = lever(settings.fault, places[site], Breakage(stack.name, settings.fault, site))
    return asyncio.run(_stoppable(ground, settings, pulled))


def _teller(console: Console) -> Any:
    def say(phase: str, text: str) -> None:
        console.line(phase, text)

    return say


async def _stoppable(ground: Ground, settings: DrillSettings, pulled: RecordedLever) -> Drilled:
    """SIGTERM ends a drill as Ctrl-C does: what was broken is mended first."""
    from berth.operations.drill import drill as run

    task = asyncio.ensure_future(run(ground, settings, pulled))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        raise KeyboardInterrupt from None


def _write(drilled: Drilled, folder: Path) -> list[Path]:
    from berth.operations.drill import markdown, picture

    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "json": json.dumps(drilled.to_json(), indent=2) + "\n",
        "svg": picture(drilled),
        "md": markdown(drilled, f"{drilled.name}.svg"),
    }
    files = [folder / f"{drilled.name}.{ending}" for ending in texts]
    for file, text in zip(files, texts.values(), strict=True):
        file.write_text(text)
    return files


def _print(drilled: Drilled, files: list[Path], *, as_json: bool) -> None:
    from berth.operations.drill import page

    if as_json:
        click.echo(json.dumps({**drilled.to_json(), "files": [str(file) for file in files]}, indent=2))
        return
    click.echo(page(drilled))
    click.echo(f"Record: {files[0].with_suffix('')}.{{json,svg,md}}")
