"""Traces by OTLP over HTTP, after OpenTelemetry's conventions for generative AI; off unless configured.

One span per generation, `chat <model>` or `text_completion <model>`, and below it one for the wait for a slot
and one for the engine, whose context the engine gets as `traceparent`. Without a collector the context from
outside is passed on to the engine as it came.

Spans wait for export in a bounded queue, in a thread of their own: a collector that is away or hangs costs
spans, which are counted, and nothing else.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from berth_serving.environment import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span, Tracer

    from berth_serving.call import Call
    from berth_serving.contracts.model import Asked, Timing
    from berth_serving.engines.protocol import Finished
    from berth_serving.settings import GatewaySettings

log = logging.getLogger("berth.tracing")

_MOST_WAITING = 2048
_BATCH = 256
_EVERY_MILLISECONDS = 2000
_EXPORT_SECONDS = 5.0
_FAREWELL_SECONDS = 1.0
_NANO = 1_000_000_000


class Trace(Protocol):
    """What is told of one generation."""

    def headers(self) -> Mapping[str, str]:
        """What the engine gets; asked for once, when its part begins."""

    def content(self, prompt: str, completion: str) -> None:
        """The texts, redacted; called only where they are to be recorded."""

    def end(self, timing: Timing, finished: Finished | None, error: str) -> None:
        """The generation is over; `error` is the class of what went wrong, or empty."""


class Tracing:
    """Makes traces. Without OTLP_ENDPOINT it only passes contexts on.

    Attributes:
        dropped: spans that never reached the collector.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._tracer: Tracer | None = None
        self._provider: Any = None
        self._queue: Any = None
        if settings.otlp_endpoint:
            self._start()

    @property
    def dropped(self) -> int:
        """Spans that never reached the collector."""
        return 0 if self._queue is None else int(self._queue.dropped)

    def begin(self, call: Call, asked: Asked) -> Trace:
        """The trace of one generation."""
        if self._tracer is None:
            return _PassedOn(call.trace)
        return _Recorded(self._tracer, self._settings, call, asked)

    def close(self) -> None:
        """Send what is left, for a second at most; blocks meanwhile."""
        if self._provider is None:
            return
        # The SDK waits for its exporter, and the exporter for a collector that may hang.
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(_FAREWELL_SECONDS)

    def _start(self) -> None:
        # The SDK is a third of all that the gateway imports, so it is loaded only where it is used.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415

        settings = self._settings
        attributes = {
            "service.name": "berth-model-server",
            "service.version": "0.1.0",
            "berth.model": settings.model_id,
            "berth.model.revision": settings.model_revision,
            "berth.variant": settings.variant,
        }
        exporter = OTLPSpanExporter(
            f"{settings.otlp_endpoint}/v1/traces", timeout=_EXPORT_SECONDS, headers=_headers(settings)
        )
        self._queue = _bounded(exporter)
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.trace_sample)),
            resource=Resource.create({name: value for name, value in attributes.items() if value}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(self._queue)
        self._tracer = self._provider.get_tracer("berth")


def _headers(settings: GatewaySettings) -> dict[str, str]:
    """The collector's authorization, from its file."""
    if settings.otlp_token_file is None:
        return {}
    try:
        token = settings.otlp_token_file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"BERTH_OTLP_TOKEN_FILE={str(settings.otlp_token_file)!r}: cannot be read: {type(error).__name__}"
        ) from None
    return {"authorization": f"Bearer {token}"}


