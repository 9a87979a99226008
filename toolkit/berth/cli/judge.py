"""`berth judge`: other people's judges over what the stacks would make."""

from __future__ import annotations

import asyncio
import json
import textwrap
from typing import TYPE_CHECKING, Any

import click

from berth.cli.console import ClusterProgress, Console
from berth.cli.errors import UserError
from berth.cli.paths import ROOT
from berth.cli.previews import plan_offline
from berth.cli.stackfile import stack_names

if TYPE_CHECKING:
    from berth.judges import Manifest, Verdict

DATA = ROOT / "policy" / "judges"
LOCKS = ROOT / "locks" / "tools"


@click.command()
@click.argument("stacks", nargs=-1, metavar="[STACK]...")
@click.option(
    "--connections", is_flag=True, help="Of one STACK: print who may connect to whom, to be read and kept."
)
@click.option("--matrix", is_flag=True, help="Also how good our own rules are: mutants, fixtures, tests.")
@click.option("--json", "as_json", is_flag=True, help="Every finding and exception, for programs.")
def judge(stacks: tuple[str, ...], *, connections: bool, matrix: bool, as_json: bool) -> None:
    """Judge what STACKs (all of them by default) would make, by others' tools.

    The reference Pod Security evaluator, strict schemas of three Kubernetes
    versions, checkov, and cyclonus for who may connect to whom. No cluster and
    no account is needed; the first run installs them into the cache.

    Exceptions, with their reasons, and the connections that each stack is
    expected to allow are in policy/judges. Exit codes: 0 nothing is left, 1
    something is, or an exception matches nothing any more.
    """
    names = stack_names()
    for stack in stacks:
        if stack not in names:
            raise UserError(f"there is no stack '{stack}'; there are: {', '.join(names)}")
    wanted = list(dict.fromkeys(stacks)) or names
    if connections and (len(wanted) != 1 or as_json or matrix):
        raise UserError("--connections goes with one STACK, and without --json and --matrix")
    console = Console()
    reports = asyncio.run(plan_offline(wanted, console))
    if failed := [report.stack for report in reports if not report.ok]:
        raise UserError(
            f"cannot judge what cannot be planned: {', '.join(failed)}; see `./berth preview {failed[0]}`"
        )
    from berth.judges import manifests_of

    manifests = [manifest for report in reports for manifest in manifests_of(report.to_json())]
    if connections:
        _print_connections(manifests, console)
        return
    verdicts = _verdicts(manifests, console)
    measured = None
    if matrix:
        from berth.cli.matrix import measure, show
        from berth.judges import judge_program

        measured = measure(reports, judge_program(), console, every=set(wanted) == set(names))
    ok = all(verdict.ok for verdict in verdicts) and (measured is None or measured.ok)
    if as_json:
        found: dict[str, Any] = {
            "version": 1,
            "ok": ok,
            "stacks": wanted,
            "verdicts": [verdict.to_json() for verdict in verdicts],
            **({"matrix": measured.to_json()} if measured else {}),
        }
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print(verdicts, len(wanted), len(manifests))
        if measured is not None:
            show(measured)
    if not ok:
        raise click.exceptions.Exit(1)


def _verdicts(manifests: list[Manifest], console: Console) -> list[Verdict]:
    from berth import judges

    exceptions = judges.read_exceptions(DATA / "exceptions.yaml")
    progress = ClusterProgress(console, "judge")
    program = judges.judge_program(progress)
    with console.step("judge", f"{len(manifests)} objects, by four judges", 15):
        return [
            judges.judge_pods(manifests, exceptions, program),
            judges.judge_by_schemas(manifests, exceptions),
            judges.judge_by_checkov(manifests, exceptions, LOCKS / "checkov.txt", progress),
            judges.judge_connections(manifests, DATA / "connections", program),
        ]


def _print_connections(manifests: list[Manifest], console: Console) -> None:
    """Of each cluster; where there are several, each begins with the name of its file."""
    from berth import judges

    places = judges.by_place(manifests)
    for place, ours in places.items():
        file = DATA / "connections" / f"{place}.yaml"
        # The default range of flannel and of kubeadm's examples, until somebody says another.
        expected = (
            judges.read_expected(file)
            if file.is_file()
            else judges.Expected("10.244.0.0/16", dict(judges.OUTSIDE), frozenset())
        )
        program = judges.judge_program(ClusterProgress(console, "judge"))
        allowed = judges.allowed_connections(ours, expected, program)
        if len(places) > 1:
            click.echo(f"--- # {file.name}")
        click.echo(judges.write_expected(allowed, expected), nl=False)


def _print(verdicts: list[Verdict], stacks: int, objects: int) -> None:
    click.echo(f"{objects} objects of {stacks} {'stack' if stacks == 1 else 'stacks'}")
    for verdict in verdicts:
        waiting = f", {verdict.open} of them open" if verdict.open else ""
        click.echo(
            f"  {verdict.judge:<13} {verdict.version:<8} {len(verdict.findings):>3} left"
            f"  {len(verdict.excepted):>3} excepted{waiting}"
        )
        click.echo(f"  {'':<22} {verdict.judged} {verdict.unit}")
        for note in verdict.notes:
            click.echo(_folded(note, 25))
    for verdict in verdicts:
        for finding in verdict.findings:
            click.echo(f"\n{verdict.judge} {finding.check}  {finding.stack}  {finding.object}")
            click.echo(_folded(finding.message, 4))
        for stale in verdict.stale:
            click.echo(
                f"\nan exception matches nothing: {stale.judge} {stale.check}  {stale.stack}  {stale.object}"
            )
            click.echo(_folded(f"remove it from {DATA / 'exceptions.yaml'}", 4))


def _folded(text: str, indent: int) -> str:
    return textwrap.fill(
        text,
        width=80,
        initial_indent=" " * indent,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
