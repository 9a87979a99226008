"""Engine and gateway as two processes that are kept alive, for `./berth serve` and for endpoints of clouds.

A process that dies is started again, with pauses that grow; an engine that is alive and answers no prompt is
killed, which comes to the same. Both end with this process, however it ends: the gateway drains first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import IO

ENGINE_END_SECONDS = 4.0
GATEWAY_FAREWELL_SECONDS = 4.0
"""What a gateway takes beyond its drain: it tells whom it breaks off, and sends its last spans."""
WRONG_SETTINGS = 2
_LOOK_SECONDS, _ASK_SECONDS = 1.0, 2.0
_LIVENESS_SECONDS, _LIVENESS_FAILURES = 10.0, 3
_CRASHES, _WELL_AGAIN_SECONDS = 5, 60.0
_RESTART_FIRST, _RESTART_MOST = 0.2, 5.0
_LAST_LINES, _LONGEST_LINE = 5, 65_536
_LAST_WORDS_SECONDS = 1.0
_OK, _UNAVAILABLE = 200, 503


class SupervisorError(Exception):
    """It cannot be served, or not any more; the message says why. `exit_code` is the process'."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Event:
    """Something that whoever started it may want to know.

    Attributes:
        kind: `weights`, `starting`, `ready`, `restarted`, `killed`, `stopping`, `stopped` or `failed`.
        message: one constant sentence.
        facts: what varies: paths, addresses, seconds.
    """

    kind: str
    message: str
    facts: Mapping[str, object] = field(default_factory=dict)


class Output(Protocol):
    """Where processes write to."""

    def open(self, name: str) -> int:
        """A descriptor for one more process of this name; the caller closes it once the process has it."""

    def last_words(self, name: str) -> str:
        """The last lines of the process that was started last by this name."""


class LogFile:
    """One file for all."""

    def __init__(self, path: Path, log: IO[bytes]) -> None:
        self._path = path
        self._log = log

    def open(self, name: str) -> int:
        """See `Output`."""
        del name
        return os.dup(self._log.fileno())

    def last_words(self, name: str) -> str:
        """See `Output`."""
        del name
        lines = self._path.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return " | ".join(lines) or "it said nothing"


class Forwarded:
    """A descriptor for all, line by line, so that two processes never write into each other's lines.

    Threads, for whoever reads it may stop reading: then a process waits, and its supervisor does not.
    """

    def __init__(self, sink: int) -> None:
        self._sink = sink
        self._lock = threading.Lock()
        self._last: dict[str, tuple[deque[bytes], threading.Thread]] = {}

    def open(self, name: str) -> int:
        """See `Output`."""
        reader, writer = os.pipe()
        lines: deque[bytes] = deque(maxlen=_LAST_LINES)
        thread = threading.Thread(target=self._forward, args=(reader, lines), daemon=True)
        self._last[name] = (lines, thread)
        thread.start()
        return writer

    def last_words(self, name: str) -> str:
        """See `Output`."""
        if name not in self._last:
            return "it said nothing"
        lines, thread = self._last[name]
        thread.join(_LAST_WORDS_SECONDS)
        texts = [line.decode(errors="replace").strip() for line in list(lines)]
        return " | ".join(filter(None, texts)) or "it said nothing"

    def close(self) -> None:
        """Write out what is on its way."""
        for _, thread in self._last.values():
            thread.join(_LAST_WORDS_SECONDS)

    def _forward(self, reader: int, lines: deque[bytes]) -> None:
        with open(reader, "rb") as stream:
            while line := stream.readline(_LONGEST_LINE):
                lines.append(line)
                whole = line if line.endswith(b"\n") else line + b"\n"
                with self._lock, contextlib.suppress(OSError):
                    while whole:
                        whole = whole[os.write(self._sink, whole) :]


