"""How many CPUs this process may use: affinity and cgroup quota, version 1 and 2."""

from __future__ import annotations

import os
from pathlib import Path

_V1_CONTROLLERS = ("cpu", "cpu,cpuacct")


def cpu_limit(root: Path = Path("/"), affinity: int | None = None) -> float:
    """CPUs this process may use at once, the smallest of its affinity and every quota above it.

    Args:
        root: where /proc and /sys are found.
        affinity: CPUs of the affinity mask; asked of the system unless given.
    """
    limits = [float(affinity if affinity is not None else len(os.sched_getaffinity(0)))]
    paths = _own_paths(root)
    base = root / "sys/fs/cgroup"
    for path in _upwards(base, paths.get("")):
        quota = _read(path / "cpu.max").split()
        if len(quota) == 2 and quota[0].isdigit():  # noqa: PLR2004 - quota and period
            limits.append(int(quota[0]) / int(quota[1]))
    for controller in _V1_CONTROLLERS:
        for path in _upwards(base / controller, paths.get("cpu")):
            quota_us, period_us = _read(path / "cpu.cfs_quota_us"), _read(path / "cpu.cfs_period_us")
            if quota_us.isdigit() and period_us.isdigit():
                limits.append(int(quota_us) / int(period_us))
    return min(limits)


def threads(limit: float, machine: int | None = None) -> int:
    """How many threads llama.cpp should compute with: the whole CPUs of a limit, never all of the machine's.

    Its threads wait for each other, spinning, after every operation; one that is throttled or has to share
    its CPU holds up all. Measured on two CPUs beside one busy process (2026-11-23): two threads gave 2 to 84
    tokens/s, one gave 55 to 78.
    """
    cpus = machine if machine is not None else os.cpu_count() or 1
    return max(1, min(int(limit), cpus - 1))


def _own_paths(root: Path) -> dict[str, str]:
    """This process' cgroup per controller; "" is version 2's."""
    paths = {}
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def _upwards(base: Path, path: str | None) -> list[Path]:
    """The cgroup and all above it up to the mount; in a container, the mount itself is the container's."""
    found = [base]
    if path:
        below = base / path.lstrip("/")
        found += [one for one in (below, *below.parents) if one.is_relative_to(base)]
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
