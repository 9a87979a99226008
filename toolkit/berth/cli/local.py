"""The ground of a local stack: a cluster on this machine, and the images in it."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from berth.cli.console import ClusterProgress, Console
from berth.cli.errors import UserError
from berth.cli.paths import cluster_name

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping
    from pathlib import Path

    from berth_images import BuiltImage

    from berth.localcluster import Cluster, Status


# Findings of the preflight without which there is no cluster; tools can be installed, memory may suffice.
NEEDED = frozenset({"root", "machine", "cgroups", "space", "addresses"})


@dataclass(frozen=True)
class Ground:
    """A cluster on this machine as a stack needs it, with the references of the images by role."""

    kubeconfig: Path
    node_address: str
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


def prepare_ground(
    console: Console, *, yes: bool, simulated_gpus: int | None, metrics_server: bool, settings: Container[str]
) -> Ground:
    """Build what is missing, start or heal the cluster, and put the images into it.

    The compiler keeps both cores busy for minutes the first time; images are made beside it.
    """
    import berth_images

    from berth.localcluster import Cluster

    consent_to_tools(yes=yes, console=console)
    cluster = Cluster(cluster_name())
    images = _Beside(
        lambda: berth_images.build_all(
            berth_images.roles_for(settings), progress=lambda text: console.line("images", text)
        ),
        console,
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


def present_ground(console: Console, settings: Container[str]) -> Ground:
    """Say what cluster and images there are; make none."""
    from berth.localcluster import Cluster

    cluster = Cluster(cluster_name())
    return _as_it_is(cluster, cluster.status(), console, settings)


def _as_it_is(cluster: Cluster, status: Status, console: Console, settings: Container[str]) -> Ground:
    import berth_images

    images = {role: image.reference for role, image in berth_images.find().items()}
    for role in berth_images.roles_for(settings):
        if role not in images:
            console.line("images", f"{role} is not built yet: its tag is not known")
            images[role] = f"berth.local/{role}:not-built-yet"
    running = status.state in {"running", "broken"} and bool(status.node_address)
    if not running:
        console.line("cluster", f"{cluster.name} is {status.state}: planned without it; `up` starts it")
    return Ground(cluster.kubeconfig, status.node_address or NO_ADDRESS, images, running)


def existing_ground(console: Console, settings: Container[str]) -> Ground | None:
    """Start the cluster that was made, and give it as ground; None where none was made."""
    from berth.localcluster import Cluster

    cluster = Cluster(cluster_name())
    status = cluster.status()
    if status.state == "absent":
        return None
    if status.state != "running":
        cluster.start(ClusterProgress(console, "cluster"))
        status = cluster.status()
    return _as_it_is(cluster, status, console, settings)
