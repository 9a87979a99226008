"""`berth doctor`: what this machine has and lacks; with a stack, what is wrong with it and its clusters.

`check_before_up` and `require_fit` are for `berth up` on clusters that are there already.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from berth.cli.errors import UserError
from berth.cli.paths import ROOT, cache_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from berth.cli.asking import Look
    from berth.cli.console import Console
    from berth.deployer import RunRequest
    from berth.operations.diagnosis import Snapshot
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


def _stack(name: str, contexts: Sequence[str], ca: Path | None, *, as_json: bool, save: Path | None) -> int:
    """Say what is wrong with a stack that runs, then whether its clusters fit; the exit code."""
    from berth.cli.console import Console
    from berth.cli.preparing import Need, prepare
    from berth.cli.reaching import reach, snapshot
    from berth.operations import diagnosis
    from berth.operations.errors import ClusterReadError
    from berth.operations.inventory import as_json as in_json
    from berth.operations.inventory import exit_code, page

    reached = reach(name, contexts)
    # What images are built is no matter of the clusters.
    quiet, named = Console(quiet=True), {one.context for one in reached.sites}
    # Whether they fit is asked by one context for all; sites of their own are asked as the stack names them.
    context = named.pop() if contexts and len(named) == 1 else None
    examined, uncompared = list[Examined](), ""
    try:
        prepared = prepare(name, quiet, context=context, yes=False, gpus=None, need=Need.LOOK)
        examined = examine(prepared.request)
    except ClusterReadError as error:
        # A cluster without a well node is when a doctor is needed most.
        uncompared = str(error)

    async def look() -> list[Snapshot]:
        return list(await asyncio.gather(*(snapshot(reached, site, ca) for site in reached.sites)))

    seen = asyncio.run(look())
    if save is not None:
        save.write_text(json.dumps([one.to_json() for one in seen], indent=1) + "\n")
    found = [(one, diagnosis.diagnose(one, runbooks())) for one in seen]
    if as_json:
        sites = [in_json(one.look.asked.site, one.found, one.findings) for one in examined]
        trouble = [diagnosis.as_json(*each) for each in found]
        click.echo(
            json.dumps(
                {"stack": name, "diagnosis": trouble, "sites": sites, "uncompared": uncompared or None},
                indent=2,
            )
        )
    else:
        fit = {one.look.asked.site: page(one.look.asked.site, one.found, one.findings) for one in examined}
        # Where nothing could be asked, one page says so.
        pages = [diagnosis.page(*each) for each in found if each[0].reached or each[0].site not in fit]
        if uncompared:
            pages.append(f"UNKNOWN whether its clusters fit: {uncompared}")
        click.echo("\n\n".join([*pages, *fit.values()]))
    codes = {diagnosis.exit_code(findings) for _, findings in found}
    codes.add(exit_code([finding for one in examined for finding in one.findings]))
    codes |= {3} if uncompared else set()
    return 1 if 1 in codes else max(codes)


def _recorded(file: Path, *, as_json: bool) -> int:
    """Diagnose snapshots that `--save` kept; the exit code."""
    from berth.operations import diagnosis

    try:
        listed = json.loads(file.read_text())
        if not isinstance(listed, list) or not listed:
            raise ValueError("it holds no list of snapshots")  # noqa: TRY301 - told as the others are
        seen = [diagnosis.Snapshot.from_json(one) for one in listed]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"--snapshot {file}: it is no file that ./berth doctor STACK --save made: {error}"
        ) from None
    found = [(one, diagnosis.diagnose(one, runbooks())) for one in seen]
    if as_json:
        click.echo(json.dumps({"diagnosis": [diagnosis.as_json(*each) for each in found]}, indent=2))
    else:
        click.echo("\n\n".join(diagnosis.page(*each) for each in found))
    codes = {diagnosis.exit_code(findings) for _, findings in found}
    return 1 if 1 in codes else max(codes, default=0)


def runbooks() -> frozenset[str]:
    """Return the names of the runbooks that there are, which are those of their alerts."""
    return frozenset(file.stem for file in (ROOT / "docs" / "runbooks").glob("*.md"))


@click.command()
@click.argument("stack", required=False)
@click.option(
    "--context",
    "contexts",
    multiple=True,
    metavar="[SITE=]NAME",
    help="With STACK: look at this kubeconfig context instead; once per site.",
)
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With STACK: certificates of the authority of HTTPS endpoints.",
)
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With STACK: keep what was seen in a file; it holds no secret.",
)
@click.option(
    "--snapshot",
    "recorded",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Diagnose such a file instead of a stack.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(
    stack: str | None,
    *,
    contexts: tuple[str, ...],
    ca: Path | None,
    save: Path | None,
    recorded: Path | None,
    as_json: bool,
) -> None:
    """List what this machine has and lacks; exit code 1 where something is missing.

    With STACK: what is wrong with it, in the order in which an expert would
    look, causes before what follows from them: permissions, nodes, Secrets,
    volumes, quotas, pods that find no node, images, crashes, memory, weights,
    readiness, rollouts, autoscalers, queues, CPU limits, certificates. Then
    whether its clusters that are there already fit what it asks. Exit codes:
    0 healthy, 1 something was found, 3 something is unknown, 2 wrong input.

    Nothing is changed, and nothing is downloaded.
    """
    if recorded is not None and (stack is not None or contexts or save):
        raise UserError("--snapshot: goes without a stack, --context and --save")
    if recorded is not None:
        code = _recorded(recorded, as_json=as_json)
    elif stack is None:
        for option, given in (("--context", contexts), ("--ca", ca), ("--save", save)):
            if given:
                raise UserError(f"{option}: needs a stack; ./berth doctor <stack> {option} …")
        _this_machine(as_json=as_json)
        return
    else:
        code = _stack(stack, contexts, ca, as_json=as_json, save=save)
    if code:
        raise click.exceptions.Exit(code)
