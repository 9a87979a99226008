"""Room for watching files: a node's programs hold about fifteen inotify instances, and a user gets 128.

Without it the next containerd comes up without its CRI plugin ("too many open files"), and no kubelet meets
a runtime. The limit belongs to the whole machine: it is raised while any cluster is there, and given back
with the last one.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from .paths import RUN

LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
ENOUGH = 1024
"""For every node of every cluster that this machine can have, beside what others watch."""
_WAS = RUN / "inotify-instances-were"


def instances() -> int | None:
    """How many a user may have; None where the kernel does not say."""
    try:
        return int(LIMIT.read_text())
    except (OSError, ValueError):
        return None


def ensure() -> None:
    """Raise the limit where it is low and may be raised; a container's may not."""
    was = instances()
    if was is None or was >= ENOUGH:
        return
    RUN.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        LIMIT.write_text(f"{ENOUGH}\n")
        if not _WAS.exists():
            _WAS.write_text(f"{was}\n")


def give_back() -> None:
    """Put the limit back, unless somebody changed it meanwhile."""
    if not _WAS.exists():
        return
    if instances() == ENOUGH:
        with contextlib.suppress(OSError):
            LIMIT.write_text(_WAS.read_text())
    _WAS.unlink(missing_ok=True)
