"""`berth drift`: what the clusters of a stack have that its program did not ask."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from berth.cli.console import Console
from berth.cli.errors import UserError
from berth.cli.preparing import Need, prepare
from berth.cli.reports import Teller, context_option, json_option, stack_argument

OURS = Path(__file__).with_name("expected.yaml")


@click.command()
@stack_argument
@click.option(
    "--expected",
    "more",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML list of what your own controllers write; docs/drift.md.",
)
@context_option
@json_option
def drift(stack: str, *, more: Path | None, context: str | None, as_json: bool) -> None:
    """Show what the clusters of STACK have that its program did not ask.

    By field and by who wrote it. Changes nothing. Exit codes: 0 no drift, 1
    drift or not everything could be compared, 2 wrong input.
    """
    from berth import deployer

    expected = (
        *deployer.load_expected(),
        *deployer.load_expected(OURS),
        *(deployer.load_expected(more) if more else ()),
    )
    console = Console()
    prepared = prepare(stack, console, need=Need.LOOK, context=context)
    if prepared.request.offline:
        raise UserError(
            f"stack '{stack}': its cluster does not run, so nothing was compared. "
            "Start it: ./berth cluster start",
            exit_code=1,
        )
    told = None if as_json else Teller(console)
    report = asyncio.run(deployer.drift(prepared.request, expected=expected, on_event=told))
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2))
    else:
        click.echo(deployer.render_drift(report), nl=False)
    if not report.ok:
        raise click.exceptions.Exit(1)
