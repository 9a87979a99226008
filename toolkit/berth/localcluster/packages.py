"""Debian packages that bring services, unpacked into the cache instead of installed.

Installed, `etcd-server` and `containerd` would start services and displace another container engine's
containerd. apt still chooses the version and checks signature and digest; its lists are kept in the cache
too, so the machine's own stay as they are.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .commands import CommandError, environment, run
from .errors import DownloadError, MissingToolError, UnsupportedMachineError
from .locks import locked
from .paths import SCRATCH_PREFIX, cache_folder, remove_remains
from .progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

UNPACKED = ("etcd-server", "containerd", "runc", "containernetworking-plugins")

# Tool on the path -> the Debian package that brings it.
_TOOLS: Mapping[str, str] = {
    "ip": "iproute2",
    "iptables": "iptables",
    "iptables-restore": "iptables",
    "sysctl": "procps",
    "mount": "mount",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setsid": "util-linux",
    "stat": "coreutils",
    "apt-get": "apt",
    "dpkg": "dpkg",
}

_SUPPORTED = {"12": "bookworm", "13": "trixie"}


@dataclass(frozen=True)
class Packages:
    """The unpacked packages."""

    folders: tuple[Path, ...]

    @property
    def path(self) -> list[Path]:
        """The folders to put first on the path."""
        return [
            sub
            for folder in self.folders
            for sub in (folder / "usr/bin", folder / "usr/sbin")
            if sub.exists()
        ]

    def find(self, relative: str) -> Path:
        """The file or folder ``relative`` (such as `usr/sbin/runc`) of whichever package has it."""
        for folder in self.folders:
            if (folder / relative).exists():
                return folder / relative
        raise DownloadError(
            f"none of the packages in {self.folders[0].parent} has {relative}: "
            "delete that folder and start again"
        )

    @property
    def versions(self) -> dict[str, str]:
        """Package name -> Debian version."""
        pairs = (folder.name.split("_", 1) for folder in self.folders)
        return {name: version.replace("%3a", ":") for name, version in pairs}


def release(os_release: Path = Path("/etc/os-release"), machine: str | None = None) -> str:
    """The code name of this machine's Debian release.

    Raises:
        UnsupportedMachineError: it is no Debian 12 or 13 on amd64; says what to do instead.
    """
    fields = {}
    if os_release.exists():
        pairs = (line.split("=", 1) for line in os_release.read_text().splitlines() if "=" in line)
        fields = {key: value.strip().strip('"') for key, value in pairs}
    machine = machine or platform.machine()
    named = _SUPPORTED.get(fields.get("VERSION_ID", ""))
    if fields.get("ID") == "debian" and named and machine == "x86_64":
        return named
    raise UnsupportedMachineError(
        f"this is {fields.get('PRETTY_NAME', 'an unknown system')} on {machine}; "
        "the local cluster is built on Debian 12 or 13 on amd64. "
        "Use a cluster that you have: `berth up local --context NAME` (kind, k3d and minikube make one)"
    )


def missing_tools() -> list[str]:
    """The Debian packages to install before a cluster can start, in alphabetical order; empty when none."""
    path = environment()["PATH"]
    return sorted({package for tool, package in _TOOLS.items() if shutil.which(tool, path=path) is None})


def install_tools(packages: list[str], progress: Progress = SILENT) -> None:
    """Install plain tools with apt-get. Call it with the user's consent only; needs root.

    Raises:
        DownloadError: apt-get failed; the message holds what it said.
    """
    if not packages:
        return
    env = {**os.environ, **environment(), "DEBIAN_FRONTEND": "noninteractive"}
    with progress.step(f"installing {', '.join(packages)}", 15):
        command = ("apt-get", "install", "--yes", "--no-install-recommends", *packages)
        try:
            try:
                run(*command, env=env, timeout=600)
            except CommandError:
                # The lists may be absent or older than what the mirror has.
                run("apt-get", "update", env=env, timeout=600)
                run(*command, env=env, timeout=600)
        except CommandError as error:
            raise DownloadError(f"could not install {', '.join(packages)}: {error}") from None


def unpacked() -> Packages | None:
    """The packages when all are in the cache, else None."""
    store = _store()
    found = []
    for name in UNPACKED:
        versions = [folder for folder in store.glob(f"{name}_*") if folder.is_dir()]
        if not versions:
            return None
        found.append(max(versions, key=lambda folder: folder.stat().st_mtime))
    return Packages(tuple(found))


def _store() -> Path:
    return cache_folder() / "debian" / release()


def fetch_packages(progress: Progress = SILENT) -> Packages:
    """Return the unpacked packages, fetching what is missing (44 MB).

    Raises:
        DownloadError: the mirror could not be reached; what is in the cache stays as it was.
    """
    if (have := unpacked()) is not None:
        return have
    store = _store()
    store.mkdir(parents=True, exist_ok=True)
    with (
        locked(store / ".lock", "fetching packages"),
        progress.step("fetching containerd, etcd, runc and CNI", 15) as step,
    ):
        if (have := unpacked()) is not None:
            return have
        remove_remains(store)
        with tempfile.TemporaryDirectory(dir=store, prefix=SCRATCH_PREFIX) as scratch:
            step.update("asking apt")
            _download(Path(scratch), store / ".apt")
            for file in sorted(Path(scratch).glob("*.deb")):
                name, version, _ = file.name.split("_")
                step.update(f"unpacking {name} {version}")
                folder = Path(scratch, "unpacked", f"{name}_{version}")
                folder.mkdir(parents=True)
                run("dpkg", "-x", file, folder)
                if not (target := store / folder.name).exists():
                    folder.rename(target)
    have = unpacked()
    if have is None:
        raise DownloadError(f"apt-get downloaded, but {store} does not hold all of {', '.join(UNPACKED)}")
    return have


def _download(folder: Path, apt: Path) -> None:
    env = {**os.environ, **environment()}
    patience = ("-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=20")
    download = ("env", "-C", folder, "apt-get", "-o", "APT::Sandbox::User=root", *patience, "-q")
    try:
        try:
            run(*download, "download", *UNPACKED, env=env, timeout=600)
        except CommandError:
            # No lists, or lists older than the mirror: fetch lists of our own.
            lists = apt / "lists"
            (lists / "partial").mkdir(parents=True, exist_ok=True)
            own = ("-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={apt}")
            run(*download, *own, "update", env=env, timeout=600)
            run(*download, *own, "download", *UNPACKED, env=env, timeout=600)
    except MissingToolError as error:
        raise DownloadError(str(error)) from None
    except CommandError as error:
        raise DownloadError(
            f"could not fetch {', '.join(UNPACKED)}: {error}\n"
            "Is this machine online, and does /etc/apt name a mirror that it reaches? Then start again."
        ) from None
