"""`berth doctor`: what this machine has and lacks; with a stack, whether its clusters fit what it asks.

`check_before_up` and `require_fit` are for `berth up` on clusters that are there already.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from berth.cli.errors import UserError
from berth.cli.paths import ROOT, cache_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from berth.cli.asking import Look
    from berth.cli.console import Console
    from berth.deployer import RunRequest
    from berth.operations.inventory import Finding, Inventory


@dataclass(frozen=True)
class Check:
    """One line of the report on this machine."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    cost: str = ""


def _own_checks() -> list[Check]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    folder = next(path for path in (cache_folder(), *cache_folder().parents) if path.exists())
    free = shutil.disk_usage(folder).free / 1024**3
    pulumi = shutil.which("pulumi")
    return [
        Check("python", True, f"{version}, environment in {ROOT / '.venv'}"),
        Check("cache", True, f"{cache_folder()}, {free:.0f} GB free"),
        Check(
            "pulumi",
            True,
            pulumi or "no Pulumi CLI: not needed for Kubernetes resources, only for a cloud's",
        ),
    ]


def _this_machine(*, as_json: bool) -> None:
    from berth.localcluster.preflight import preflight

    checks = [
        *_own_checks(),
        *(Check(found.name, found.ok, found.detail, found.remedy, found.cost) for found in preflight()),
    ]
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        for check in checks:
            click.echo(f"{'ok     ' if check.ok else 'MISSING'} {check.name:<10} {check.detail}")
            if not check.ok:
                click.echo(f"        what to do: {check.remedy}\n        until then: {check.cost}")
    if not all(check.ok for check in checks):
        raise click.exceptions.Exit(1)


@dataclass(frozen=True)
class Examined:
    """A site that was looked at."""

    look: Look
    found: Inventory
    findings: Sequence[Finding]


def examine(request: RunRequest) -> list[Examined]:
    """Look at every cluster of a stack that is there already, and compare; nothing is changed.

    Not to be called where an event loop runs.

    Raises:
        SettingsError, UserError: the settings are wrong.
    """
    from berth.cli.asking import looks

    async def all_of_them() -> list[Examined]:
        return list(await asyncio.gather(*(_examine(look) for look in looks(request))))

    return asyncio.run(all_of_them())


async def _examine(look: Look) -> Examined:
    from berth.operations.inventory import compare, inspect, unreachable

    if look.kubeconfig:
        found = await inspect(look.kubeconfig, look.context)
    else:
        found = unreachable("that is not known yet", look.reason)
    return Examined(look, found, compare(found, look.asked))


def check_before_up(request: RunRequest) -> list[Finding]:
    """Return what does not fit and what is unknown at the stack's clusters, before anything is changed."""
    found = [finding for one in examine(request) for finding in one.findings]
    return [finding for finding in found if finding.state in {"mismatch", "unknown"}]


def require_fit(request: RunRequest, console: Console) -> None:
    """Say what is unknown of the stack's clusters, and stop where something does not fit.

    Raises:
        UserError: something does not fit; exit code 1. Nothing was changed.
    """
    findings = check_before_up(request)
    for one in findings:
        if one.state == "unknown":
            console.line("doctor", f"unknown: {one.text}")
    wrong = [one.text for one in findings if one.state == "mismatch"]
    if wrong:
        shown = "\n  ".join(wrong)
        raise UserError(
            f"the clusters of '{request.stack}' do not fit its settings; nothing was changed:\n  {shown}\n"
            f"./berth doctor {request.stack} shows everything; --ignore-doctor goes on all the same",
            exit_code=1,
        )


def _stack(name: str, context: str | None, *, as_json: bool) -> None:
    from berth.cli.console import Console
    from berth.cli.preparing import Need, prepare
    from berth.operations.inventory import as_json as in_json
    from berth.operations.inventory import exit_code, page

    # What images are built is no matter of the clusters.
    quiet = Console(quiet=True)
    prepared = prepare(name, quiet, context=context, yes=False, gpus=None, need=Need.LOOK)
    examined = examine(prepared.request)
    if as_json:
        sites = [in_json(one.look.asked.site, one.found, one.findings) for one in examined]
        click.echo(json.dumps({"stack": name, "sites": sites}, indent=2))
    elif examined:
        click.echo("\n\n".join(page(one.look.asked.site, one.found, one.findings) for one in examined))
    else:
        click.echo(f"UNKNOWN no site of '{name}' is on a cluster that is there already: nothing to look at")
    code = exit_code([finding for one in examined for finding in one.findings]) if examined else 3
    if code:
        raise click.exceptions.Exit(code)


@click.command()
@click.argument("stack", required=False)
@click.option("--context", metavar="NAME", help="With STACK: look at this kubeconfig context instead.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(stack: str | None, context: str | None, as_json: bool) -> None:
    """List what this machine has and lacks; exit code 1 where something is missing.

    With STACK: look at the clusters of that stack that are there already, and
    compare them with what it asks: GPUs, drivers, device plugins, labels,
    taints, free accelerators, storage, versions. Exit codes: 0 everything fits,
    1 something does not, 3 something is unknown, 2 wrong input.

    Nothing is changed, and nothing is downloaded.
    """
    if stack is None:
        if context:
            raise UserError("--context: needs a stack; ./berth doctor <stack> --context NAME")
        _this_machine(as_json=as_json)
    else:
        _stack(stack, context, as_json=as_json)
