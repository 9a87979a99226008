"""`berth preview`: what `up` would change, of one stack or of all."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from berth.cli import reviews
from berth.cli.console import Console
from berth.cli.engines import BERTH, PULUMI, engine_of, engine_option
from berth.cli.errors import UserError
from berth.cli.packs import judging, policy_options
from berth.cli.paths import ROOT
from berth.cli.planning import ground_of, plan_all
from berth.cli.preparing import Need, prepare
from berth.cli.reports import Teller, context_option, diff_option, finish, json_option, layout_option
from berth.cli.stackfile import find_stack, stack_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from berth.cli.planning import Ground
    from berth.deployer import Report, RunRequest

PACK = ROOT / "policy"
"""The policy pack of this checkout: reviews ask it unless told otherwise."""


@click.command()
@click.argument("stacks", metavar="[STACK]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every stack that has a file, without asking any cluster.")
@click.option("--offline", is_flag=True, help="Ask no cluster and no cloud: plan as if nothing existed.")
@click.option("--summary", "brief", is_flag=True, help="With --all: only counts, and stacks with errors.")
@click.option("--base", metavar="REV", help="Review the change since a git revision, of STACKs or --all.")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    help="Review against files of `pulumi stack export`: one, or a folder of <stack>.json.",
)
@click.option("--live", is_flag=True, help="Review against the clusters themselves.")
@click.option(
    "--report",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the review there: Markdown, HTML, JSON, SARIF, JUnit.",
)
@click.option(
    "--fail-on", metavar="OPS", default="", help="Of a review: exit 1 at replace, delete or others."
)
@engine_option
@context_option
@layout_option
@diff_option
@policy_options
@json_option
def preview(
    stacks: tuple[str, ...],
    *,
    every: bool,
    offline: bool,
    brief: bool,
    base: str | None,
    against: Path | None,
    live: bool,
    folder: Path | None,
    fail_on: str,
    engine: str,
    context: str | None,
    layout: str,
    diff: bool,
    packs: tuple[Path, ...],
    configs: tuple[Path, ...],
    policy_seconds: float,
    as_json: bool,
) -> None:
    """Show what `up` would change in STACK, and change nothing.

    Resources of AWS and Google Cloud are planned without their providers: no
    account, no credential and no network is needed.

    With --base, --against, --live or --report, this is a review of all the
    STACKs on one page: what changes, why something is replaced, what policies
    say (docs/reviews.md).
    """
    console = Console()
    is_review = base is not None or against is not None or live or folder is not None or bool(fail_on)
    if is_review and not packs and (PACK / "PulumiPolicy.yaml").is_file():
        packs = (PACK,)
    judged = judging(packs, configs, policy_seconds)
    if is_review:
        if offline or brief or diff or layout != "tree" or engine != BERTH:
            raise UserError(
                "a review goes without --offline, --summary, --diff, --layout and --engine pulumi"
            )
        wanted = reviews.Wanted(_named(stacks, every=every), base, against, live, judged, context)
        reviews.run(wanted, console, folder, as_json=as_json, fail_on=reviews.ops_of(fail_on))
        return
    if len(stacks) > 1:
        raise UserError("several stacks at once make a review: add --base, --against, --live or --report")
    stack = stacks[0] if stacks else None
    if every and stack is None:
        if context or engine != BERTH:
            raise UserError("--all plans without any account: --context and --engine go with one stack")
        reports = asyncio.run(plan_offline(stack_names(), console, judged))
        _finish_all(reports, as_json=as_json, diff=diff, layout=layout, brief=brief)
        return
    if every or stack is None:
        raise UserError(f"name one stack, or --all of them: {', '.join(stack_names())}")
    if brief:
        raise UserError("--summary goes with --all; one stack's counts are the last line of its preview")
    if offline and (context or engine != BERTH):
        raise UserError("--offline asks nobody: --context and --engine pulumi go without it")
    by_pulumi = engine == PULUMI
    used = engine_of(engine, stack)
    prepared = prepare(stack, console, need=Need.LOOK, context=context, offline=offline, by_pulumi=by_pulumi)
    request = judged(prepared.request)
    report = asyncio.run(used.preview(request, on_event=Teller(console) if by_pulumi else None))
    finish(report, as_json=as_json, diff=diff, layout=layout)


def _named(stacks: tuple[str, ...], *, every: bool) -> tuple[str, ...]:
    """Return the stacks of a review; empty for all."""
    if every and stacks:
        raise UserError(f"--all is every stack: leave out {', '.join(stacks)}, or leave out --all")
    if not every and not stacks:
        raise UserError(f"name stacks to review, or --all of them: {', '.join(stack_names())}")
    return tuple(dict.fromkeys(stacks))


async def plan_offline(
    names: list[str], console: Console, change: Callable[[RunRequest], RunRequest] = lambda request: request
) -> list[Report]:
    """Plan stacks without asking any cluster.

    Args:
        names: the stacks; the reports are in their order.
        console: where progress goes.
        change: what is to be different in each request, such as policy packs.
    """
    with console.step("preview", f"planning {len(names)} stacks, offline"):
        requests: dict[str, tuple[Ground, RunRequest]] = {}
        for name in names:
            request = prepare(name, Console(quiet=True), need=Need.LOOK, offline=True).request
            requests[name] = (ground_of(find_stack(name)), change(request))
        return list((await plan_all(requests)).values())


def _finish_all(reports: list[Report], *, as_json: bool, diff: bool, layout: str, brief: bool) -> None:
    from berth.deployer import render, summary

    ok = all(report.ok for report in reports)
    if as_json:
        found: dict[str, Any] = {"version": 1, "ok": ok, "previews": [report.to_json() for report in reports]}
        click.echo(json.dumps(found, indent=2))
    else:
        for report in reports:
            if brief and report.ok:
                continue
            click.echo(f"==== {report.stack}")
            click.echo(render(report, diff=diff, layout="flat" if layout == "flat" else "tree"))
        click.echo(summary(reports), nl=False)
    if not ok:
        raise click.exceptions.Exit(1)
