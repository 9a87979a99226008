"""Finding and ending processes without ever touching somebody else's.

A process is known by its pid together with its start time: the kernel gives a pid again, but never both.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PROC = Path("/proc")
_STATE_FIELD, _PARENT_FIELD, _START_FIELD = 0, 1, 19  # of /proc/PID/stat, after the name in parentheses


@dataclass(frozen=True)
class Identity:
    """One process of this machine since it was booted."""

    pid: int
    start: int
    """Clock ticks from boot to the process's start."""
    boot: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The identity of ``pid``, or None when there is no such process, or only its zombie."""
        try:
            stat = (_PROC / str(pid) / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = stat.rpartition(")")[2].split()
        if fields[_STATE_FIELD] in "ZX":
            return None
        return cls(pid, int(fields[_START_FIELD]), boot_id())

    @property
    def alive(self) -> bool:
        """Whether this very process runs."""
        return Identity.of(self.pid) == self

    def kill(self) -> None:
        """End the process at once, if it still runs."""
        if not self.send(signal.SIGKILL):
            return
        # It may be a child of ours when a test starts clusters; reap it then.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)

    def send(self, number: signal.Signals) -> bool:
        """Send it a signal, if it still runs; say whether there was a process of that number."""
        try:
            # The descriptor pins the process, so the check and the signal mean the same one.
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if self.alive:
                signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True

    def to_json(self) -> str:
        """The text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Identity | None:
        """Read what `to_json` wrote; None when it was cut short."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None


def boot_id() -> str:
    """A name of this boot of the machine."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def all_pids() -> Iterator[int]:
    """The pid of every process that this machine shows."""
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            yield int(entry.name)


def descendants(pid: int) -> list[int]:
    """All that ``pid`` started, and what that started, and so on; without ``pid`` itself."""
    children: dict[int, list[int]] = {}
    for one in all_pids():
        try:
            stat = (_PROC / str(one) / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parent = int(stat.rpartition(")")[2].split()[_PARENT_FIELD])
        children.setdefault(parent, []).append(one)
    found = list(children.get(pid, ()))
    for one in found:
        found += children.get(one, ())
    return found


def arguments(pid: int) -> list[str]:
    """The command line of ``pid``; empty for a kernel thread, a zombie, or one that is gone."""
    try:
        raw = (_PROC / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []
    return [os.fsdecode(part) for part in raw.split(b"\0")[:-1]]


def namespace(pid: int, kind: str) -> int | None:
    """The number of the namespace of ``kind`` (`pid`, `net`, `mnt`) that ``pid`` is in.

    None when the process is gone, or so foreign that even root may not look.
    """
    try:
        return (_PROC / str(pid) / "ns" / kind).stat().st_ino
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def resident_bytes(pid: int) -> int:
    """Memory that ``pid`` has resident, in bytes; 0 when it is gone."""
    try:
        pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def wait_until(condition: Callable[[], bool], seconds: float, pause: float = 0.05) -> bool:
    """Ask ``condition`` until it holds or ``seconds`` are over; say whether it held."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True
