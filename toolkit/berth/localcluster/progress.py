"""How long-running functions say what they are doing, without printing."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Step(Protocol):
    """A step that is under way."""

    def update(self, detail: str) -> None:
        """Say what happens now, in a few words. Called from the thread that started the step."""


class Progress(Protocol):
    """What a caller passes to hear about steps. Steps may overlap when functions run in threads."""

    def step(self, name: str, expected_seconds: float) -> AbstractContextManager[Step]:
        """Enter when a step starts and leave when it ends, by an exception if it failed.

        ``expected_seconds`` is what the step takes on two quiet cores.
        """


class _SilentStep:
    def update(self, detail: str) -> None:
        del detail


class Silent:
    """Progress that nobody watches."""

    def step(self, name: str, expected_seconds: float) -> AbstractContextManager[Step]:
        """Do nothing."""
        del name, expected_seconds
        return nullcontext(_SilentStep())


SILENT: Progress = Silent()
