"""The process in which a Pulumi program runs, seen from the deployer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ProgramError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping

_LAUNCHER = Path(__file__).with_name("launcher.py")
_FOLDER_PREFIX = "berth-"
_LEFT_AFTER_SECONDS = 24 * 3600  # a process number says little where containers share a folder
_SOCKET_PATH_LIMIT = 90  # of the 107 bytes that a unix socket's address may have
_GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL
_FORK_SECONDS = 2.0  # for a process that is no longer wanted to be there, so that it can be ended
OUTPUT_LIMIT = 256 * 1024  # bytes of a program's output that are kept
_START_SECONDS = 180.0  # to import the SDK and what is preloaded, from a cold disk on a busy machine
_NOT_FOR_PROGRAMS = ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE")


@dataclass
class Ended:
    """How a program's process ended, and the last of what it printed."""

    code: int
    output: str
    hung: str = ""  # where it stood when it was stopped for doing nothing


@dataclass
class Child:
    """One process that the interpreter forked: a program, or a policy pack.

    Attributes:
        pid: its process number, once it runs.
        exit: its exit code; minus the signal's number where one ended it.
        output: the last of what it printed, all of it for a program, its standard output for a pack.
        errors: the same of a pack's standard error.
    """

    pid: asyncio.Future[int]
    exit: asyncio.Future[int]
    output: bytearray = field(default_factory=bytearray)
    errors: bytearray = field(default_factory=bytearray)

    def fail(self, error: ProgramError) -> None:
        """Whoever waits for this run gets the error."""
        for future in (self.pid, self.exit):
            if not future.done():
                future.set_exception(error)
                future.exception()  # nobody waiting is no mistake


