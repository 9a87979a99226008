"""`berth doctor`: what this machine has, what it lacks, and what each missing thing costs."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass

import click

from berth.cli.paths import ROOT, cache_folder


@dataclass(frozen=True)
class Check:
    """One line of the report."""

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


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """List what this machine has and lacks; exit code 1 where something is missing.

    Nothing is changed, and nothing is downloaded.
    """
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
