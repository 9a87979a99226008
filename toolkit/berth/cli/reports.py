"""Options that commands on stacks share, and how their reports are printed."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from berth.cli.console import Console
    from berth.deployer import Event, Report

# A resource that is not ready at once is no news; one that is not after this long is.
WAIT_SECONDS = 5.0

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


class Teller:
    """Prints what an engine does; a wait that goes on is repeated every few seconds only."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._waits: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Print one event, if it is news."""
        if event.kind == "waiting":
            now = time.monotonic()
            if now - self._waits.setdefault(event.urn, now) < WAIT_SECONDS:
                return
            self._waits[event.urn] = now
        if event.kind == "finished" and event.op != "same":
            self._console.line("stack", f"{event.op} {event.object}".strip())
        elif event.kind in {"phase", "message", "retry", "failed", "waiting"}:
            self._console.line("stack", event.message)
