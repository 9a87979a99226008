"""Tying a child process to its parent: what `./berth serve` started ends with it, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PARENT_VARIABLE = "BERTH_PARENT_PID"
_PR_SET_PDEATHSIG = 1
# What Python ignores would stay ignored in what follows it. PATH is that of the environment given.
_TIE = f"""
import ctypes, os, signal, sys
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, {int(signal.SIGKILL)}, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{{sys.argv[2]}}: {{error.strerror}}")
"""


def end_with_parent(how: signal.Signals) -> None:
    """Ask the kernel for a signal when the parent dies, if BERTH_PARENT_PID names one; else do nothing."""
    parent = os.environ.get(PARENT_VARIABLE, "")
    if not parent.isdigit():
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(how), 0, 0, 0)
    if os.getppid() != int(parent):
        # It died before the kernel was asked.
        os.kill(os.getpid(), signal.SIGKILL)


def tied(command: Sequence[str]) -> list[str]:
    """A command that becomes another one, a program that is not ours, once it is tied to this process.

    The interpreter that ties it heeds none of the environment, which is all the other's.
    """
    return [sys.executable, "-I", "-S", "-c", _TIE, str(os.getpid()), *command]
