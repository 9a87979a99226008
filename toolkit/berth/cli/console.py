"""Progress for people: one line per event, readable in 80 columns without colour.

Everything goes to standard error, so that standard output holds results only.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

HEARTBEAT_SECONDS = 20.0
# Shorter steps need no forecast and no word at their end.
WORTH_SAYING_SECONDS = 3.0


class Console:
    """Lines with the time since the start; safe to use from several threads."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._started = time.monotonic()
        self._quiet = quiet
        self._lock = threading.Lock()

    def line(self, subject: str, text: str) -> None:
        """Print one event: `  1:05  subject  text`."""
        if self._quiet:
            return
        seconds = int(time.monotonic() - self._started)
        with self._lock:
            click.echo(f"{seconds // 60:3d}:{seconds % 60:02d}  {subject:<12} {text}", err=True)

    @contextmanager
    def step(self, subject: str, text: str, expected_seconds: float | None = None) -> Iterator[Step]:
        """Say that a step began, that it goes on (every 20 s), and how long it took."""
        long = expected_seconds is not None and expected_seconds >= WORTH_SAYING_SECONDS
        about = f" (about {human_seconds(expected_seconds)})" if expected_seconds and long else ""
        self.line(subject, f"{text}{about}")
        began = time.monotonic()
        step = Step()
        done = threading.Event()

        def beat() -> None:
            while not done.wait(HEARTBEAT_SECONDS):
                self.line(subject, f"{human_seconds(time.monotonic() - began)}{about}: {step.detail or text}")

        beater = threading.Thread(target=beat, daemon=True)
        beater.start()
        try:
            yield step
        except BaseException:
            self.line(subject, f"stopped after {human_seconds(time.monotonic() - began)}: {text}")
            raise
        else:
            spent = time.monotonic() - began
            if spent >= WORTH_SAYING_SECONDS:
                self.line(subject, f"done in {human_seconds(spent)}: {text}")
        finally:
            done.set()
            beater.join()


class Step:
    """A step that is under way; its last detail shows in the heartbeat."""

    detail = ""

    def update(self, detail: str) -> None:
        """Say what happens now, in a few words."""
        self.detail = detail


class ClusterProgress:
    """Tells the console what the local cluster does."""

    def __init__(self, console: Console, subject: str) -> None:
        self._console = console
        self._subject = subject

    def step(self, name: str, expected_seconds: float) -> AbstractContextManager[Step]:
        """Enter when a step starts, leave when it ends."""
        return self._console.step(self._subject, name, expected_seconds)


def human_seconds(seconds: float) -> str:
    """Return a duration as people say it: `45 s`, `7 min 20 s`."""
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004 - seconds in a minute
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def human_size(size: int) -> str:
    """Return a size in bytes as people say it: `98.2 MB`."""
    return f"{size / 1e6:.1f} MB"


def curl(url: str, stack: str | None = None) -> str:
    """Return the command that asks the model at `url`, with the key of `stack` where one is needed."""
    key = f'    -H "Authorization: Bearer $(./berth key {stack})" \\\n' if stack else ""
    return (
        f"  curl {url}/v1/chat/completions \\\n{key}"
        "    -H 'Content-Type: application/json' -d \\\n"
        """    '{"messages": [{"role": "user", "content": "What is Kubernetes?"}], "temperature": 0}'"""
    )
