"""Options that commands on stacks share, and how their reports are printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from berth.deployer import Report

stack_argument = click.argument("stack")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
diff_option = click.option("--diff", is_flag=True, help="Show what changes in each object.")
layout_option = click.option(
    "--layout", type=click.Choice(["tree", "flat"]), default="tree", help="How resources are shown."
)
context_option = click.option(
    "--context", metavar="NAME", help="Use this kubeconfig context instead of making a local cluster."
)


def finish(
    report: Report, *, as_json: bool, diff: bool, layout: str = "tree", extra: dict[str, Any] | None = None
) -> None:
    """Print a report, and end with exit code 1 where it is not ok, 130 where it was cancelled."""
    from berth.deployer import render

    if as_json:
        click.echo(json.dumps({**report.to_json(), **(extra or {})}, indent=2))
    else:
        click.echo(render(report, diff=diff, layout="flat" if layout == "flat" else "tree"))
    if not report.ok:
        raise click.exceptions.Exit(130 if report.cancelled else 1)