class Interpreter:
    """One warm Python that runs programs, each in a fork of its own; any number of commands may share it.

    Args:
        python: the interpreter; the one that runs the deployer without it.
        preload: modules to import once, before any program runs, such as `pulumi_aws.eks`; one that is not
            there is left to the program to miss. Never the program's own: every fork would share it.
    """

    def __init__(self, python: Path | None = None, preload: Iterable[str] = ()) -> None:
        self._python = str(python or sys.executable)
        self._preload = tuple(preload)
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._runs: dict[int, Child] = {}
        self._number = 0
        self._heard = b""
        self._sending = threading.Lock()
        self._problem = ""
        self._beside: dict[str, Interpreter] = {}
        self._answered = False
        self._unwanted: set[int] = set()  # runs that were given up before their process was there

    def beside(self, python: Path | None) -> Interpreter:
        """The interpreter for what needs another Python, such as a policy pack; ends with this one."""
        folder = os.path.realpath((python or Path(self._python)).parent)
        if folder == os.path.realpath(Path(self._python).parent):
            return self
        return self._beside.setdefault(folder, Interpreter(python, ("pulumi_policy",)))

    def start(self) -> None:
        """Start the interpreter, once; it imports the SDK while the caller goes on.

        One that was killed, by a machine out of memory for example, is started again.
        """
        if self._process is not None:
            if self._runs or self._process.poll() is None:
                return
            self.close()
            self._heard, self._problem, self._answered = b"", "", False
        ours, theirs = socket.socketpair()
        environment = {k: v for k, v in os.environ.items() if k not in _NOT_FOR_PROGRAMS}
        try:
            self._process = subprocess.Popen(
                [self._python, "-P", str(_LAUNCHER), str(theirs.fileno()), *self._preload],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=environment,
            )
        except OSError as error:
            ours.close()
            raise ProgramError(f"cannot start {self._python}: {error.strerror}") from None
        finally:
            theirs.close()
        self._control = ours

    def _read(self) -> None:
        """Take in what the interpreter says; called when there is something, and at its end."""
        control = self._control
        chunk = b""
        if control is not None:
            with contextlib.suppress(OSError):
                chunk = control.recv(65536, socket.MSG_DONTWAIT)
        if not chunk:
            self._problem = self._problem or "the process that runs programs was killed"
            if control is not None:
                asyncio.get_running_loop().remove_reader(control)
        *lines, self._heard = (self._heard + chunk).split(b"\n")
        for line in lines:
            self._take(json.loads(line))
        if self._problem:
            for run in self._runs.values():
                run.fail(ProgramError(self._problem))

    def _take(self, message: Mapping[str, Any]) -> None:
        self._problem = message.get("failed", self._problem)
        self._answered = True
        if "pid" in message and message.get("run") in self._unwanted:
            with contextlib.suppress(ProcessLookupError):
                os.kill(message["pid"], signal.SIGKILL)
            self._unwanted.discard(message["run"])
            self._listen_no_more()
        run = self._runs.get(message.get("run", -1))
        if run is None:
            return
        if "pid" in message and not run.pid.done():
            run.pid.set_result(message["pid"])
        if "exit" in message and not run.exit.done():
            run.exit.set_result(message["exit"])

    async def run(
        self, request: Mapping[str, Any], *, idle_seconds: float, idle_since: Callable[[], float | None]
    ) -> Ended:
        """Run one program to its end.

        Args:
            request: what the launcher reads, without its number.
            idle_seconds: how long the program may do nothing that the deployer sees.
            idle_since: the event loop's time since which the program owes the next call, None while the
                deployer owes an answer.

        Raises:
            ProgramError: the interpreter does not start or was killed.
        """
        async with self.child(request) as run:
            hung = await self._watch(run, run.pid.result(), idle_seconds, idle_since)
            code = await run.exit
        return Ended(code, run.output.decode(errors="replace"), hung)

    @contextlib.asynccontextmanager
    async def child(
        self, request: Mapping[str, Any], *, apart: bool = False, grace: float = _GRACE_SECONDS
    ) -> AsyncIterator[Child]:
        """A process of its own for a request, which has begun; at the end of the block it is ended.

        Args:
            request: what the launcher reads, without its number.
            apart: whether its standard error is kept apart from its standard output.
            grace: seconds between SIGTERM and SIGKILL; with 0 it is killed at once.

        Raises:
            ProgramError: the interpreter does not start or was killed.
        """
        self.start()
        control = self._control
        assert control is not None  # noqa: S101 - for the type checker; start() sets it
        loop = asyncio.get_running_loop()
        run = Child(loop.create_future(), loop.create_future())
        self._number += 1
        number = self._number
        self._runs[number] = run
        loop.add_reader(control, self._read)
        collectors: list[asyncio.Task[None]] = []
        try:
            try:
                collectors = await self._send(control, {**request, "run": number}, run, apart=apart)
                await self._begun(run)
                yield run
            finally:
                # One that still imports is not waited for: nothing of this has begun; it ends as it begins.
                try:
                    await _to_the_end(_end(run, grace, _FORK_SECONDS if self._answered else 0.0))
                finally:
                    self._unwanted |= {number} if not run.pid.done() else set()
        finally:
            del self._runs[number]
            self._listen_no_more()
            if collectors:
                await asyncio.wait(collectors, timeout=1.0)  # a child of its own may hold a pipe open
            for collector in collectors:
                collector.cancel()

    def _listen_no_more(self) -> None:
        """Where nothing is to be heard of: neither a run, nor one that was given up before it began."""
        if not self._runs and not self._unwanted and self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control)

    async def _begun(self, run: Child) -> int:
        """The program's process id; it comes when the interpreter has imported the SDK."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                return await asyncio.shield(run.pid)
        except TimeoutError:
            raise ProgramError(f"{self._python}: no pulumi within {_START_SECONDS:.0f} s") from None

    async def _send(
        self, control: socket.socket, request: Mapping[str, Any], run: Child, *, apart: bool
    ) -> list[asyncio.Task[None]]:
        pipes = [os.pipe() for _ in range(2 if apart else 1)]
        data = json.dumps(request).encode()

        def send() -> None:
            with self._sending:  # each run sends from a thread of its own
                ends = [pipes[0][1], pipes[-1][1]]
                socket.send_fds(control, [struct.pack("!I", len(data))], ends)
                control.sendall(data)

        sending = asyncio.get_running_loop().run_in_executor(None, send)
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            await asyncio.wait([sending])  # the thread still uses the pipes
            for read, _ in pipes:
                os.close(read)
            raise
        except OSError:
            for read, _ in pipes:
                os.close(read)
            self._read()
            raise ProgramError(self._problem) from None
        finally:
            for _, write in pipes:
                os.close(write)
        kept = (run.output, run.errors)
        return [
            asyncio.create_task(_collect(read, into)) for (read, _), into in zip(pipes, kept, strict=False)
        ]

    async def _watch(
        self, run: Child, pid: int, idle_seconds: float, idle_since: Callable[[], float | None]
    ) -> str:
        """Wait for the end; stop a program that does nothing, and say where it stood."""
        loop = asyncio.get_running_loop()
        while True:
            since = idle_since()
            left = idle_seconds if since is None else since + idle_seconds - loop.time()
            if left <= 0:
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, 1.0)):
                    await asyncio.shield(run.exit)
                    return ""
        before = len(run.output)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR1)
            await asyncio.sleep(0.3)  # for the stack to be written
        where = run.output[before:].decode(errors="replace")
        await _stop(run, pid, _GRACE_SECONDS)
        return _innermost(where) or "it does not say where"

    def close(self) -> None:
        """End the interpreter and with it every program that still runs."""
        for other in self._beside.values():
            other.close()
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Wait for it however often the waiting is cancelled, which it then still is: nothing is left behind."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _end(run: Child, grace: float, patience: float) -> None:
    """End the process, if it has not ended; one that was only asked for is waited for some seconds."""
    with contextlib.suppress(TimeoutError, ProgramError):
        async with asyncio.timeout(patience):
            await asyncio.shield(run.pid)
    if run.pid.done() and not run.pid.exception() and not run.exit.done():
        await _stop(run, run.pid.result(), grace)


async def _stop(run: Child, pid: int, grace: float) -> None:
    """SIGTERM, then SIGKILL, to the program and what it started."""
    for number in (signal.SIGTERM, signal.SIGKILL) if grace else (signal.SIGKILL,):
        try:
            os.killpg(pid, number)
        except ProcessLookupError:  # so young that it has no process group of its own yet; or gone
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace or _GRACE_SECONDS):
                await asyncio.shield(run.exit)
                return


async def _collect(pipe: int, output: bytearray) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", buffering=0)
    )
    try:
        while chunk := await reader.read(65536):
            output += chunk
            del output[:-OUTPUT_LIMIT]
    finally:
        transport.close()


def _innermost(stack: str) -> str:
    """The first line of a faulthandler dump that is the user's code."""
    frames = [line.strip() for line in stack.splitlines() if line.strip().startswith("File ")]
    own = [f for f in frames if "site-packages" not in f and "/asyncio/" not in f and "launcher.py" not in f]
    return (own or frames or [""])[0]


