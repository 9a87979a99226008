"""`berth cluster`: the local Kubernetes by itself."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from berth.cli.console import ClusterProgress, Console
from berth.cli.errors import UserError
from berth.cli.local import consent_to_tools
from berth.cli.paths import cluster_name

if TYPE_CHECKING:
    from berth.localcluster import Cluster

name_option = click.option(
    "--name", default=cluster_name, help="The cluster's name; default $BERTH_CLUSTER, else berth."
)


def _cluster(name: str) -> Cluster:
    from berth.localcluster import Cluster

    return Cluster(name)


@click.group()
def cluster() -> None:
    """Handle the local Kubernetes: real nodes, made from packages.

    `berth up local` uses the cluster `berth` and starts it by itself.
    """


@cluster.command()
@name_option
@click.option("--yes", is_flag=True, help="Install the Debian tools that are missing.")
@click.option(
    "--simulated-gpus", type=click.IntRange(min=0), help="GPUs for the scheduler; no hardware behind them."
)
@click.option(
    "--hpa-sync-seconds", type=click.FloatRange(min=0.1), help="How often the HPA controller looks (new: 15)."
)
@click.option("--egress/--no-egress", default=None, help="Whether pods reach beyond this machine (new: no).")
def start(
    name: str, yes: bool, simulated_gpus: int | None, hpa_sync_seconds: float | None, egress: bool | None
) -> None:
    """Make, start or heal a cluster: running it again is always safe."""
    from berth.localcluster import Cluster

    console = Console()
    consent_to_tools(yes=yes, console=console)
    made = Cluster(name, hpa_sync_seconds=hpa_sync_seconds, egress=egress)
    made.start(ClusterProgress(console, "cluster"))
    if simulated_gpus is not None:
        made.simulate_gpus(simulated_gpus)
    click.echo(f"cluster {name} runs at {made.server}\nkubeconfig: {made.kubeconfig}")


@cluster.command()
@name_option
def stop(name: str) -> None:
    """End a cluster's processes and keep its data."""
    _cluster(name).stop(ClusterProgress(Console(), "cluster"))
    click.echo(f"cluster {name} is stopped; `berth cluster start --name {name}` brings it back")


@cluster.command()
@name_option
@click.option("--all", "every", is_flag=True, help="Every cluster of this user.")
def delete(name: str, every: bool) -> None:
    """Remove a cluster and all its data."""
    console = Console()
    found = _cluster(name).list() if every else [_cluster(name)]
    for one in found:
        linked = [] if every else one.links
        one.delete(ClusterProgress(console, "cluster"))
        click.echo(f"cluster {one.name} is deleted")
        for other in linked:
            click.echo(f"{other}, which it was linked with, stays: `berth cluster delete --name {other}`")
    if not found:
        click.echo("no clusters")


