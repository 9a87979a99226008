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

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth.localcluster import Cluster


@dataclass(frozen=True)
class Ground:
    """A cluster that runs, and the references of the images in it by role."""

    cluster: Cluster
    images: Mapping[str, str]


def consent_to_tools(*, yes: bool, console: Console | None = None) -> None:
    """Install the Debian tools that the local cluster needs, if any is missing and the user agrees.

    Raises:
        UserError: the user did not agree, or is not root; nothing was changed.
    """
    from berth.localcluster import install_tools, missing_tools  # noqa: PLC0415 - only commands with a cluster pay

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


def prepare_ground(console: Console, *, yes: bool, simulated_gpus: int | None) -> Ground:
    """Build what is missing, start or heal the cluster, and put the images into it.

    The compiler keeps both cores busy for minutes the first time; images are made beside it.
    """
    import berth_images  # noqa: PLC0415 - only commands with a cluster pay

    from berth.localcluster import Cluster  # noqa: PLC0415

    consent_to_tools(yes=yes, console=console)
    cluster = Cluster()
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
    for image in built.values():
        if not cluster.has_image(image.reference):
            with console.step("images", f"importing {image.reference}"):
                cluster.import_image(image.tar)
    return Ground(cluster, {role: image.reference for role, image in built.items()})
