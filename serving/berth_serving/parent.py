"""Tying a child process to its parent: what `./berth serve` started ends with it, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal

PARENT_VARIABLE = "BERTH_PARENT_PID"
_PR_SET_PDEATHSIG = 1


def end_with_parent(how: signal.Signals) -> None:
    """Ask the kernel for a signal when the parent dies, if BERTH_PARENT_PID names one; else do nothing."""
    parent = os.environ.get(PARENT_VARIABLE, "")
    if not parent.isdigit():
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(how), 0, 0, 0)
    if os.getppid() != int(parent):
        # It died before the kernel was asked.
        os.kill(os.getpid(), signal.SIGKILL)
