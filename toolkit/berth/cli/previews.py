"""`berth preview`: what `up` would change, of one stack or of all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

import click

from berth.cli.console import Console
from berth.cli.engines import BERTH, PULUMI, engine_of, engine_option
from berth.cli.errors import UserError
from berth.cli.packs import judging, policy_options
from berth.cli.preparing import Need, prepare
from berth.cli.reports import Teller, context_option, diff_option, finish, json_option, layout_option
from berth.cli.stackfile import find_stack, stack_names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from berth.deployer import Report, RunRequest

# What the program imports, by ground: once for all stacks, before they are forked.
KUBERNETES_MODULES = (
    "pydantic",
    "yaml",
    "pulumi_kubernetes.apiextensions",
    "pulumi_kubernetes.apiregistration.v1",
    "pulumi_kubernetes.apps.v1",
    "pulumi_kubernetes.autoscaling.v2",
    "pulumi_kubernetes.core.v1",
    "pulumi_kubernetes.networking.v1",
    "pulumi_kubernetes.policy.v1",
    "pulumi_kubernetes.rbac.v1",
    "pulumi_kubernetes.storage.v1",
)
# Ours too, since all stacks are of this one checkout. The last imports everything above that it needs.
ROOMS = ("berth_components", "berth_stacks.program")
AWS_MODULES = (
    "pulumi_aws.appautoscaling",
    "pulumi_aws.autoscaling",
    "pulumi_aws.cloudwatch",
    "pulumi_aws.ec2",
    "pulumi_aws.eks",
    "pulumi_aws.iam",
    "pulumi_aws.kms",
    "pulumi_aws.sagemaker",
    "berth_components.aws",
)
GOOGLE_MODULES = (
    "pulumi_gcp.compute",
    "pulumi_gcp.container",
    "pulumi_gcp.kms",
    "pulumi_gcp.organizations",
    "pulumi_gcp.projects",
    "pulumi_gcp.serviceaccount",
    "pulumi_gcp.storage",
    "berth_components.gcp",
)


@click.command()
@click.argument("stack", required=False)
@click.option("--all", "every", is_flag=True, help="Every stack that has a file, without asking any cluster.")
@click.option("--offline", is_flag=True, help="Ask no cluster and no cloud: plan as if nothing existed.")
@click.option("--summary", "brief", is_flag=True, help="With --all: only counts, and stacks with errors.")
@engine_option
@context_option
@layout_option
@diff_option
@policy_options
@json_option
def preview(
    stack: str | None,
    *,
    every: bool,
    offline: bool,
    brief: bool,
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
    """
    console = Console()
    judged = judging(packs, configs, policy_seconds)
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


async def plan_offline(
    names: list[str], console: Console, change: Callable[[RunRequest], RunRequest] = lambda request: request
) -> list[Report]:
    """Plan stacks in two warm processes: importing both clouds' SDKs in one would take the longest.

    Args:
        names: the stacks; the reports are in their order.
        console: where progress goes.
        change: what is to be different in each request, such as policy packs.
    """
    from berth import deployer

    with console.step("preview", f"planning {len(names)} stacks, offline"), contextlib.ExitStack() as ended:
        warm = {}
        for ground, modules in {"aws": AWS_MODULES, "google": GOOGLE_MODULES}.items():
            warm[ground] = deployer.Interpreter(preload=(*KUBERNETES_MODULES, *modules, *ROOMS))
            ended.callback(warm[ground].close)
            warm[ground].start()
        groups: dict[str, list[RunRequest]] = {ground: [] for ground in warm}
        for name in names:
            request = prepare(name, Console(quiet=True), need=Need.LOOK, offline=True).request
            on_aws = find_stack(name).grounds & {"eks", "sagemaker"}
            groups["aws" if on_aws else "google"].append(change(request))
        parallel = max(1, (os.cpu_count() or 1) // len(warm))
        done = await asyncio.gather(
            *(
                deployer.previews(group, interpreter=warm[ground], parallel=parallel)
                for ground, group in groups.items()
            )
        )
    return sorted(
        (report for group in done for report in group), key=lambda report: names.index(report.stack)
    )


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