class Child:
    """One process, in a session of its own: Ctrl-C is for the parent, which ends it.

    Args:
        name: what messages call it.
        command: without a shell.
        environment: all of it.
        output: where it writes to.
        user: uid and gid that it runs as; None is the parent's.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        output: Output,
        user: tuple[int, int] | None = None,
    ) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self._output = output
        self._user = user
        self.process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.process is not None and self.process.returncode is None

    @property
    def exit_code(self) -> int | None:
        """How it ended; None where it runs, or was never started."""
        return None if self.process is None else self.process.returncode

    def last_words(self) -> str:
        """What it wrote last."""
        return self._output.last_words(self.name)

    async def start(self) -> None:
        """Start it, once more if it has ended.

        Raises:
            SupervisorError: the system would not.
        """
        output = self._output.open(self.name)
        uid, gid = self._user or (None, None)
        try:
            self.process = await asyncio.create_subprocess_exec(
                *self._command,
                env=dict(self._environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                user=uid,
                group=gid,
                extra_groups=None if gid is None else [],
            )
        except OSError as error:
            raise SupervisorError(f"the {self.name} could not be started: {error}") from None
        finally:
            os.close(output)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.process is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def kill(self) -> None:
        """End it and what it started, now; also what is left of it where it has ended."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    async def ended(self, seconds: float | None = None) -> bool:
        """Wait for its end; False if it is still there after `seconds`."""
        if self.process is None:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self.process.wait()
        except TimeoutError:
            return False
        return True


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How to tell whether they are well.

    Attributes:
        engine_url: `/engine` on the gateway's metrics port.
        alive: of the engine's pid whether it still comes round, and why that is thought; may block.
        drain_seconds: longest that the gateway may finish what runs.
        clear: removes what the engine left behind, after each of its ends.
    """

    engine_url: str
    alive: Callable[[int], tuple[bool, str]]
    drain_seconds: float
    clear: Callable[[], None] = _nothing


class Supervisor:
    """Keeps an engine and its gateway alive."""

    def __init__(
        self, engine: Child, gateway: Child, watch: Watch, on_event: Callable[[Event], None]
    ) -> None:
        self.engine = engine
        self.gateway = gateway
        self._watch = watch
        self._on_event = on_event
        self._crashes = 0
        self._well_since: float | None = None
        # Pid of the engine that was proven last.
        self._proven: int | None = None

    async def watch(self, stop: asyncio.Event) -> None:
        """Restart whatever dies and kill an engine that no longer turns, until told to stop.

        Raises:
            SupervisorError: it dies again and again, or refused its settings.
        """
        stopping = asyncio.create_task(stop.wait())
        looking = asyncio.create_task(self._look())
        try:
            while True:
                ends = {asyncio.create_task(child.ended()): child for child in (self.engine, self.gateway)}
                done, _ = await asyncio.wait({stopping, *ends}, return_when=asyncio.FIRST_COMPLETED)
                for task in ends.keys() - done:
                    task.cancel()
                if stopping in done:
                    return
                for task in done:
                    await self._restart(ends[task], stop)
        finally:
            stopping.cancel()
            looking.cancel()

    async def _restart(self, child: Child, stop: asyncio.Event) -> None:
        child.kill()
        if child is self.engine:
            self._watch.clear()
        self._well_since = None
        self._crashes += 1
        if child.exit_code == WRONG_SETTINGS and self._proven is None:
            raise SupervisorError(
                f"the {child.name} refused its settings: {child.last_words()}", WRONG_SETTINGS
            )
        if self._crashes > _CRASHES:
            raise SupervisorError(
                f"the {child.name} died again (exit code {child.exit_code}), {self._crashes} crashes without "
                f"{_WELL_AGAIN_SECONDS:g} s of service between them: {child.last_words()}"
            )
        facts = {"process": child.name, "exit_code": child.exit_code}
        self._on_event(Event("restarted", "a process died and is started again", facts))
        if self._crashes > 1:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(_RESTART_MOST, _RESTART_FIRST * 2 ** (self._crashes - 2))):
                    await stop.wait()
        if not stop.is_set():
            await child.start()

    async def _look(self) -> None:
        """Ask the gateway about the engine every second, and the engine itself now and then."""
        failures, next_check = 0, 0.0
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ASK_SECONDS)) as session:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                process = self.engine.process
                if process is None or process.returncode is not None:
                    failures = 0
                    continue
                proven, wedged = await self._ask(session)
                self._note(process.pid, proven=proven)
                # Until the gateway has met the new one, it speaks of the one before.
                if wedged and process.pid == self._proven:
                    self._kill("it says that it is well, and answers no prompt")
                if process.pid != self._proven or time.monotonic() < next_check:
                    continue
                alive, reason = await asyncio.to_thread(self._watch.alive, process.pid)
                next_check = time.monotonic() + _LIVENESS_SECONDS
                failures = 0 if alive else failures + 1
                if failures >= _LIVENESS_FAILURES:
                    failures = 0
                    self._kill(reason)

    async def _ask(self, session: aiohttp.ClientSession) -> tuple[bool, bool]:
        """Whether the engine is proven, and whether it is wedged; neither where nobody says so."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
            async with session.get(self._watch.engine_url) as response:
                if response.status in {_OK, _UNAVAILABLE}:
                    said = await response.json()
                    return said.get("ready") is True, response.status == _UNAVAILABLE
        return False, False

    def _note(self, pid: int, *, proven: bool) -> None:
        if not proven:
            self._well_since = None
            return
        self._proven = pid
        now = time.monotonic()
        self._well_since = self._well_since or now
        if now - self._well_since >= _WELL_AGAIN_SECONDS:
            self._crashes = 0

    def _kill(self, reason: str) -> None:
        self._on_event(Event("killed", "the engine is killed and will be started again", {"reason": reason}))
        self.engine.kill()

    async def end(self, hurry: asyncio.Event) -> None:
        """Drain the gateway, then end the engine. Told again to stop, the gateway does not wait."""
        self.gateway.signal(signal.SIGTERM)
        hurrying = asyncio.create_task(self._hurry(hurry))
        if not await self.gateway.ended(self._watch.drain_seconds + GATEWAY_FAREWELL_SECONDS):
            self.gateway.kill()
            await self.gateway.ended()
        hurrying.cancel()
        # A stopped process takes no SIGTERM; after the gateway's end the engine has nothing left to lose.
        self.engine.signal(signal.SIGTERM)
        await self.engine.ended(ENGINE_END_SECONDS)
        self.engine.kill()
        await self.engine.ended()
        self._watch.clear()

    async def _hurry(self, hurry: asyncio.Event) -> None:
        await hurry.wait()
        self.gateway.signal(signal.SIGTERM)
