"""Ending work that is under way, for a reason: the client left, the engine was lost, the time is over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Interruptible:
    """Runs its body until somebody calls `interrupt`; then it is cancelled and the reason raised instead.

    A cancellation from elsewhere passes through unchanged.
    """

    __slots__ = ("_reason", "_task")

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None
        self._reason: Exception | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        return self

    def interrupt(self, reason: Exception) -> None:
        """Cancel the body; the first reason wins, and nothing happens once the body has ended."""
        if self._task is not None and self._reason is None:
            self._reason = reason
            self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._reason is None or task is None:
            return
        cancelled_elsewhere = task.uncancel() > 0
        if kind is not None and issubclass(kind, asyncio.CancelledError) and not cancelled_elsewhere:
            raise self._reason from None
