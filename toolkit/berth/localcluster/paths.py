"""Where everything lies.

What can be fetched or built again is in the user's cache folder. What a running cluster has outside of its
own folder is below /run/berth/<slot>, which is short (a socket's path holds 107 bytes) and empty after a
reboot.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from .errors import ClusterNameError

RUN = Path("/run/berth")

# A node's name is the cluster's and a number, and goes into a label of 63 characters.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")


def cache_folder() -> Path:
    """The user's cache: ``$BERTH_CACHE``, else ``$XDG_CACHE_HOME/berth``, else ``~/.cache/berth``."""
    if own := os.environ.get("BERTH_CACHE"):
        return Path(own).absolute()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).absolute() / "berth"
    return Path.home() / ".cache" / "berth"


SCRATCH_PREFIX = ".new-"


def remove_remains(folder: Path) -> None:
    """Remove what a process that was killed left half-made in ``folder``; hold the folder's lock."""
    for remains in folder.glob(f"{SCRATCH_PREFIX}*"):
        shutil.rmtree(remains)


def check_name(name: str) -> str:
    """Return ``name`` if it can be a cluster's, else raise `ClusterNameError`."""
    if not _NAME.fullmatch(name):
        raise ClusterNameError(
            f"cluster name {name!r}: want 1 to 40 lower-case letters, digits and hyphens, "
            "beginning and ending with a letter or a digit"
        )
    return name


def clusters_folder() -> Path:
    """The folder with one folder per cluster."""
    return cache_folder() / "clusters"


@dataclass(frozen=True)
class ClusterPaths:
    """The files of one cluster."""

    root: Path

    @classmethod
    def of(cls, name: str) -> ClusterPaths:
        """The paths of the cluster called ``name``, which need not exist."""
        return cls(clusters_folder() / check_name(name))

    @property
    def lock(self) -> Path:
        """Held by whoever changes the cluster. Beside its folder, so that it outlives a delete."""
        return self.root.parent / f".{self.root.name}.lock"

    @property
    def config(self) -> Path:
        """What the cluster was made with; written first, so that a half-made cluster can be deleted."""
        return self.root / "cluster.json"

    @property
    def links(self) -> Path:
        """The names of the clusters that it is linked with."""
        return self.root / "links.json"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, mode 0600."""
        return self.root / "kubeconfig"

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.root / "pki"

    @property
    def etcd(self) -> Path:
        """Etcd's data."""
        return self.root / "etcd"

    @property
    def volumes(self) -> Path:
        """One folder per persistent volume."""
        return self.root / "volumes"

    @property
    def logs(self) -> Path:
        """One file per process."""
        return self.root / "logs"

    @property
    def units(self) -> Path:
        """The scripts that start the processes, and who runs them."""
        return self.root / "units"

    @property
    def images(self) -> Path:
        """Image archives that we write ourselves."""
        return self.root / "images"

    @property
    def warm_images(self) -> Path:
        """Images laid ready for further nodes, a folder per set."""
        return self.root / "warm-images"

    def node(self, index: int) -> Path:
        """The folder of node ``index`` (from 1)."""
        return self.root / f"node{index}"


def run_folder(slot: int) -> Path:
    """Sockets and network namespaces of the cluster in ``slot``."""
    return RUN / f"cluster{slot}"
