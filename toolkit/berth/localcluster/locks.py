"""One at a time: who else is at it, and since when."""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PAUSE_SECONDS = 0.1


@contextmanager
def locked(file: Path, doing: str, wait_seconds: float = 900.0) -> Iterator[None]:
    """Hold the lock ``file`` meanwhile; the kernel lets go of it when this process ends, however it ends.

    Raises:
        BusyError: somebody else held it for ``wait_seconds``; says who, what for and since when.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + wait_seconds
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    holder = os.read(descriptor, 4096).decode(errors="replace") or "another process"
                    raise BusyError(
                        f"{file.parent} is in use: {holder}. Wait for it, or end that process."
                    ) from None
                time.sleep(_PAUSE_SECONDS)
                continue
            # Whoever held it before may have removed the file: then this is a lock that nobody else sees.
            if not file.exists() or os.fstat(descriptor).st_ino != file.stat().st_ino:
                continue
            now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} is {doing} since {now}".encode(), 0)
            yield
            return
        finally:
            os.close(descriptor)
