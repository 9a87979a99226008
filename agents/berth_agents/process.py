"""What every agent's process does alike: it ends by a signal, and says why it ended otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Coroutine


def stop_event() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; to be asked for in a running loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def until_signalled(
    running: Coroutine[None, None, None], log: logging.Logger, stopping: Callable[[], None] = lambda: None
) -> None:
    """Run until SIGTERM or SIGINT; then `stopping` is called, and what runs is cancelled."""
    stop = stop_event()
    task, signalled = asyncio.create_task(running), asyncio.create_task(stop.wait())
    await asyncio.wait({task, signalled}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        log.info("Stopping")
        stopping()
        task.cancel()
    signalled.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def run(
    serving: Coroutine[None, None, None], log: logging.Logger, host: str, port: int, last_words: str
) -> int:
    """Serve to the end: the exit code.

    Args:
        serving: what runs until a signal.
        log: the agent's.
        host: where it listens.
        port: the same.
        last_words: what is logged where it fails in a way nobody foresaw.
    """
    try:
        asyncio.run(serving)
    except OSError as error:
        log.error(  # noqa: TRY400 - its message is all there is to say
            "Cannot listen", extra={"host": host, "port": port, "error": str(error)}
        )
        return 1
    except Exception:
        log.exception(last_words)
        return 1
    return 0
