"""Runs Pulumi programs for the deployer, in a process of its own.

It imports nothing of ours, since it may run in the program's own virtualenv. It is started as a script with
the number of an inherited socket, imports the Pulumi SDK once, and forks for every program, because the SDK
keeps its state in globals and because a forked program starts in a fraction of the time. Requests come over
the socket as length-prefixed JSON with the program's stdout and stderr as passed file descriptors; so
neither a configuration value nor a secret is ever on a command line, in an environment that others can read
or on a disk. Policy packs are run in the same way.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import ctypes
import faulthandler
import gc
import importlib
import inspect
import io
import json
import logging
import os
import runpy
import select
import signal
import socket
import struct
import sys
import traceback
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_HEADER = struct.Struct("!I")
_UNHANDLED = 32  # the exit code with which Pulumi's own launcher says that it has reported an exception
_PR_SET_PDEATHSIG = 1
_AT_ONCE = "The program needs an answer at once: "
_COMPUTED = "What a provider computes: "
_SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - of the public protocol, as is the next
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_THREADS = 256  # one per resource that is registered and not ready yet; they only wait


def _import(names: Iterable[str]) -> None:
    """Import modules for every fork to share; one that fails is left to the program."""
    for name in names:
        with contextlib.suppress(Exception):
            # Pulumi's packages are lazy modules: one that gets a submodule before it has run would later put
            # that module in the place of the class of the same name. Asking for an attribute that is not
            # there makes it run.
            parents = name.split(".")[:-1]
            for depth in range(1, len(parents) + 1):
                importlib.import_module(".".join(parents[:depth]))
                getattr(sys.modules[".".join(parents[:depth])], "_run_now", None)
            importlib.import_module(name)
            getattr(sys.modules[name], "_run_now", None)
    gc.collect()
    gc.freeze()


class _Zygote:
    """The warm process: forks a child per request and tells how each one ended."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._runs: dict[int, int] = {}
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._modules: dict[int, bytes] = {}  # what each child's pipe has said so far

    def serve(self) -> tuple[dict[str, Any], int] | None:
        """Answer requests until the deployer is gone; in a child, return its request and its pipe at once."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write)
        while True:
            watched: list[Any] = [self._control, self._wake_read, *self._modules]
            ready, _, _ = select.select(watched, [], [])
            for pipe in set(ready).intersection(self._modules):
                self._read_modules(pipe)
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
                self._reap()
            if self._control in ready:
                request, fds = _receive(self._control)
                if request is None:
                    self._end_all()
                    return None
                pipe = self._fork(request, fds)
                if pipe is not None:
                    return request, pipe

    def _fork(self, request: dict[str, Any], fds: list[int]) -> int | None:
        """Fork; the pipe to write module names to in the child, None in the parent."""
        parent = os.getpid()
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            _become_program(self._control, fds, parent)
            for fd in (read, self._wake_read, self._wake_write, *self._modules):
                os.close(fd)
            return write
        for fd in (write, *fds):
            os.close(fd)
        self._modules[read] = b""
        self._runs[pid] = request["run"]
        _send(self._control, {"run": request["run"], "pid": pid})
        return None

    def _read_modules(self, pipe: int) -> None:
        """Import what a program imported of Pulumi's SDKs, while it is busy, so that the next has it."""
        chunk = os.read(pipe, 65536)
        self._modules[pipe] += chunk
        if chunk:
            return
        os.close(pipe)
        names = self._modules.pop(pipe).decode().split()
        _import(name for name in names if name not in sys.modules)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            _send(self._control, {"run": self._runs.pop(pid, -1), "exit": code})

    def _end_all(self) -> None:
        for pid in self._runs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def _receive(control: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    header, fds, _, _ = socket.recv_fds(control, _HEADER.size, 2)
    while header and len(header) < _HEADER.size:
        header += control.recv(_HEADER.size - len(header))
    if not header:
        return None, []
    (size,) = _HEADER.unpack(header)
    chunks: list[bytes] = []
    while size > 0:
        chunk = control.recv(size)
        if not chunk:
            return None, []
        chunks.append(chunk)
        size -= len(chunk)
    return json.loads(b"".join(chunks)), fds


def _send(control: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        control.sendall(json.dumps(message).encode() + b"\n")


def _become_program(control: socket.socket, fds: list[int], parent: int) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    if sys.platform == "linux":
        # Die with the zygote: a program that loops must not outlive a killed deployer.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    control.close()
    for fd, standard in zip(fds, (1, 2), strict=True):
        os.dup2(fd, standard)
        os.close(fd)
    faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=False)


def _user_frames(error: BaseException, program: Path) -> str:
    """The traceback with the program's own frames; all frames where the program has none in it."""
    folder = str(program if program.is_dir() else program.parent) + os.sep
    lines: list[str] = []
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        shown = traceback.TracebackException.from_exception(link)
        shown.__cause__ = shown.__context__ = None
        own = [frame for frame in shown.stack if _is_own(frame.filename, folder)]
        shown.stack = traceback.StackSummary.from_list(own)
        if own or link is error:
            lines.insert(0, "".join(shown.format()).rstrip())
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\n".join(lines)


def _is_own(filename: str, folder: str) -> bool:
    """Whether a frame is the user's: in no installed package, not the standard library, not this file."""
    if filename.startswith("<") or filename == __file__:
        return False
    foreign = {"site-packages", "dist-packages", f"python{sys.version_info.major}.{sys.version_info.minor}"}
    return not foreign.intersection(Path(filename.removeprefix(folder)).parts)


def _tell_modules(pipe: int) -> None:
    """Name the modules of Pulumi's SDKs that the program imported, in the order of their import."""
    names = [name for name in list(sys.modules) if name.startswith("pulumi")]
    with contextlib.suppress(OSError), os.fdopen(pipe, "w") as out:
        out.write("\n".join(names))


def _configure(request: dict[str, Any]) -> None:
    """Hand the request's settings and configuration to the SDK."""
    import pulumi  # noqa: PLC0415 - the zygote imported it; here it is only looked up

    for key, value in request["config"].items():
        pulumi.runtime.config.set_config(key, value)  # the context's default: threads see it, too
    pulumi.runtime.set_all_config(request["config"], request["secretKeys"])
    settings = pulumi.runtime.Settings(
        monitor=request["monitor"],
        engine=request["engine"],
        project=request["project"],
        stack=request["stack"],
        parallel=request["parallel"],
        dry_run=request["dryRun"],
        organization=request["organization"],
        root_directory=request["root"],
    )
    pulumi.runtime.configure(settings)


def _spare_work() -> None:
    """Leave out what the SDK does for others: a fifth of the processor time of a preview of all stacks.

    Each resource sends about four debug messages, waits for each to be answered, and nobody shows them. Nor
    does anybody read the stack trace that goes with each registration.
    """
    import pulumi  # noqa: PLC0415 - as above
    from pulumi.runtime import resource  # noqa: PLC0415 - as above
    from pulumi.runtime.proto import source_pb2  # noqa: PLC0415 - as above

    pulumi.log.debug = lambda *_, **__: None
    if hasattr(resource, "_get_stack_trace"):  # private: another SDK may not have it
        resource._get_stack_trace = source_pb2.StackTrace  # noqa: SLF001 - as said above
    gc.set_threshold(50_000, 20, 20)  # a short life; what was imported before is frozen anyway


def _leave_unknown(*, tell: bool) -> None:
    """Make what a provider would compute unknown, also inside a property of which the inputs are known.

    The SDK takes a missing top-level output for unknown, but a missing nested one for None, on which a
    program that joins it to a string fails. Which ones there are only the classes of the program's own SDK
    can tell; so it is done here, just before the SDK reads a planned resource's outputs.

    Args:
        tell: whether the deployer wants to know the names of the outputs that are no inputs, once per type.
    """
    from pulumi import _types  # noqa: PLC0415 - as above
    from pulumi.runtime import rpc  # noqa: PLC0415 - as above

    original = rpc.resolve_outputs
    told: set[str] = set()

    def resolve_outputs(res: Any, inputs: Any, outputs: Any, *rest: Any, **named: Any) -> None:
        type_ = str(getattr(res, "_type", "kubernetes:"))
        if not type_.startswith(("kubernetes:", "pulumi:")):
            types = _types.resource_types(type(res))
            if tell and type_ not in told:
                told.add(type_)
                _tell_computed(type_, _computed(type(res), _types))
            for key, value in outputs.fields.items():
                _fill(value, types.get(key), _types)
        original(res, inputs, outputs, *rest, **named)

    rpc.resolve_outputs = resolve_outputs  # type: ignore[assignment]  # whatever its arguments are in this SDK


def _computed(cls: type, types: Any) -> list[str]:
    """The outputs of a resource's class that are no inputs; none where the SDK does not say."""
    taken = getattr(cls, "_internal_init", None)
    if taken is None or not hasattr(types, "_py_properties"):
        return []
    inputs = inspect.signature(taken).parameters
    return sorted(name for python, name, _ in types._py_properties(cls) if python not in inputs)  # noqa: SLF001


def _tell_computed(type_: str, names: list[str]) -> None:
    """Tell the deployer, by a message that nobody is shown."""
    import pulumi  # noqa: PLC0415 - as above
    from pulumi.runtime.proto import engine_pb2  # noqa: PLC0415 - as above

    engine = pulumi.runtime.settings.get_engine()
    if engine is not None and names:
        text = _COMPUTED + json.dumps({"type": type_, "names": names})
        engine.Log(engine_pb2.LogRequest(severity=engine_pb2.DEBUG, message=text))


def _fill(value: Any, type_: Any, types: Any) -> None:
    """Put the unknown string wherever a value of an output type lacks a property.

    Args:
        value: a protobuf Value, changed in place.
        type_: its Python type, if there is one.
        types: the SDK's module of types.
    """
    type_ = types.unwrap_optional_type(type_) if type_ else None
    if value.HasField("list_value"):
        inner = (typing.get_args(type_) or (None,))[-1]
        for item in value.list_value.values:
            _fill(item, inner, types)
    elif value.HasField("struct_value"):
        fields = value.struct_value.fields
        if _SIGNATURE not in fields:
            _fill_object(fields, type_, types)
        elif fields[_SIGNATURE].string_value == _SECRET_SIGNATURE:
            _fill(fields["value"], type_, types)


def _fill_object(fields: Any, type_: Any, types: Any) -> None:
    if type_ is not None and types.is_output_type(type_):
        known = types.output_type_types(type_)
        for name in known:
            if name not in fields or fields[name].HasField("null_value"):
                fields[name].string_value = _UNKNOWN
        for name in fields:
            _fill(fields[name], known.get(name), types)
    else:
        of_values = (typing.get_args(type_) or (None,))[-1]  # of a mapping; None where nothing is known
        for name in fields:
            _fill(fields[name], of_values, types)


def _needed_at_once(error: BaseException) -> str:
    """The function of a provider's SDK that failed because its answer is unknown, or nothing."""
    if not isinstance(error, AssertionError):
        return ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_locals.get("__ret__", error) is None:
            return frame.f_code.co_name
    return ""


def _run(request: dict[str, Any], pipe: int) -> int:
    """Run the program of a request; returns the process's exit code."""
    import pulumi  # noqa: PLC0415 - as above

    program = Path(request["program"])
    folder = program if program.is_dir() else program.parent
    os.chdir(folder)
    sys.argv = [str(program)]
    sys.path[:0] = [str(folder), *request.get("path", ())]
    _configure(request)
    _spare_work()
    if request["dryRun"]:
        _leave_unknown(tell=request["policies"])
    target = program / "__main__.py" if program.is_dir() else program

    async def user() -> None:
        try:
            runpy.run_path(str(target), run_name="__main__")
        finally:
            _tell_modules(pipe)

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(_THREADS))
    try:
        loop.run_until_complete(pulumi.runtime.run_in_stack(user))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return 1
    except SystemExit as error:
        return _wanted_end(error.code)
    except Exception as error:  # noqa: BLE001 - whatever the program raised is reported, not ours to judge
        frames, function = _user_frames(error, program), _needed_at_once(error)
        head = f"{_AT_ONCE}{function}" if function else "Program failed with an unhandled exception:"
        pulumi.log.error(f"{head}\n{frames}")
        return _UNHANDLED
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _run_pack(request: dict[str, Any], pipe: int) -> int:
    """Serve a policy pack, as `python -u -m pulumi.policy` does; returns the process's exit code.

    What the pack is told of the stack it reads from its environment, secrets included. Set here, that is in
    this process's memory alone: the environment that others can see is the one it was started with.
    """
    os.close(pipe)
    os.chdir(request["pack"])
    os.environ.update(request["environment"])
    sys.argv = ["pulumi-policy", request["engine"], "."]
    sys.path.insert(0, request["pack"])
    for name, number in (("stdout", 1), ("stderr", 2)):
        raw = io.FileIO(number, "w", closefd=False)
        setattr(sys, name, io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True))
    # What a policy raises reaches the deployer without its type and place; gRPC logs them, to nobody.
    logging.getLogger("grpc").addHandler(logging.StreamHandler(sys.stderr))
    try:
        runpy.run_module("pulumi.policy", run_name="__main__", alter_sys=True)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    return 0


def _wanted_end(code: object) -> int:
    """The exit code after `sys.exit(code)`; an early exit with 0 is a success, as under the Pulumi CLI."""
    import pulumi  # noqa: PLC0415 - as above
    from google.protobuf import empty_pb2  # noqa: PLC0415 - as above

    if code in {0, None}:
        monitor = pulumi.runtime.settings.get_monitor()
        if monitor is not None:
            monitor.SignalAndWaitForShutdown(empty_pb2.Empty())
        return 0
    if isinstance(code, int):
        return code
    pulumi.log.error(str(code))
    return 1


def main() -> int:
    """Serve the deployer at the other end of the socket that was inherited."""
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the deployer's to handle, for all of us
    try:
        importlib.import_module("pulumi.runtime.proto.engine_pb2")
    except ImportError as error:
        _send(control, {"failed": f"{sys.executable} has no Pulumi SDK: {error}"})
        return 1
    _import(sys.argv[2:])
    child = _Zygote(control).serve()
    if child is None:
        return 0
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return (_run_pack if "pack" in child[0] else _run)(*child)


if __name__ == "__main__":
    sys.exit(main())
