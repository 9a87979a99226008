"""The Open Inference Protocol: the same keys, limits, queue and metrics as REST."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import time
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError

from berth_serving.call import Call, trace_headers
from berth_serving.contracts import tgi
from berth_serving.contracts.fields import Fields
from berth_serving.contracts.model import VERSION, text_of
from berth_serving.errors import GenerationFailed, Internal, ModelNotFound, RequestError
from berth_serving.interrupt import Interruptible
from berth_serving.keys import NOBODY
from berth_serving.rpc import open_inference_grpc_pb2 as pb
from berth_serving.rpc import tensors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from google.protobuf.message import Message

    from berth_serving.gateway.app import Gateway

    Context = Any  # grpc.aio.ServicerContext, which has no types

log = logging.getLogger("berth.grpc")

SERVICE = "inference.GRPCInferenceService"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_FINAL = "triton_final_response"
_NO_MESSAGE = "the request is no message of this call"
_GENERATE = frozenset({"ModelInfer", "ModelStreamInfer"})
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    # Begun and not finished: asking again is the client's decision.
    424: grpc.StatusCode.ABORTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}


class _Call:
    """One call: who asks, under which id, and what became of it."""

    def __init__(self, context: Context, method: str) -> None:
        self.route = f"/{SERVICE}/{method}"
        self.received = time.monotonic()
        self.metadata = {str(key): value for key, value in context.invocation_metadata() or ()}
        given = self.metadata.get("x-request-id", "")
        usable = isinstance(given, str) and _REQUEST_ID.fullmatch(given)
        self.id = str(given) if usable else secrets.token_hex(16)
        self.outcome = "ok"
        self.key = NOBODY
        self.facts: dict[str, Any] = {}

    def told(self) -> Call:
        """The same as the service wants it."""
        parent, state = self.metadata.get("traceparent"), self.metadata.get("tracestate")
        return Call(
            route=self.route,
            received=self.received,
            key=self.key,
            request_id=self.id,
            trace=trace_headers(
                parent if isinstance(parent, str) else None, state if isinstance(state, str) else None
            ),
        )


class Inference:
    """What answers the calls of one server."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service as gRPC takes it."""
        unary: dict[str, tuple[Callable[[Any, Context], Awaitable[Message]], type[Message]]] = {
            "ServerLive": (self._server_live, pb.ServerLiveRequest),
            "ServerReady": (self._server_ready, pb.ServerReadyRequest),
            "ModelReady": (self._model_ready, pb.ModelReadyRequest),
            "ServerMetadata": (self._server_metadata, pb.ServerMetadataRequest),
            "ModelMetadata": (self._model_metadata, pb.ModelMetadataRequest),
            "ModelInfer": (self._infer, pb.ModelInferRequest),
        }
        methods = {
            name: grpc.unary_unary_rpc_method_handler(
                _understood(method), request_deserializer=_parser(kind), response_serializer=_serialized
            )
            for name, (method, kind) in unary.items()
        }
        methods["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self._stream_infer,
            request_deserializer=_parser(pb.ModelInferRequest),
            response_serializer=_serialized,
        )
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    # -- probes, which need no key -------------------------------------------------------------------

    async def _server_live(self, _request: pb.ServerLiveRequest, _context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(
        self, _request: pb.ServerReadyRequest, _context: Context
    ) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=not self._gateway.unready)

    async def _model_ready(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        async with self._answering(context, "ModelReady", keyed=False):
            self._require_model(request.name, request.version)
            return pb.ModelReadyResponse(ready=not self._gateway.unready)

    # -- descriptions --------------------------------------------------------------------------------

    async def _server_metadata(
        self, _request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        async with self._answering(context, "ServerMetadata"):
            return pb.ServerMetadataResponse(name="berth", version=VERSION, extensions=["model_stream_infer"])

    async def _model_metadata(
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        async with self._answering(context, "ModelMetadata"):
            self._require_model(request.name, request.version)
            settings = self._gateway.settings
            kind = pb.ModelMetadataResponse.TensorMetadata
            return pb.ModelMetadataResponse(
                name=settings.model_id,
                versions=[settings.model_revision] if settings.model_revision else [],
                platform=settings.engine,
                inputs=[kind(name=name, datatype=sort, shape=[1]) for name, sort in tensors.INPUTS.items()],
                outputs=[kind(name=name, datatype=sort, shape=[1]) for name, sort in tensors.OUTPUTS.items()],
                properties={
                    "max_input_tokens": str(settings.max_input_tokens),
                    "max_total_tokens": str(settings.max_total_tokens),
                },
            )

    # -- generation ----------------------------------------------------------------------------------

    async def _infer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        async with self._answering(context, "ModelInfer") as call:
            text, known = b"", {}
            async for values in self._generate(request, call):
                known = values
                text += bytes(values["text_output"])
            return self._response(request, {**known, "text_output": text})

    async def _stream_infer(
        self, requests: AsyncIterator[pb.ModelInferRequest | None], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Answer each request in pieces of text; an error is said in its place and ends that request only."""
        async with self._answering(context, "ModelStreamInfer"):
            # Who has no key holds no stream open.
            pass
        async for request in requests:
            if request is None:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _NO_MESSAGE)
                return
            try:
                async with self._answering(context, "ModelStreamInfer", aborts=False) as call:
                    async for values in self._generate(request, call):
                        piece = self._response(request, values)
                        piece.parameters[_FINAL].bool_param = "finish_reason" in values
                        yield pb.ModelStreamInferResponse(infer_response=piece)
            except RequestError as error:
                failed = pb.ModelInferResponse(id=request.id, model_name=request.model_name)
                failed.parameters[_FINAL].bool_param = True
                yield pb.ModelStreamInferResponse(error_message=_said(error), infer_response=failed)

    async def _generate(
        self, request: pb.ModelInferRequest, call: _Call
    ) -> AsyncIterator[dict[str, bytes | int]]:
        """Pieces of text as they come, the last one with what is known at the end."""
        gateway = self._gateway
        self._require_model(request.model_name, request.model_version)
        tensors.wanted(request)
        gateway.received()
        asked, options = tgi.parse(
            Fields(tensors.body_of(request)), gateway.limits, compat=False, stream=False
        )
        # Only TGI's own answers carry log-probabilities.
        asked.logprobs = 0
        if options.full_text:
            yield {"text_output": options.inputs.encode()}
        async with (
            gateway.generation(Interruptible(), asked, call.told()) as generation,
            contextlib.aclosing(generation.tokens()) as events,
        ):
            async for event in events:
                if text := text_of([event]):
                    yield {"text_output": text.encode()}
            finished = generation.finished
            if finished is None:
                raise GenerationFailed("Request failed during generation: the engine's answer has no end")
        call.facts.update(input_tokens=finished.input_tokens, output_tokens=finished.output_tokens)
        gateway.succeeded()
        yield {"text_output": finished.stop_text.encode(), **tensors.ended(finished)}

    def _response(
        self, request: pb.ModelInferRequest, values: dict[str, bytes | int]
    ) -> pb.ModelInferResponse:
        settings = self._gateway.settings
        names = tensors.wanted(request)
        return tensors.response(request, settings.model_id, settings.model_revision, values, names)

    # -- what surrounds every call -------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _answering(
        self, context: Context, method: str, *, keyed: bool = True, aborts: bool = True
    ) -> AsyncIterator[_Call]:
        """Let in whoever has a key, and say in gRPC's words what went wrong."""
        call = _Call(context, method)
        variant = self._gateway.settings.variant
        about: tuple[tuple[str, str], ...] = (("x-request-id", call.id),)
        about += (("x-berth-variant", variant),) if variant else ()
        context.set_trailing_metadata(about)
        failure: RequestError | None = None
        try:
            with self._gateway.in_sight(call.received) if keyed else contextlib.nullcontext():
                if keyed:
                    call.key = self._gateway.authenticate(str(call.metadata.get("authorization", "")))
                    self._gateway.authorize(call.key, "generate" if method in _GENERATE else "read")
                yield call
        except RequestError as error:
            failure = error
        except (asyncio.CancelledError, GeneratorExit):
            call.outcome = "client_gone"
            raise
        except Exception:
            log.exception("call failed on a defect", extra={"request_id": call.id, "route": call.route})
            failure = Internal(f"internal error; the log has it under request id {call.id}")
        finally:
            if failure is not None:
                call.outcome = self._gateway.failed(failure, generates=method in _GENERATE)
                call.facts["error"] = type(failure).__name__
            self._gateway.account(call.route, call.outcome)
            self._log(call)
        if failure is None:
            return
        if not aborts:
            raise failure
        if (wait := failure.retry_after) is not None:
            about = (*about, ("retry-after", str(wait)), ("grpc-retry-pushback-ms", str(1000 * wait)))
            context.set_trailing_metadata(about)
        await context.abort(_CODES.get(failure.status, grpc.StatusCode.INTERNAL), _said(failure))

    def _require_model(self, name: str, version: str) -> None:
        settings = self._gateway.settings
        if name != settings.model_id:
            raise ModelNotFound(f"model {name[:60]!r} is not served here; served: {settings.model_id}")
        if version and version != settings.model_revision:
            served = settings.model_revision or "one without a version"
            raise ModelNotFound(f"version {version[:60]!r} is not served here; served: {served}")

    def _log(self, call: _Call) -> None:
        facts = {
            "request_id": call.id,
            "method": "gRPC",
            "route": call.route,
            "outcome": call.outcome,
            "seconds": round(time.monotonic() - call.received, 4),
            **({"key": call.key.name} if call.key.name else {}),
            **call.facts,
        }
        log.info("request", extra=facts)


def _parser(kind: type[Message]) -> Callable[[bytes], Message | None]:
    """None for bytes that are no message: raised here, gRPC would call it its own defect."""

    def parse(data: bytes) -> Message | None:
        try:
            return kind.FromString(data)
        except DecodeError:
            return None

    return parse


def _understood(method: Callable[[Any, Context], Awaitable[Message]]) -> Callable[[Any, Context], Any]:
    async def answer(request: Any, context: Context) -> Message:
        if request is None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _NO_MESSAGE)
        return await method(request, context)

    return answer


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _said(error: RequestError) -> str:
    return error.message
