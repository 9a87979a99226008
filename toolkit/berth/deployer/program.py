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
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ProgramError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LAUNCHER = Path(__file__).with_name("launcher.py")
_SOCKET_PATH_LIMIT = 90  # of the 107 bytes that a unix socket's address may have
_GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL
_OUTPUT_LIMIT = 256 * 1024  # bytes of a program's output that are kept
_START_SECONDS = 60.0  # to import the Pulumi SDK from a cold disk
_NOT_FOR_PROGRAMS = ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE")


@dataclass
class Ended:
    """How a program's process ended, and the last of what it printed."""

    code: int
    output: str
    hung: str = ""  # where it stood when it was stopped for doing nothing


@dataclass
class _Run:
    pid: asyncio.Future[int]
    exit: asyncio.Future[int]
    output: bytearray = field(default_factory=bytearray)


class Programs:
    """One warm interpreter that runs programs, each in a fork of its own.

    Args:
        python: the interpreter; the one that runs the deployer without it.
    """

    def __init__(self, python: Path | None = None) -> None:
        self._python = str(python or sys.executable)
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._runs: dict[int, _Run] = {}
        self._ready: asyncio.Future[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self.folder = _private_folder()

    def start(self) -> None:
        """Start the interpreter; it imports the SDK while the caller goes on."""
        ours, theirs = socket.socketpair()
        environment = {k: v for k, v in os.environ.items() if k not in _NOT_FOR_PROGRAMS}
        try:
            self._process = subprocess.Popen(
                [self._python, "-P", str(_LAUNCHER), str(theirs.fileno())],
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
        self._ready = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read(ours.dup()))

    async def _read(self, control: socket.socket) -> None:
        control.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=control)
        problem = "the process that runs programs was killed"
        try:
            while line := await reader.readline():
                message = json.loads(line)
                if "failed" in message:
                    problem = message["failed"]
                self._heard(message)
        finally:
            writer.close()
            error = ProgramError(problem)
            futures = [self._ready] + [f for run in self._runs.values() for f in (run.pid, run.exit)]
            for future in futures:
                if future is not None and not future.done():
                    future.set_exception(error)
                    future.exception()  # whoever waits gets it; nobody waiting is no mistake

    def _heard(self, message: Mapping[str, Any]) -> None:
        if "ready" in message and self._ready is not None and not self._ready.done():
            self._ready.set_result(None)
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
        await self._until_ready()
        loop = asyncio.get_running_loop()
        number = len(self._runs)
        run = self._runs[number] = _Run(loop.create_future(), loop.create_future())
        readers = [await self._send({**request, "run": number}, run)]
        pid = await run.pid
        try:
            hung = await self._watch(run, pid, idle_seconds, idle_since)
            code = await run.exit
        finally:
            if not run.exit.done():
                await asyncio.shield(_stop(run, pid))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):  # a program's own child may hold the pipe open
                    await asyncio.gather(*readers)
            for reader in readers:
                reader.cancel()
        return Ended(code, run.output.decode(errors="replace"), hung)

    async def _until_ready(self) -> None:
        if self._ready is None:
            self.start()
        assert self._ready is not None  # noqa: S101 - for the type checker; start() sets it
        try:
            async with asyncio.timeout(_START_SECONDS):
                await asyncio.shield(self._ready)
        except TimeoutError:
            raise ProgramError(
                f"{self._python} did not import pulumi within {_START_SECONDS:.0f} s"
            ) from None

    async def _send(self, request: Mapping[str, Any], run: _Run) -> asyncio.Task[None]:
        read, write = os.pipe()
        data = json.dumps(request).encode()
        control = self._control
        assert control is not None  # noqa: S101 - for the type checker; start() sets it

        def send() -> None:
            socket.send_fds(control, [struct.pack("!I", len(data))], [write, write])
            control.sendall(data)

        try:
            await asyncio.get_running_loop().run_in_executor(None, send)
        except OSError:
            raise ProgramError("the process that runs programs was killed") from None
        finally:
            os.close(write)
        return asyncio.create_task(_collect(read, run.output))

    async def _watch(
        self, run: _Run, pid: int, idle_seconds: float, idle_since: Callable[[], float | None]
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
        await _stop(run, pid)
        return _innermost(where) or "it does not say where"

    async def close(self) -> None:
        """End the interpreter and every program in it."""
        for run in self._runs.values():
            if not run.exit.done() and run.pid.done() and not run.pid.exception():
                await _stop(run, run.pid.result())
        if self._control is not None:
            self._control.close()
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


async def _stop(run: _Run, pid: int) -> None:
    """SIGTERM, then SIGKILL, to the program and what it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
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
            del output[:-_OUTPUT_LIMIT]
    finally:
        transport.close()


def _innermost(stack: str) -> str:
    """The first line of a faulthandler dump that is the user's code."""
    frames = [line.strip() for line in stack.splitlines() if line.strip().startswith("File ")]
    own = [f for f in frames if "site-packages" not in f and "/asyncio/" not in f and "launcher.py" not in f]
    return (own or frames or [""])[0]


def _private_folder() -> Path:
    """A folder for sockets that only this user may enter, with a path short enough for them."""
    try:
        folder = tempfile.mkdtemp(prefix="berth-")
        if len(folder) > _SOCKET_PATH_LIMIT:
            shutil.rmtree(folder)
            folder = tempfile.mkdtemp(prefix="berth-", dir="/tmp")
    except OSError as error:
        raise ProgramError(f"cannot make a folder in {tempfile.gettempdir()}: {error.strerror}") from None
    return Path(folder)