def _bounded(exporter: Any) -> Any:
    """A processor with a bounded queue, which counts what it loses."""
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult  # noqa: PLC0415

    class Exporter(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            result: SpanExportResult = SpanExportResult.FAILURE
            try:
                result = exporter.export(spans)
            finally:
                queue.exported(len(spans), lost=result is not SpanExportResult.SUCCESS)
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

    class Queue(BatchSpanProcessor):
        waiting = 0
        dropped = 0

        def __init__(self) -> None:
            self._count = threading.Lock()
            super().__init__(
                Exporter(),
                max_queue_size=_MOST_WAITING,
                schedule_delay_millis=_EVERY_MILLISECONDS,
                max_export_batch_size=_BATCH,
            )

        def on_end(self, span: ReadableSpan) -> None:
            if not span.context or not span.context.trace_flags.sampled:
                return
            with self._count:
                if self.waiting >= _MOST_WAITING:
                    self.dropped += 1
                    return
                self.waiting += 1
            super().on_end(span)

        def exported(self, spans: int, *, lost: bool) -> None:
            with self._count:
                self.waiting -= spans
                self.dropped += spans if lost else 0

    queue = Queue()
    return queue


class _PassedOn:
    """No collector: the context from outside goes on to the engine."""

    __slots__ = ("_given",)

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given

    def headers(self) -> Mapping[str, str]:
        return self._given

    def content(self, prompt: str, completion: str) -> None:
        pass

    def end(self, timing: Timing, finished: Finished | None, error: str) -> None:
        pass


class _Recorded:
    """A generation's span, and those below it."""

    def __init__(self, tracer: Tracer, settings: GatewaySettings, call: Call, asked: Asked) -> None:
        from opentelemetry.trace import SpanKind, set_span_in_context  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._tracer = tracer
        self._propagator = TraceContextTextMapPropagator()
        self._clock = _clock()
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": call.operation,
            "gen_ai.provider.name": settings.engine,
            "gen_ai.request.model": settings.model_id,
            "gen_ai.response.model": settings.model_id,
            "gen_ai.request.stream": asked.stream,
            "http.route": call.route,
            "berth.request_id": call.request_id,
            "berth.key": call.key.name,
            "berth.variant": settings.variant,
        }
        if asked.max_new_tokens is not None:
            attributes["gen_ai.request.max_tokens"] = asked.max_new_tokens
        if asked.sampling:
            attributes["gen_ai.request.temperature"] = asked.temperature
            attributes["gen_ai.request.top_p"] = asked.top_p
            attributes["gen_ai.request.seed"] = asked.seed
        self._span = tracer.start_span(
            f"{call.operation} {settings.model_id}",
            context=self._propagator.extract(dict(call.trace)),
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=self._clock(call.received),
        )
        self._context = set_span_in_context(self._span)
        self._client = SpanKind.CLIENT
        self._in_context = set_span_in_context
        self._engine: Span | None = None

    def headers(self) -> Mapping[str, str]:
        self._engine = self._tracer.start_span("engine", context=self._context, kind=self._client)
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, self._in_context(self._engine))
        return carrier

    def content(self, prompt: str, completion: str) -> None:
        # As the conventions have it: opt-in, structured, here as JSON.
        import msgspec  # noqa: PLC0415 - with the rest of what only traces need

        def message(role: str, text: str) -> str:
            said = [{"role": role, "parts": [{"type": "text", "content": text}]}]
            return msgspec.json.encode(said).decode()

        self._span.set_attribute("gen_ai.input.messages", message("user", prompt))
        self._span.set_attribute("gen_ai.output.messages", message("assistant", completion))

    def end(self, timing: Timing, finished: Finished | None, error: str) -> None:
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

        at = self._clock
        ended = at(timing.ended or time.monotonic())
        if timing.validated:
            waited = self._tracer.start_span(
                "wait for a slot", context=self._context, start_time=at(timing.validated)
            )
            waited.end(at(timing.started) if timing.started else ended)
        if self._engine is not None:
            if timing.first_token:
                self._engine.add_event("first token", timestamp=at(timing.first_token))
            self._engine.end(ended)
        if timing.first_token:
            seconds = timing.first_token - timing.received
            self._span.set_attribute("gen_ai.response.time_to_first_chunk", seconds)
        if finished is not None:
            self._span.set_attributes(
                {
                    "gen_ai.usage.input_tokens": finished.input_tokens,
                    "gen_ai.usage.output_tokens": finished.output_tokens,
                    "gen_ai.response.finish_reasons": [finished.reason],
                }
            )
        if error:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(ended)


def _clock() -> Callable[[float], int]:
    """From monotonic seconds to nanoseconds since 1970."""
    offset = time.time_ns() - int(time.monotonic() * _NANO)
    return lambda seconds: offset + int(seconds * _NANO)
