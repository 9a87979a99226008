"""Holds back text that may be the beginning of a stop sequence, for engines that do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class HeldText:
    """Text as it may be shown: what could still become a stop sequence waits.

    Args:
        stops: the stop sequences; without any nothing is held.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._longest = max((len(stop) for stop in stops), default=0)
        self._held = ""

    def add(self, text: str) -> str:
        """Take text; what may be shown of all that was taken and not yet shown."""
        if not self._longest:
            return text
        whole = self._held + text
        for size in range(min(self._longest, len(whole)), 0, -1):
            tail = whole[-size:]
            # A whole stop sequence waits, too: the engine says next that it was one.
            if any(stop.startswith(tail) for stop in self._stops):
                self._held = tail
                return whole[:-size]
        self._held = ""
        return whole

    def end(self, stop: str) -> str:
        """What is left to show at the end.

        Args:
            stop: the stop sequence that ended it, "" for none. It is not shown, nor is a beginning of it that
                the engine has sent before it knew.
        """
        held, self._held = self._held, ""
        if not stop:
            return held
        before, found, _ = held.partition(stop)
        if found:
            return before
        for size in range(min(len(stop), len(held)), 0, -1):
            if stop.startswith(held[-size:]):
                return held[:-size]
        return held
