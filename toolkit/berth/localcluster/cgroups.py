"""The cgroup below which a node's pods live, on cgroup v1 and v2.

Kubelet and runc use the `cgroupfs` driver, so no systemd is asked; it tolerates groups beside its own.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from .errors import CleanupError, UnsupportedMachineError
from .processes import wait_until

ROOT = Path("/sys/fs/cgroup")
UNIFIED = 2
"""The version that has one hierarchy."""
_NEEDED = ("cpu", "cpuset", "memory", "pids")


def version(root: Path = ROOT) -> int:
    """2 where this machine has the unified hierarchy alone, else 1."""
    return UNIFIED if (root / "cgroup.controllers").exists() else 1


def hierarchies(root: Path = ROOT) -> list[Path]:
    """The root folder of every hierarchy that pods are put in."""
    if version(root) == UNIFIED:
        return [root]
    # A link such as cpu -> cpu,cpuacct names a hierarchy twice.
    return sorted(
        {entry.resolve() for entry in root.iterdir() if entry.is_dir() and (entry / "tasks").exists()}
    )


def missing_controllers(root: Path = ROOT) -> list[str]:
    """What kubelet needs and this machine does not have."""
    if version(root) == UNIFIED:
        has = set((root / "cgroup.controllers").read_text().split())
    else:
        has = {name for entry in hierarchies(root) for name in entry.name.split(",")}
    return [name for name in _NEEDED if name not in has]


def ensure(name: str, root: Path = ROOT) -> None:
    """Make the group ``name`` below the root of every hierarchy, with the controllers that kubelet needs.

    Raises:
        UnsupportedMachineError: the kernel does not allow it, as in a container that may not write there.
    """
    try:
        _ensure(name, root)
    except OSError as error:
        raise UnsupportedMachineError(
            f"the cgroup {name} cannot be made below {root}: {error.strerror or error} ({error.filename}). "
            "In a container this needs the host's cgroup namespace and a writable /sys/fs/cgroup; else use "
            "another machine, or a cluster that you have: `berth up local --context NAME`"
        ) from None


def _ensure(name: str, root: Path) -> None:
    for hierarchy in hierarchies(root):
        group = hierarchy / name
        if version(root) == UNIFIED:
            _enable(hierarchy)
            group.mkdir(exist_ok=True)
            _enable(group)
            continue
        group.mkdir(exist_ok=True)
        # A new cpuset has no processor and no memory until it is told, and no process can enter it.
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (group / file).exists() and not (group / file).read_text().strip():
                (group / file).write_text((hierarchy / file).read_text())


def _enable(group: Path) -> None:
    wanted = set((group / "cgroup.controllers").read_text().split())
    enabled = set((group / "cgroup.subtree_control").read_text().split())
    for controller in sorted({*_NEEDED, "io", "hugetlb"} & wanted - enabled):
        (group / "cgroup.subtree_control").write_text(f"+{controller}")


def remove(name: str, root: Path = ROOT) -> None:
    """Remove the group ``name`` with all below it. Its processes must be gone; they take a moment to leave.

    Raises:
        CleanupError: a group is still in use after 10 s.
    """
    # Beside v1's hierarchies there may be a v2 one without controllers, in which runc makes groups as well.
    unified = [root / "unified"] if (root / "unified" / "cgroup.procs").exists() else []
    groups = [hierarchy / name for hierarchy in (*hierarchies(root), *unified)]
    if not wait_until(lambda: all(_remove_tree(group) for group in groups), seconds=10):
        left = [str(group) for group in groups if group.exists()]
        raise CleanupError(
            f"these cgroups are still in use: {', '.join(left)}; `cat <group>/cgroup.procs` names by whom"
        )


def _remove_tree(group: Path) -> bool:
    if not group.exists():
        return True
    for folder in sorted(
        (path for path in group.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts)
    ):
        with contextlib.suppress(OSError):  # busy, or gone meanwhile; the caller asks again
            folder.rmdir()
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()
