"""The process that serves one policy pack, and the calls to it, each with a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import TYPE_CHECKING, Any

import grpc.aio  # type: ignore[import-untyped]  # grpcio ships no types
from google.protobuf import message_factory
from pulumi.runtime.proto import analyzer_pb2

from .errors import DeployError, ProgramError
from .program import OUTPUT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from google.protobuf.message import Message

    from .program import Child, Interpreter

_MESSAGE_BYTES = 400 * 1024 * 1024  # Pulumi's own limit
_OPTIONS = [
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
    ("grpc.max_metadata_size", _MESSAGE_BYTES),  # the text of what a policy raises comes in there
    ("grpc.absolute_max_metadata_size", _MESSAGE_BYTES),
    ("grpc.enable_http_proxy", 0),  # it is on loopback, whatever the environment says
]
_NO_ENGINE = "127.0.0.1:0"  # a pack's runtime takes an engine's address and never calls it
_ANSWER_SECONDS = 10.0  # for a port that was printed to turn out to be the pack's
_LOOK_SECONDS = 0.02  # between two looks at what the pack has printed
_TRACE_SECONDS = 0.5  # for the traceback of what a policy raised to arrive
_SAID = 1_500  # characters of a pack's own words in one message
_PORT = "[0-9]{1,5}"
_ERRORS = 65_536  # bytes of standard error that are kept between two calls
_SERVICE = analyzer_pb2.DESCRIPTOR.services_by_name["Analyzer"]


class PackError(DeployError):
    """The pack's process does not serve, or no longer does."""

    code = "policy"


class RaisedError(Exception):
    """A policy raised something; the text is what."""


class LateError(Exception):
    """A policy did not answer in time."""


