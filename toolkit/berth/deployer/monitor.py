"""Pulumi's resource monitor and engine, served to one program over gRPC on a private unix socket."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Self

import grpc.aio  # type: ignore[import-untyped]  # grpcio ships no types
from google.protobuf import empty_pb2, message_factory
from pulumi.runtime.proto import engine_pb2, provider_pb2, resource_pb2

from .errors import Refused
from .values import decode, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from google.protobuf.message import Message

    from .session import Session

_MESSAGE_BYTES = 400 * 1024 * 1024  # Pulumi's own limit; a program with many CRDs gets near it
_OPTIONS = [
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
]
# Only what is implemented: the SDK then refuses the rest itself, by name.
_FEATURES = [
    resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_REFERENCES,
    resource_pb2.RESOURCE_MONITOR_FEATURE_OUTPUT_VALUES,
    resource_pb2.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
]
_SEVERITIES = {
    engine_pb2.INFO: "info",
    engine_pb2.WARNING: "warning",
    engine_pb2.ERROR: "error",
}


class Monitor:
    """The server for one run of a program.

    Args:
        session: what the calls act on.
        socket: where to listen; the folder must be this user's alone.
    """

    def __init__(self, session: Session, socket: Path) -> None:
        self._session = session
        self.address = f"unix:{socket}"
        self._server: Any = None

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server(options=_OPTIONS)
        calls: dict[str, Callable[[Any], Awaitable[Message]]] = {
            "GetDeploymentInfo": self._info,
            "SupportsFeature": self._supports,
            "RegisterResource": self._register,
            "RegisterResourceOutputs": self._outputs,
            "ReadResource": self._read,
            "Invoke": self._invoke,
            "Call": self._call,
            "SignalAndWaitForShutdown": self._shutdown,
        }
        engine: dict[str, Callable[[Any], Awaitable[Message]]] = {
            "Log": self._log,
            "RequirePulumiVersion": self._version,
        }
        self._server.add_generic_rpc_handlers(
            (
                self._handlers(resource_pb2.DESCRIPTOR.services_by_name["ResourceMonitor"], calls),
                self._handlers(engine_pb2.DESCRIPTOR.services_by_name["Engine"], engine),
            )
        )
        self._server.add_insecure_port(self.address)
        starting = asyncio.ensure_future(self._server.start())
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:  # gRPC must not be dropped half started: it takes the process with it
            await starting
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        # Let go of while the loop runs: where a traceback kept it, gRPC would shut it down without one.
        server, self._server = self._server, None
        with contextlib.suppress(Exception):
            await asyncio.shield(server.stop(0))
        del server
        await asyncio.sleep(0)

    def _handlers(self, service: Any, calls: dict[str, Callable[[Any], Awaitable[Message]]]) -> Any:
        methods = {method.name: method for method in service.methods}
        handlers = {}
        for name, call in calls.items():
            request = message_factory.GetMessageClass(methods[name].input_type)
            handlers[name] = grpc.unary_unary_rpc_method_handler(
                self._tracked(call),
                request_deserializer=request.FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
        return grpc.method_handlers_generic_handler(service.full_name, handlers)

    def _tracked(self, call: Callable[[Any], Awaitable[Message]]) -> Callable[[Any, Any], Awaitable[Message]]:
        """The call, counted: while one is open it is we who owe the program something."""

        async def handle(request: Any, _: Any) -> Message:
            with self._session.busy():
                return await call(request)

        return handle

    async def _info(self, _: Any) -> Message:
        session = self._session
        return resource_pb2.DeploymentInfo(
            project=session.request.project,
            stack=session.request.stack,
            organization=session.request.organization,
            dryRun=session.dry_run,
            parallel=session.request.parallel,
            supportedFeatures=_FEATURES,
        )

    async def _supports(self, request: Any) -> Message:
        known = {"secrets", "resourceReferences", "outputValues", "aliasSpecs", "deletedWith"}
        return resource_pb2.SupportsFeatureResponse(hasSupport=request.id in known)

    async def _register(self, request: Any) -> Message:
        return await self._session.register(request)

    async def _outputs(self, request: Any) -> Message:
        self._session.set_outputs(request.urn, decode(request.outputs))
        return empty_pb2.Empty()

    async def _read(self, request: Any) -> Message:
        return await self._session.read(request)

    async def _invoke(self, request: Any) -> Message:
        answer = resource_pb2.ResourceInvokeResponse()
        try:
            result = self._session.invoke(request.tok, decode(request.args))
        except Refused as error:
            answer.failures.add(reason=str(error))
            return answer
        if result is None:
            answer.unknown = True
        else:
            getattr(answer, "return").CopyFrom(encode(result))
        return answer

    async def _call(self, request: Any) -> Message:
        reason = str(self._session.refuse_call(request.tok))
        return provider_pb2.CallResponse(failures=[provider_pb2.CheckFailure(reason=reason)])

    async def _shutdown(self, _: Any) -> Message:
        self._session.finished()
        return empty_pb2.Empty()

    async def _log(self, request: Any) -> Message:
        severity = _SEVERITIES.get(request.severity)
        if severity is None:
            self._session.whisper(request.message)
        else:
            self._session.log(severity, request.message, request.urn)
        return empty_pb2.Empty()

    async def _version(self, _: Any) -> Message:
        # A program that wants a certain CLI cannot be judged by us; say so, and go on.
        self._session.log("warning", "require_pulumi_version is not checked: this is not the Pulumi CLI", "")
        return engine_pb2.RequirePulumiVersionResponse()


def response(
    urn: str, ident: str, outputs: dict[str, Any], *, failed: bool = False
) -> resource_pb2.RegisterResourceResponse:
    """The answer to a registration; a failed one lets the program go on with unknown outputs."""
    return resource_pb2.RegisterResourceResponse(
        urn=urn,
        id=ident,
        object=encode(outputs),
        result=resource_pb2.FAIL if failed else resource_pb2.SUCCESS,
    )