@cluster.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_all(as_json: bool) -> None:
    """List this user's clusters, and which are linked with each other."""
    found = [one.status() for one in _cluster(cluster_name()).list()]
    if as_json:
        rows = [
            {"name": one.name, "state": one.state, "server": one.server, "links": one.links} for one in found
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    for one in found:
        linked = f", linked with {', '.join(one.links)}" if one.links else ""
        click.echo(f"{one.name}  {one.state}, {one.server}{linked}")
    if not found:
        click.echo("no clusters; `berth cluster start` makes one")


@cluster.command()
@name_option
@click.option("--all", "every", is_flag=True, help="Every cluster of this user.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(name: str, every: bool, as_json: bool) -> None:
    """Say how a cluster is; exit code 1 unless it runs."""
    chosen = _cluster(name).list() if every else [_cluster(name)]
    found = [one.status() for one in chosen]
    if as_json:
        entries = [one.to_json() for one in found]
        click.echo(json.dumps(entries if every else entries[0], indent=2, default=str))
    else:
        for one in found:
            click.echo(f"{one.name}: {one.state}")
            for label, value in (
                ("Kubernetes", one.kubernetes),
                ("server", one.server),
                ("node", one.node_address),
                ("kubeconfig", one.kubeconfig),
                ("simulated GPUs", one.simulated_gpus),
                ("linked with", ", ".join(one.links)),
            ):
                if value:
                    click.echo(f"  {label:<15} {value}")
            for problem in one.problems:
                click.echo(f"  problem         {problem}")
        if every and not found:
            click.echo("no clusters; `berth cluster start` makes one")
    if not every and found[0].state != "running":
        raise click.exceptions.Exit(1)


@cluster.command()
@name_option
@click.argument("component", required=False)
@click.option("--lines", default=100, show_default=True, type=click.IntRange(min=1))
def logs(name: str, component: str | None, lines: int) -> None:
    """Print the end of a COMPONENT's log, or the list of components."""
    one = _cluster(name)
    if component is None:
        files = one.log_files()
        if not files:
            raise UserError(f"cluster {name} has no logs: it was never started")
        for known, path in files.items():
            click.echo(f"{known:<26} {path}")
        return
    click.echo(one.logs(component, lines))


class PassThrough(click.Command):
    """A command that takes every word as it stands: options, `--help` and `--` are another program's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words, parse none."""
        ctx.params["words"] = tuple(args)
        return []


@cluster.command(cls=PassThrough)
def kubectl(words: tuple[str, ...]) -> None:
    """Run kubectl against the cluster `berth` (`--name NAME` first for another)."""
    name = cluster_name()
    if len(words) > 1 and words[0] == "--name":
        name, words = words[1], words[2:]
    command = list(_cluster(name).kubectl_command(*words))
    os.execv(command[0], command)  # noqa: S606 - the terminal is handed over, as kubectl expects


@cluster.group()
def node() -> None:
    """Handle further nodes of the local Kubernetes.

    Each is a sandbox of its own with containerd, kubelet and kube-proxy; all
    share this machine's processors and memory. The first node stays.
    """


@node.command("add")
@name_option
@click.option("--count", default=1, show_default=True, type=click.IntRange(min=1, max=31), help="How many.")
@click.option("--pool", default="", metavar="NAME", help="Value of their label berth.dev/pool.")
@click.option(
    "--simulated-gpus",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="GPUs of each for the scheduler; no hardware behind them.",
)
def node_add(name: str, count: int, pool: str, simulated_gpus: int) -> None:
    """Add nodes with the images of the first one."""
    progress = ClusterProgress(Console(), "cluster")
    made = _cluster(name).add_nodes(count, pool=pool, simulated_gpus=simulated_gpus, progress=progress)
    gpus = f", {simulated_gpus} simulated GPUs each" if simulated_gpus else ""
    click.echo(f"added to the cluster {name}: {', '.join(made)}{gpus}")


@node.command("remove")
@name_option
@click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
@click.option(
    "--timeout", default=120.0, show_default=True, type=click.FloatRange(min=0), help="Seconds for its pods."
)
@click.option("--force", is_flag=True, help="End its pods at once, whatever their budgets say.")
def node_remove(name: str, nodes: tuple[str, ...], timeout: float, *, force: bool) -> None:
    """Cordon, drain and remove each NODE."""
    progress = ClusterProgress(Console(), "cluster")
    for one in nodes:
        _cluster(name).remove_node(one, seconds=timeout, force=force, progress=progress)
        click.echo(f"removed from the cluster {name}: {one}")


@node.command("list")
@name_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def node_list(name: str, *, as_json: bool) -> None:
    """List the nodes; exit code 1 where one is not ready."""
    found = _cluster(name).nodes()
    if as_json:
        click.echo(json.dumps([one.to_json() for one in found], indent=2))
    else:
        for one in found:
            what = [one.address, "ready" if one.ready else f"not ready: {one.detail}"]
            what += [f"pool {one.pool}"] if one.pool else []
            what += [f"{one.simulated_gpus} simulated GPUs"] if one.simulated_gpus else []
            click.echo(f"{one.name}  {', '.join(what)}")
    if not all(one.ready for one in found):
        raise click.exceptions.Exit(1)
