"""The ground of a local stack: a cluster on this machine, and the images in it."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from berth.cli.console import ClusterProgress, Console
from berth.cli.errors import UserError
from berth.cli.paths import cluster_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Ground:
    """A cluster on this machine as a stack needs it, with the references of the images by role."""

    kubeconfig: Path
    node_address: str
    images: Mapping[str, str]
    running: bool = True


def consent_to_tools(*, yes: bool, console: Console | None = None) -> None:
    """Install the Debian tools that the local cluster needs, if any is missing and the user agrees.

    Raises:
        UserError: the user did not agree, or is not root; nothing was changed.
    """
    from berth.localcluster import install_tools, missing_tools

    missing = missing_tools()
    if not missing:
        return
    wanted = f"the local cluster needs Debian's {', '.join(missing)}, which this machine lacks"
    if os.geteuid() != 0:
        raise UserError(f"{wanted}; as root: apt-get install {' '.join(missing)}. Nothing was changed.")
    if not yes and not (sys.stdin.isatty() and click.confirm(f"berth: {wanted}. Install with apt-get?")):
        raise UserError(
            f"{wanted}; run this again with --yes, or install by hand: apt-get install {' '.join(missing)}. "
            "Nothing was changed."
        )
    install_tools(missing, ClusterProgress(console or Console(), "tools"))


def prepare_ground(
    console: Console, *, yes: bool, simulated_gpus: int | None, metrics_server: bool
) -> Ground:
    """Build what is missing, start or heal the cluster, and put the images into it.

    The compiler keeps both cores busy for minutes the first time; images are made beside it.
    """
    import berth_images

    from berth.localcluster import Cluster

    consent_to_tools(yes=yes, console=console)
    cluster = Cluster(cluster_name())
    with ThreadPoolExecutor(1, thread_name_prefix="images") as pool:
        images = pool.submit(berth_images.build_all, progress=lambda text: console.line("images", text))
        images.add_done_callback(
            lambda done: console.line("images", f"failed: {done.exception()}") if done.exception() else None
        )
        # In the main thread, so that Ctrl-C reaches the compiler.
        cluster.start(ClusterProgress(console, "cluster"))
        built = images.result()
    if simulated_gpus is not None:
        cluster.simulate_gpus(simulated_gpus)
        console.line(
            "cluster", f"{simulated_gpus} simulated GPUs on the node; there is no hardware behind them"
        )
    if metrics_server:
        cluster.ensure_addon("metrics-server", ClusterProgress(console, "cluster"))
    for image in built.values():
        if not cluster.has_image(image.reference):
            with console.step("images", f"importing {image.reference}"):
                cluster.import_image(image.tar)
    references = {role: image.reference for role, image in built.items()}
    return Ground(cluster.kubeconfig, cluster.node_address, references)


# Where there is no cluster yet, a preview has no address of it. RFC 2606 keeps this name from ever existing.
NO_ADDRESS = "no-cluster-yet.invalid"


def present_ground(console: Console) -> Ground:
    """Say what cluster and images there are; make none."""
    import berth_images

    from berth.localcluster import Cluster

    cluster = Cluster(cluster_name())
    status = cluster.status()
    images = {role: image.reference for role, image in berth_images.find().items()}
    for role in berth_images.roles():
        if role not in images:
            console.line("images", f"{role} is not built yet: its tag is not known")
            images[role] = f"berth.local/{role}:not-built-yet"
    running = status.state in {"running", "broken"}
    if not running:
        console.line("cluster", f"{cluster.name} is {status.state}: planned without it; `up` starts it")
    return Ground(cluster.kubeconfig, status.node_address or NO_ADDRESS, images, running)


def existing_ground(console: Console) -> Ground | None:
    """Start the cluster that was made, and give it as ground; None where none was made."""
    from berth.localcluster import Cluster

    cluster = Cluster(cluster_name())
    state = cluster.status().state
    if state == "absent":
        return None
    if state != "running":
        cluster.start(ClusterProgress(console, "cluster"))
    return present_ground(console)