class PackProcess:
    """One pack's process: started, asked, and killed at the end.

    Args:
        interpreter: the Python that runs it.
        folder: the pack's.
        environment: what the pack is told of the stack.
        start_seconds: how long it may take until it serves.
        hide: takes secrets out of a text; done before a text is cut, since half a secret is not found.
    """

    def __init__(
        self,
        interpreter: Interpreter,
        folder: Path,
        environment: Mapping[str, str],
        start_seconds: float,
        hide: Callable[[str], str],
    ) -> None:
        self._interpreter, self._folder = interpreter, folder
        self._environment, self._start_seconds = dict(environment), start_seconds
        self._hide = hide
        self._ending = contextlib.AsyncExitStack()
        self._child: Child | None = None
        self._calls: dict[str, Any] = {}
        self._before = ""  # what earlier processes of this pack printed

    async def start(self) -> None:
        """Start it, and find the port at which it serves.

        Raises:
            PackError: it does not serve.
        """
        request = {
            "pack": str(self._folder),
            "engine": _NO_ENGINE,
            "environment": self._environment,
        }
        try:
            self._child = await self._ending.enter_async_context(
                self._interpreter.child(request, apart=True, grace=0.0)
            )
            async with asyncio.timeout(self._start_seconds):
                await self._connect(self._child)
        except ProgramError as error:
            raise PackError(str(error)) from None
        except TimeoutError:
            said = self._said()
            await self.stop()
            raise PackError(f"it did not serve within {self._start_seconds:.0f} s{said}") from None

    async def _connect(self, child: Child) -> None:
        """Take the first line of digits that is a port at which an analyzer answers."""
        tried: set[str] = set()
        while True:
            gone = child.exit.done()
            lines = bytes(child.output).decode(errors="replace").splitlines(keepends=True)
            for text in (line.strip() for line in lines if line.endswith("\n")):
                if re.fullmatch(_PORT, text) and text not in tried:
                    tried.add(text)
                    if await self._answers(int(text)):
                        return
            if gone:
                code = child.exit.result()
                await asyncio.sleep(_LOOK_SECONDS)  # for its last words
                said = self._said()
                await self.stop()
                raise PackError(f"it {_how(code)} before it served{said}")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _answers(self, port: int) -> bool:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS)
        calls = {}
        for method in _SERVICE.methods:
            answer = message_factory.GetMessageClass(method.output_type)
            calls[method.name] = channel.unary_unary(
                f"/{_SERVICE.full_name}/{method.name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=answer.FromString,
            )
        empty = message_factory.GetMessageClass(_SERVICE.methods_by_name["GetPluginInfo"].input_type)
        try:
            await calls["GetPluginInfo"](empty(), timeout=_ANSWER_SECONDS)
        except grpc.aio.AioRpcError:
            await channel.close()
            return False
        self._ending.push_async_callback(channel.close)
        self._calls = calls
        return True

    async def call(self, method: str, request: Message, seconds: float) -> Any:
        """Ask one thing.

        Raises:
            RaisedError: a policy raised.
            LateError: it took longer than `seconds`.
            PackError: the process is gone, or answers with nonsense.
        """
        child = self._child
        if child is None or child.exit.done():
            raise PackError(f"its process is gone{self._said()}")
        del child.errors[:-_ERRORS]
        mark = len(child.errors)
        try:
            return await self._calls[method](request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), str(error.details())
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            raise LateError
        if code is grpc.StatusCode.UNKNOWN:
            raise RaisedError(await self._what_was_raised(child, mark, details))
        with contextlib.suppress(TimeoutError, ProgramError):
            async with asyncio.timeout(_TRACE_SECONDS):
                ended = await asyncio.shield(child.exit)
                raise PackError(f"its process {_how(ended)} in the middle{self._said()}")
        raise PackError(f"{method} failed: {code.name}: {details}")

    async def _what_was_raised(self, child: Child, mark: int, details: str) -> str:
        """What a policy raised, and where: the protocol has the text, the pack's standard error the rest."""
        text = details.removeprefix("Exception calling application: ")
        for _ in range(int(_TRACE_SECONDS / _LOOK_SECONDS)):
            trace = bytes(child.errors[mark:]).decode(errors="replace")
            last = trace.rpartition("Traceback (most recent call last):\n")[2]
            kind = (
                re.search(r"^([A-Za-z_][\w.]*)(?::|$)", last, flags=re.MULTILINE) if last != trace else None
            )
            if kind and trace.endswith("\n"):
                frames = re.findall(r'File "([^"]+)", line (\d+)', trace)
                own = [frame for frame in frames if "site-packages" not in frame[0] and frame[0][0] != "<"]
                file = own[-1][0].removeprefix(f"{self._folder}/").removeprefix("./") if own else ""
                where = f" ({file} line {own[-1][1]})" if own else ""
                return f"{kind[1]}: {text}{where}" if text != kind[1] else f"{text}{where}"
            await asyncio.sleep(_LOOK_SECONDS)
        return text

    def printed(self) -> str:
        """What the pack printed on its standard output, but for the port."""
        now = _text(self._child.output) if self._child else ""
        lines = (self._before + now).splitlines()
        return self._hide("\n".join(line for line in lines if not re.fullmatch(_PORT, line.strip())))

    def _said(self) -> str:
        """The end of what it said on its way, for a message."""
        child = self._child
        if child is None:
            return ""
        text = self._hide("\n".join(_text(part).strip() for part in (child.output, child.errors)).strip())
        cut = f"…{text[-_SAID:]}" if len(text) > _SAID else text
        return f"; it said:\n{cut}" if cut else "; it said nothing"

    async def stop(self) -> None:
        """Kill it."""
        self._calls = {}
        await self._ending.aclose()
        if self._child is not None:
            self._before += _text(self._child.output)
            self._child = None


def _text(output: bytearray) -> str:
    """What a process printed; without the line of which the beginning was dropped."""
    kept = bytes(output).decode(errors="replace")
    return kept if len(output) < OUTPUT_LIMIT else kept.partition("\n")[2]


def _how(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def environment_of(
    project: str, stack: str, organization: str, config: Mapping[str, str], *, dry_run: bool
) -> dict[str, str]:
    """What a pack's runtime reads of the stack, as the Pulumi engine hands it over."""
    return {
        "PULUMI_PROJECT": project,
        "PULUMI_STACK": stack,
        "PULUMI_ORGANIZATION": organization,
        "PULUMI_DRY_RUN": "true" if dry_run else "false",
        "PULUMI_CONFIG": json.dumps(dict(config)),
    }
