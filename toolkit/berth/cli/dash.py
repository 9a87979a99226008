"""`berth dash`: a stack's dashboards on a local page, or a check of which panels have data."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from berth.cli.console import Console
from berth.cli.errors import UserError
from berth.cli.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from berth.operations.dash import Board, Finding

LOCK = ROOT / "locks" / "tools" / "dash.txt"
CHECKED_SECONDS = 3600.0


@click.command()
@click.argument("stack", required=False)
@click.option("--prometheus", "url", metavar="URL", help="A Prometheus to ask instead of the stack's.")
@click.option("--site", help="Which site's Prometheus; needed where the stack has several.")
@click.option(
    "--port",
    default=3400,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Of the page; 0 takes a free one.",
)
@click.option(
    "--context",
    "contexts",
    multiple=True,
    metavar="[SITE=]NAME",
    help="Ask by this context of your kubeconfig; once per site.",
)
@click.option("--check", is_flag=True, help="Ask every panel's queries instead, and say which have data.")
@click.option("--json", "as_json", is_flag=True, help="With --check: the findings as JSON.")
def dash(
    stack: str | None,
    *,
    url: str | None,
    site: str | None,
    port: int,
    contexts: tuple[str, ...],
    check: bool,
    as_json: bool,
) -> None:
    """Show a STACK's dashboards on a page of this machine, without Grafana.

    Only this machine can open the page, and it asks Prometheus for nothing
    but the dashboards' own panels. --check exits 1 where a panel has no data
    whose source is deployed.
    """
    from berth.cli.dashboards import board_of

    if as_json and not check:
        raise UserError("--json goes with --check")
    if stack is None and url is None:
        raise UserError("name a stack, such as `berth dash local`, or a Prometheus: --prometheus URL")
    console = Console(quiet=as_json)
    with board_of(stack, url, site, contexts) as board:
        if check:
            _check(board, as_json=as_json)
        else:
            _show(board, port, console)


def _show(board: Board, port: int, console: Console) -> None:
    from berth.operations.dash import serve

    with serve(board, _script(console), port, ROOT / "docs" / "runbooks") as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        console.line("dash", f"asks {board.prometheus.url}")
        click.echo(f"Dashboards: {address}  (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.line("dash", "ended")


def _script(console: Console) -> Path:
    """The charting library: from PyPI into the cache, once."""
    from berth.cli.console import ClusterProgress
    from berth.localcluster import tool_venv

    venv = tool_venv("dash", LOCK, expected_seconds=10, progress=ClusterProgress(console, "dash"))
    [script] = venv.glob("lib/python*/site-packages/plotly/package_data/plotly.min.js")
    return script


def _check(board: Board, *, as_json: bool) -> None:
    from berth.operations.dash import Window, examine

    now = time.time()
    findings = examine(board, Window(now - CHECKED_SECONDS, now))
    if as_json:
        rows = [
            {"page": one.page, "panel": one.panel, "state": one.state.value, "reason": one.reason}
            for one in findings
        ]
        click.echo(json.dumps({"source": board.prometheus.url, "panels": rows}, indent=2))
    else:
        click.echo(_table(board, findings))
    if any(one.is_wrong for one in findings):
        raise click.exceptions.Exit(1)


def _table(board: Board, findings: list[Finding]) -> str:
    from berth.operations.dash import State

    lines = [f"{'dashboard':<14}{'data':>6}{'empty':>7}{'waits':>7}{'no source':>11}{'error':>7}"]
    for page in board.pages:
        own = [one.state for one in findings if one.page == page.name]
        count = {state: own.count(state) for state in State}
        lines.append(
            f"{page.name:<14}{count[State.DATA]:>6}{count[State.EMPTY]:>7}{count[State.WAITS]:>7}"
            f"{count[State.NO_SOURCE]:>11}{count[State.ERROR]:>7}"
        )
    for state, words in (
        (State.ERROR, "cannot be asked"),
        (State.EMPTY, "have no data, though their source is deployed"),
        (State.WAITS, "wait for something that is not there"),
        (State.NO_SOURCE, "need a source that is not deployed"),
    ):
        found = [one for one in findings if one.state == state]
        if found:
            lines += ["", f"{len(found)} panels {words}:"]
            lines += [f"  {one.page}: {one.panel}\n    {one.reason}" for one in found]
        if found and state == State.EMPTY:
            lines.append("  An idle stack has no latencies: put load on it (./berth load STACK), look again.")
    return "\n".join(lines)
