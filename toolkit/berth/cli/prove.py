"""`berth prove`: that a stack's scale path works, before anybody pays for it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from berth.cli import proving
from berth.cli.console import Console
from berth.cli.errors import UserError
from berth.cli.paths import cluster_name
from berth.cli.previews import plan_offline
from berth.cli.reports import json_option
from berth.cli.stackfile import find_stack, stack_names
from berth.operations.errors import ChainBroken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth.deployer import Report
    from berth.localcluster import Status
    from berth.operations.proof import Facts, Proof, Resource
    from berth.operations.proof.real import Measured


@click.group()
def prove() -> None:
    """Prove a property of a stack: statically, and where it can be on a cluster."""


@prove.command()
@click.argument("stack", required=False)
@click.option("--all", "every", is_flag=True, help="The static part of every stack that has a file.")
@click.option("--static", "only_static", is_flag=True, help="Of a local stack: only the static part.")
@click.option(
    "--bursts", default=1, show_default=True, type=click.IntRange(1, 200), help="Of a local stack: how often."
)
@click.option("--warm", is_flag=True, help="Of a local stack: with the nodes there before each burst.")
@click.option("--seed", default=0, show_default=True, help="Of the moments at which bursts begin.")
@click.option(
    "--out",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write timeline.json and timeline.svg there.",
)
@json_option
def scale(
    stack: str | None,
    *,
    every: bool,
    only_static: bool,
    bursts: int,
    warm: bool,
    seed: int,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Follow the chain from a metric to a new node, link by link.

    For every stack from its plan alone: no account, cluster or network. For a
    local stack also for real: bursts on a copy of its model server, whose
    replicas wait for nodes with a simulated GPU, which are added and taken
    away again (docs/prove.md).

    Exit code: 0 every link passed, 1 one failed, 3 none failed and one is
    unknown, 2 wrong input.
    """
    if every == (stack is not None):
        raise UserError(f"name one stack, or --all of them: {', '.join(stack_names())}")
    names = stack_names() if stack is None else [find_stack(stack).name]
    is_real = stack is not None and find_stack(stack).is_local and not only_static
    if folder is not None and not is_real:
        raise UserError("--out goes with a local stack and without --static: only a real run has a timeline")
    console = Console()
    status = proving.running_cluster(cluster_name()) if is_real else None
    facts = proving.facts(status.hpa_sync_seconds if status else None)
    reports = asyncio.run(plan_offline(names, console))
    # A proof for real is of the model server whose cluster it runs on, which is the first chain.
    here = proving.site_on(names[0], status.name) if status else ""
    proofs = [_static(report, here, facts) for report in reports]
    measured: Measured | None = None
    broken = ""
    if status is not None and proofs[0].verdict != "failed":
        try:
            how = {"bursts": bursts, "seed": seed, "warm": warm}
            measured = _really(_planned(reports[0], here), facts, status, how)
        except ChainBroken as error:
            broken = str(error)
        else:
            proofs = [proving.shown(proofs[0], measured)]
            if folder is not None:
                proving.write_timeline(folder, measured)
    _print(proofs, measured, broken, every=every, as_json=as_json)
    raise click.exceptions.Exit(1 if broken else _exit_code(proofs))


def _planned(report: Report, here: str) -> list[Resource]:
    return proving.in_order(proving.resources(report), here)


def _static(report: Report, here: str, facts: Facts) -> Proof:
    from berth.operations import proof

    if not report.ok:
        raise UserError("\n".join(message.message for message in report.errors))
    facts = dataclasses.replace(facts, quotas=proving.quotas(report.stack))
    return proof.prove(report.stack, _planned(report, here), facts)


def _really(resources: list[Resource], facts: Facts, status: Status, how: Mapping[str, Any]) -> Measured:
    from berth.operations.proof.real import Ground, Wanted, prove_really

    with proving.simulated_base_gpu(status) as provider:
        ground = Ground(str(status.kubeconfig), provider, status.hpa_sync_seconds or 15.0)
        wanted = Wanted(**how, say=Console().line)
        return asyncio.run(prove_really(resources, facts, ground, wanted))


def _print(
    proofs: list[Proof], measured: Measured | None, broken: str, *, every: bool, as_json: bool
) -> None:
    from berth.operations.proof import page

    if as_json:
        found: list[dict[str, Any]] = [{"version": 1, **one.to_json()} for one in proofs]
        if measured is not None:
            found[0] |= measured.to_json()
        if broken:
            found[0]["broken"] = broken
        click.echo(json.dumps(found if every else found[0], indent=2))
        return
    for one in proofs:
        click.echo(page(one))
    if measured is not None:
        click.echo(proving.table(measured))
    if broken:
        click.echo(f"FAILED on the cluster: {broken}")


def _exit_code(proofs: list[Proof]) -> int:
    codes = {one.exit_code for one in proofs}
    return 1 if 1 in codes else max(codes)
