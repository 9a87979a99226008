"""`berth render`: a stack as YAML for Argo CD and Flux, or as a Helm chart."""

from __future__ import annotations

import asyncio
import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from berth.cli.console import Console
from berth.cli.errors import UserError
from berth.cli.preparing import Need, prepare
from berth.cli.reports import json_option, stack_argument

if TYPE_CHECKING:
    from collections.abc import Iterable

    from berth.rendering import Collected, Needed, Secrets

# Keys that stand for clients' keys where a plan does not open secrets, or where nobody has set any.
STAND_INS = ("closed", "unpinned")

_NAMED = 20  # changed files that the text names; it counts the others


@click.command()
@stack_argument
@click.option(
    "--out", "folder", metavar="DIR", required=True, type=click.Path(path_type=Path), help="Where to."
)
@click.option("--format", "form", type=click.Choice(["yaml", "helm"]), default="yaml", help="What to write.")
@click.option(
    "--secrets",
    "secrets",
    type=click.Choice(["existing", "external"]),
    default="existing",
    help="Refer to Secrets that somebody makes, or write ExternalSecrets.",
)
@click.option("--secret-store", metavar="NAME", default="", help="With --secrets external: the store.")
@click.option(
    "--secret-store-kind",
    type=click.Choice(["ClusterSecretStore", "SecretStore"]),
    default="ClusterSecretStore",
    help="With --secrets external: of which kind it is.",
)
@click.option(
    "--secret-prefix", metavar="TEXT", help="What keys in the store begin with.  [default: PROJECT/STACK]"
)
@click.option("--sync-waves/--no-sync-waves", default=True, help="With yaml: Argo CD's order as annotations.")
@click.option("--chart-name", metavar="NAME", help="With helm.  [default: the project's name]")
@click.option("--chart-version", metavar="VERSION", default="0.1.0", show_default=True, help="With helm.")
@click.option(
    "--values-for",
    "others",
    metavar="STACK",
    multiple=True,
    help="With helm: serve this stack, too, by values-STACK.yaml; may be repeated.",
)
@click.option(
    "--leave-out-unknown", is_flag=True, help="Leave out, by name, what only a deployment can know."
)
@json_option
def render(
    stack: str,
    *,
    folder: Path,
    form: str,
    secrets: str,
    secret_store: str,
    secret_store_kind: str,
    secret_prefix: str | None,
    sync_waves: bool,
    chart_name: str | None,
    chart_version: str,
    others: tuple[str, ...],
    leave_out_unknown: bool,
    as_json: bool,
) -> None:
    """Write STACK as files for Argo CD, Flux or Helm.

    No cluster, account or credential is needed, and no secret is written: what
    has to be there is listed. Rendering again replaces the files that it wrote.
    """
    from berth import rendering

    if form != "helm" and (others or chart_name):
        raise UserError("--values-for and --chart-name go with --format helm")
    if secrets != "external" and (secret_store or secret_prefix is not None):
        raise UserError("--secret-store and --secret-prefix go with --secrets external")
    if stack in others:
        raise UserError(f"--values-for {stack}: that is the stack whose values are the chart's own")

    rendering.check(folder)

    def referring(collected: Collected) -> Secrets:
        if secrets != "external":
            return rendering.Secrets(stand_ins=STAND_INS)
        prefix = f"{collected.project}/{collected.stack}" if secret_prefix is None else secret_prefix
        return rendering.Secrets("external", secret_store, secret_store_kind, prefix, stand_ins=STAND_INS)

    collected, *more = asyncio.run(_collected([stack, *others], leave_out_unknown=leave_out_unknown))
    how = referring(collected)
    if form == "helm":
        chart = rendering.Chart(chart_name or collected.project, chart_version)
        files = rendering.helm(collected, how, chart, [(other, referring(other)) for other in more])
    else:
        files = rendering.plain(collected, how, waves=sync_waves)
    needed = [one for items in collected.clusters.values() for one in rendering.refer(items, how)[1]]
    changed = rendering.write(folder, files)
    if as_json:
        click.echo(json.dumps(_report(collected, needed, files, changed), indent=2))
    else:
        click.echo(_text(collected, needed, folder, len(files), changed), nl=False)


async def _collected(names: list[str], *, leave_out_unknown: bool) -> list[Collected]:
    from berth import deployer, rendering

    requests = [prepare(name, Console(quiet=True), need=Need.LOOK, offline=True).request for name in names]
    reports = await deployer.previews(requests)
    return [rendering.collect(report, leave_out_unknown=leave_out_unknown) for report in reports]


def _report(
    collected: Collected, needed: Iterable[Needed], files: Iterable[str], changed: list[str]
) -> dict[str, Any]:
    return {
        "version": 1,
        "project": collected.project,
        "stack": collected.stack,
        "files": sorted(files),
        "changed": changed,
        "objects": {cluster: [item.title for item in items] for cluster, items in collected.clusters.items()},
        "secrets": [
            {
                "namespace": one.namespace,
                "name": one.name,
                "type": one.type,
                "keys": list(one.keys),
                "remoteKey": one.remote,
            }
            for one in needed
        ],
        "leftOut": [{"type": one.type, "name": one.name, "reason": one.reason} for one in collected.left_out],
        "findings": list(collected.findings),
        "placeholderImages": [{"object": title, "image": image} for title, image in collected.images],
    }


def _text(collected: Collected, needed: list[Needed], folder: Path, count: int, changed: list[str]) -> str:
    lines = [f"{folder}: {count} files, {len(changed)} changed"]
    lines += [f"  {name}" for name in changed[:_NAMED]]
    lines += [f"  and {len(changed) - _NAMED} more"] if len(changed) > _NAMED else []
    lines += [f"needed: {one.title}" + (f", from {one.remote}" if one.remote else "") for one in needed]
    lines += [f"open: {finding}" for finding in collected.findings]
    lines += [f"open: {title} has the placeholder image {image}" for title, image in collected.images]
    reasons: dict[str, dict[str, list[str]]] = {}
    for one in collected.left_out:
        reasons.setdefault(one.reason, {}).setdefault(one.type.rpartition(":")[2], []).append(one.name)
    for reason, kinds in reasons.items():
        lines.append(f"left out, {sum(map(len, kinds.values()))}: {reason}")
        lines += [f"  {kind}: {', '.join(names)}" for kind, names in kinds.items()]
    return "".join(
        f"{part}\n"
        for line in lines
        for part in textwrap.wrap(
            line, 80, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        )
    )
