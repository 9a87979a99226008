"""The ground of a local stack: clusters on this machine, their nodes, and the images in them."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from berth.cli.console import ClusterProgress, Console
from berth.cli.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping
    from pathlib import Path

    from berth_images import BuiltImage

    from berth.cli.stackfile import LocalSite
    from berth.localcluster import Cluster, Status

    Sites = Mapping[str, LocalSite]


# Findings of the preflight without which there is no cluster; tools can be installed, memory may suffice.
NEEDED = frozenset({"root", "machine", "cgroups", "space", "addresses"})


@dataclass(frozen=True)
class Place:
    """A cluster of this machine as a site needs it: its kubeconfig, and where its NodePorts answer."""

    kubeconfig: Path
    node_address: str


@dataclass(frozen=True)
class Ground:
    """Clusters of this machine by site, with the references of the images by role."""

    places: Mapping[str, Place]
    images: Mapping[str, str]
    running: bool = True


class _Beside:
    """Images made beside the compiler, in a thread that ends with this process; they can be made again."""

    def __init__(self, make: Callable[[], dict[str, BuiltImage]], console: Console) -> None:
        self._made: dict[str, BuiltImage] | None = None
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(make, console), name="images", daemon=True)
        self._thread.start()

    def _run(self, make: Callable[[], dict[str, BuiltImage]], console: Console) -> None:
        try:
            self._made = make()
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._failed = error
            console.line("images", f"failed: {error}")

    def result(self) -> dict[str, BuiltImage]:
        """Wait for the images; raises what making them raised."""
        self._thread.join()
        if self._made is None:
            raise self._failed or RuntimeError("the images' thread ended without a word")
        return self._made


def require_machine() -> None:
    """Refuse a machine that can run no cluster, before anything is changed.

    Raises:
        UserError: what is missing, and what to do. Missing tools are asked for later.
    """
    from berth.localcluster import preflight

    for found in preflight():
        if not found.ok and found.name in NEEDED:
            raise UserError(f"{found.name}: {found.detail}; {found.remedy}. Nothing was changed.")


def consent_to_tools(
    *, yes: bool, console: Console | None = None, also: Mapping[str, str] | None = None
) -> None:
    """Install the Debian tools that the local cluster needs, if any is missing and the user agrees.

    Args:
        yes: whether the user has agreed already.
        console: where progress goes.
        also: what else is needed: Debian packages by the program that each brings.

    Raises:
        UserError: the user did not agree, or is not root; nothing was changed.
    """
    from berth.localcluster import install_tools, missing_tools

    more = {package for program, package in (also or {}).items() if shutil.which(program) is None}
    missing = sorted({*missing_tools(), *more})
    if not missing:
        return
    who = "this needs" if more else "the local cluster needs"
    wanted = f"{who} Debian's {', '.join(missing)}, which this machine lacks"
    if os.geteuid() != 0:
        raise UserError(f"{wanted}; as root: apt-get install {' '.join(missing)}. Nothing was changed.")
    if not yes and not (sys.stdin.isatty() and click.confirm(f"berth: {wanted}. Install with apt-get?")):
        raise UserError(
            f"{wanted}; run this again with --yes, or install by hand: apt-get install {' '.join(missing)}. "
            "Nothing was changed."
        )
    install_tools(missing, ClusterProgress(console or Console(), "tools"))


def _clusters(sites: Sites) -> dict[str, Cluster]:
    """The clusters of a stack by name."""
    from berth.localcluster import Cluster

    return {site.cluster: Cluster(site.cluster) for site in sites.values()}


def prepare_ground(
    console: Console,
    *,
    yes: bool,
    simulated_gpus: int | None,
    metrics_server: bool,
    settings: Container[str],
    sites: Sites,
) -> Ground:
    """Build what is missing, start or heal the clusters, and put the images and the nodes into them.

    The compiler keeps both cores busy for minutes the first time; images are made beside it.
    """
    import berth_images

    consent_to_tools(yes=yes, console=console)
    images = _Beside(
        lambda: berth_images.build_all(
            berth_images.roles_for(settings), progress=lambda text: console.line("images", text)
        ),
        console,
    )
    clusters = _clusters(sites)
    for name, cluster in clusters.items():
        # In the main thread, so that Ctrl-C reaches the compiler.
        cluster.start(ClusterProgress(console, name if len(clusters) > 1 else "cluster"))
    built = images.result()
    for one, other in itertools.combinations(clusters.values(), 2):
        if other.name not in one.links:
            one.link(other)
            console.line("clusters", f"{one.name} and {other.name} reach each other's NodePorts")
    for cluster in clusters.values():
        if simulated_gpus is not None:
            cluster.simulate_gpus(simulated_gpus)
            console.line(
                "cluster", f"{simulated_gpus} simulated GPUs on the node; there is no hardware behind them"
            )
        if metrics_server:
            cluster.ensure_addon("metrics-server", ClusterProgress(console, "cluster"))
        for image in built.values():
            if not cluster.has_image(image.reference):
                into = f" into {cluster.name}" if len(clusters) > 1 else ""
                with console.step("images", f"importing {image.reference}{into}"):
                    cluster.import_image(image.tar)
    for key, site in sites.items():
        _settle_nodes(clusters[site.cluster], key, site, console)
    references = {role: image.reference for role, image in built.items()}
    places = {
        key: Place(clusters[site.cluster].kubeconfig, clusters[site.cluster].node_address)
        for key, site in sites.items()
    }
    return Ground(places, references)


def _settle_nodes(cluster: Cluster, key: str, site: LocalSite, console: Console) -> None:
    """Give a site the simulated nodes that it asks for; those that are right already stay."""
    progress = ClusterProgress(console, "nodes")
    there = [node for node in cluster.nodes() if node.pool == key]
    right = [node for node in there if node.simulated_gpus == site.gpus][: site.nodes]
    if missing := site.nodes - len(right):
        cluster.add_nodes(missing, pool=key, simulated_gpus=site.gpus, progress=progress)
        console.line("nodes", f"{missing} of site {key}, {site.gpus} simulated GPUs each; no hardware behind")
    for node in there:
        # Its pods find a place on the new ones.
        if node not in right:
            cluster.remove_node(node.name, progress=progress)


def remove_nodes(sites: Sites, console: Console) -> None:
    """Take away the simulated nodes that `prepare_ground` gave to sites."""
    clusters = _clusters(sites)
    for key, site in sites.items():
        if not site.nodes:
            continue
        for node in clusters[site.cluster].nodes():
            if node.pool == key:
                clusters[site.cluster].remove_node(
                    node.name, force=True, progress=ClusterProgress(console, "nodes")
                )


# Where there is no cluster yet, a preview has no address of it. RFC 2606 keeps this name from ever existing.
NO_ADDRESS = "no-cluster-yet.invalid"


def present_ground(
    console: Console, settings: Container[str], sites: Sites, *, offline: bool = False
) -> Ground:
    """Say what clusters and images there are; make none. Offline: as if there were no cluster."""
    from berth.localcluster import Status

    clusters = _clusters(sites).values()
    found = [(one, Status(one.name, "absent") if offline else one.status()) for one in clusters]
    return _as_it_is(found, console, settings, sites)


def _as_it_is(
    found: Iterable[tuple[Cluster, Status]], console: Console, settings: Container[str], sites: Sites
) -> Ground:
    import berth_images

    images = {role: image.reference for role, image in berth_images.find().items()}
    for role in berth_images.roles_for(settings):
        if role not in images:
            console.line("images", f"{role} is not built yet: its tag is not known")
            images[role] = f"berth.local/{role}:not-built-yet"
    places, running = {}, True
    for cluster, status in found:
        if status.state not in {"running", "broken"} or not status.node_address:
            console.line("cluster", f"{cluster.name} is {status.state}: planned without it; `up` starts it")
            running = False
        places[cluster.name] = Place(cluster.kubeconfig, status.node_address or NO_ADDRESS)
    return Ground({key: places[site.cluster] for key, site in sites.items()}, images, running)


def existing_ground(console: Console, settings: Container[str], sites: Sites) -> Ground | None:
    """Start the clusters that were made, and give them as ground; None where none was made.

    Raises:
        UserError: one is there, and another one is not.
    """
    clusters = _clusters(sites)
    states = {name: cluster.status() for name, cluster in clusters.items()}
    absent = [name for name, status in states.items() if status.state == "absent"]
    if len(absent) == len(states):
        return None
    if absent:
        left = " and ".join(
            f"`./berth cluster delete --name {name}`" for name in states if name not in absent
        )
        raise UserError(
            f"the cluster {', '.join(absent)} of the stack is not there any more: `./berth up` makes it "
            f"anew, {left} removes the rest with all that is in it"
        )
    for name, cluster in clusters.items():
        if states[name].state != "running":
            cluster.start(ClusterProgress(console, name if len(clusters) > 1 else "cluster"))
            states[name] = cluster.status()
    return _as_it_is([(clusters[name], states[name]) for name in clusters], console, settings, sites)
