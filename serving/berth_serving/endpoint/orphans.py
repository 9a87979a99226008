"""Being process 1 of a container: whoever loses its parent becomes a child of this process."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PR_SET_CHILD_SUBREAPER = 36
_REAP_SECONDS = 1.0


def adopt() -> None:
    """Become the parent of orphans also where this process is not number 1, as under `docker run --init`."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


async def reap(known: Callable[[], set[int]]) -> None:
    """Take the exit codes of orphans that ended, for ever; those of `known` processes are somebody else's."""
    before: set[int] = set()
    while True:
        await asyncio.sleep(_REAP_SECONDS)
        ended = {pid for pid, state in _children() if state == "Z"} - known()
        # Seen twice: one that was started just now is not known yet.
        for pid in ended & before:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - it has ended
        before = ended


def kill(known: Callable[[], set[int]]) -> None:
    """Kill the orphans, who hold an engine's memory and ports."""
    for pid, state in _children():
        if state != "Z" and pid not in known():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _children() -> Iterator[tuple[int, str]]:
    """Pid and state of every child of this process."""
    own = str(os.getpid())
    for name in os.listdir("/proc"):  # noqa: PTH208 - names, of which a container has few
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:  # noqa: PTH123 - as above
            state, parent = file.read().rpartition(") ")[2].split()[:2]
            if parent == own:
                yield int(name), state