def private_folder() -> Path:
    """A folder for sockets that only this user may enter, with a path short enough for them.

    What a killed process left is removed after a day; the folders' names carry its number.
    """
    prefix = f"{_FOLDER_PREFIX}{os.getpid()}-"
    for parent in {tempfile.gettempdir(), "/tmp"}:  # noqa: S108 - mkdtemp makes what is in there
        _sweep(Path(parent))
    try:
        folder = tempfile.mkdtemp(prefix=prefix)
        if len(folder) > _SOCKET_PATH_LIMIT:
            shutil.rmtree(folder)
            folder = tempfile.mkdtemp(prefix=prefix, dir="/tmp")
    except OSError as error:
        raise ProgramError(f"cannot make a folder in {tempfile.gettempdir()}: {error.strerror}") from None
    return Path(folder)


def _sweep(parent: Path) -> None:
    """Remove the folders in ``parent`` that this user's dead processes left a day ago."""
    before = time.time() - _LEFT_AFTER_SECONDS
    for left in parent.glob(f"{_FOLDER_PREFIX}*-*"):
        pid = left.name.removeprefix(_FOLDER_PREFIX).partition("-")[0]
        with contextlib.suppress(OSError):
            found = left.stat()
            dead = pid.isdigit() and not Path(f"/proc/{pid}").exists()
            if dead and found.st_uid == os.getuid() and found.st_mtime < before:
                shutil.rmtree(left)
