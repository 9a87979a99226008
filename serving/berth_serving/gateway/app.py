"""The gateway's routes. Plain ASGI: the hot path is one event per token; a framework's layers cost more."""

from __future__ import annotations

import logging
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from berth_serving import errors
from berth_serving.contracts import openai, openai_answers, plain, tgi
from berth_serving.contracts.fields import parse_object
from berth_serving.errors import (
    ClientGone,
    Drained,
    GenerationFailed,
    Internal,
    MethodNotAllowed,
    NoSuchRoute,
    NotReady,
    OutOfTime,
    RequestError,
    Unauthenticated,
    ValidationError,
)
from berth_serving.gateway.exchange import JSON, BodyBudget, Exchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from berth_serving.contracts.model import Answer, Asked, Timing
    from berth_serving.engines.protocol import Finished, TokenEvent
    from berth_serving.gateway.exchange import Headers, Receive, Scope, Send
    from berth_serving.interrupt import Interruptible
    from berth_serving.keys import KeyRing
    from berth_serving.service import Generation, Service
    from berth_serving.settings import GatewaySettings

    Handler = Callable[[Exchange], Awaitable[None]]

log = logging.getLogger("berth.gateway")

_VERSION = "0.1.0"
_OPEN = frozenset({"/health", "/ready"})
_NO_BUFFERING = (b"x-accel-buffering", b"no")
_RETRY_ELSEWHERE = 1
_HELD_BYTES = 64 * 1024 * 1024
_OUTCOMES: dict[type[RequestError], str] = {
    errors.ValidationError: "validation",
    errors.Unauthenticated: "authentication",
    errors.NoSuchRoute: "not_found",
    errors.MethodNotAllowed: "not_found",
    errors.RequestTimeout: "timeout",
    errors.PayloadTooLarge: "too_large",
    errors.Drained: "drained",
    errors.GenerationFailed: "generation",
    errors.Overloaded: "overloaded",
    errors.NotReady: "not_ready",
}


class Gateway:
    """The ASGI application.

    Attributes:
        in_flight: requests that are being answered, probes apart.
        last_request: monotonic seconds of the latest one's beginning.
        draining: since SIGTERM; set by the server.
        closed: too late in the drain for a new request.
    """

    def __init__(self, settings: GatewaySettings, service: Service, keys: KeyRing) -> None:
        self._settings = settings
        self._service = service
        self._keys = keys
        self._metrics = service.metrics
        self._created = int(time.time())
        # What is under way, and whether the engine has begun it.
        self._scopes: dict[Interruptible, bool] = {}
        self._budget = BodyBudget(max(_HELD_BYTES, 4 * settings.payload_limit))
        self.in_flight = 0
        self.last_request = 0.0
        self.draining = False
        self.closed = False
        self._over = False
        self._routes: dict[str, dict[str, Handler]] = {
            "/": {"POST": self._generate},
            "/generate": {"POST": self._generate},
            "/generate_stream": {"POST": self._generate},
            "/v1/chat/completions": {"POST": self._chat},
            "/v1/completions": {"POST": self._complete},
            "/v1/models": {"GET": self._models},
            "/info": {"GET": self._info},
            "/health": {"GET": self._health},
            "/ready": {"GET": self._ready},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = Exchange(scope, receive, send, write_timeout=self._settings.write_timeout)
        probe = exchange.path in _OPEN
        if not probe:
            self.in_flight += 1
            self.last_request = exchange.received
        try:
            await self._answer_or_refuse(exchange)
        finally:
            self._budget.give(exchange.held)
            if not probe:
                self.in_flight -= 1
            self._account(exchange)

    def start_draining(self) -> None:
        """From now on not ready, and no connection is used twice."""
        self.draining = True
        self._metrics.draining.set(1)

    def interrupt_all(self) -> tuple[int, int]:
        """End everything under way because the drain's time is over.

        What the engine has begun is broken off; what still waits for it has lost nothing and is told to ask
        again. How many that were of each.
        """
        self._over = True
        begun = sum(self._scopes.values())
        for scope, has_begun in tuple(self._scopes.items()):
            scope.interrupt(OutOfTime() if has_begun else _elsewhere())
        return begun, len(self._scopes) - begun

    # -- what surrounds every request --------------------------------------------------------------

    async def _answer_or_refuse(self, exchange: Exchange) -> None:
        if self.draining:
            # Whoever keeps this connection in a pool must not use it again.
            exchange.common.append((b"connection", b"close"))
        try:
            handler = self._route(exchange)
            await handler(exchange)
        except ClientGone:
            exchange.outcome = "client_gone"
        except RequestError as error:
            await self._refuse(exchange, error)
        except Exception:
            log.exception(
                "request failed on a defect", extra={"request_id": exchange.id, "path": self._label(exchange)}
            )
            await self._refuse(
                exchange, Internal(f"internal error; the log has it under request id {exchange.id}")
            )

    def _route(self, exchange: Exchange) -> Handler:
        if exchange.path not in _OPEN:
            name = self._keys.whose(exchange.header(b"authorization"))
            if name is None:
                raise Unauthenticated("a valid API key is needed: send `Authorization: Bearer <key>`")
            exchange.facts["key"] = name
            if self.closed:
                raise _elsewhere()
        methods = self._routes.get(exchange.path)
        if methods is None:
            raise NoSuchRoute(f"no such path; served: {', '.join(self._routes)}")
        handler = methods.get("GET" if exchange.method == "HEAD" else exchange.method)
        if handler is None:
            exchange.common.append((b"allow", ", ".join(methods).encode()))
            raise MethodNotAllowed(
                f"{exchange.method} is not served on this path; served: {', '.join(methods)}"
            )
        return handler

    async def _refuse(self, exchange: Exchange, error: RequestError) -> None:
        exchange.outcome = next(
            (name for kind, name in _OUTCOMES.items() if isinstance(error, kind)), "internal"
        )
        exchange.facts["error"] = type(error).__name__
        if exchange.path in ("/", "/generate", "/generate_stream") or exchange.path.startswith("/v1/"):
            self._metrics.tgi_failed(exchange.outcome)
        if exchange.status:
            # A stream says in its own words what went wrong, before it gets here.
            return
        openai_words = exchange.path.startswith("/v1/")
        status = error.openai_status if openai_words and error.openai_status else error.status
        headers: Headers = [JSON]
        if error.retry_after is not None:
            headers.append((b"retry-after", b"%d" % error.retry_after))
        if isinstance(error, Unauthenticated):
            headers.append((b"www-authenticate", b"Bearer"))
        write = openai_answers.failure_body if openai_words else tgi.failure_body
        try:
            await exchange.respond(status, write(error), headers)
        except ClientGone:
            exchange.outcome = "client_gone"

    def _account(self, exchange: Exchange) -> None:
        label = self._label(exchange)
        self._metrics.requests.labels(label, exchange.outcome).inc()
        level = logging.DEBUG if exchange.path in _OPEN else logging.INFO
        if log.isEnabledFor(level):
            facts = {
                "request_id": exchange.id,
                "method": exchange.method if exchange.method in ("GET", "POST", "HEAD") else "other",
                "route": label,
                "status": exchange.status,
                "outcome": exchange.outcome,
                "seconds": round(time.monotonic() - exchange.received, 4),
                **exchange.facts,
            }
            log.log(level, "request", extra=facts)

    def _label(self, exchange: Exchange) -> str:
        return exchange.path if exchange.path in self._routes else "other"

    # -- probes and descriptions -------------------------------------------------------------------

    async def _health(self, exchange: Exchange) -> None:
        """The gateway itself: if this is answered, its loop turns."""
        await exchange.respond(200, b'{"status":"ok"}', [JSON])

    async def _ready(self, exchange: Exchange) -> None:
        monitor = self._service.monitor
        reason = "draining" if self.draining else "" if monitor.ready else monitor.reason
        exchange.outcome = "not_ready" if reason else "ok"
        body = {"ready": not reason, **({"reason": reason} if reason else {})}
        await exchange.respond(503 if reason else 200, msgspec.json.encode(body), [JSON])

    async def _models(self, exchange: Exchange) -> None:
        name = self._settings.model_id
        model = {"id": name, "object": "model", "created": self._created, "owned_by": name.partition("/")[0]}
        await exchange.respond(200, msgspec.json.encode({"object": "list", "data": [model]}), [JSON])

    async def _info(self, exchange: Exchange) -> None:
        settings, limits = self._settings, self._service.limits
        info = {
            "model_id": settings.model_id,
            "model_sha": settings.model_revision or None,
            "model_pipeline_tag": "text-generation",
            "max_concurrent_requests": settings.max_concurrent_requests,
            "max_best_of": 1 if "best_of" in limits.unsupported else limits.max_best_of,
            "max_stop_sequences": limits.max_stop_sequences,
            "max_input_tokens": limits.max_input_tokens,
            "max_total_tokens": limits.max_total_tokens,
            "validation_workers": 1,
            "max_client_batch_size": 1,
            "router": "berth",
            "version": _VERSION,
            "sha": None,
            "docker_label": None,
        }
        await exchange.respond(200, msgspec.json.encode(info), [JSON])

    # -- generation --------------------------------------------------------------------------------

    async def _body(self, exchange: Exchange) -> dict[str, Any]:
        self._metrics.llm_requests.inc()
        self._metrics.tgi_received()
        # Before anything is read: whoever is to be turned away must not fill the memory first.
        self._service.admission.require_place()
        settings = self._settings
        return parse_object(await exchange.body(settings.payload_limit, settings.body_timeout, self._budget))

    async def _generate(self, exchange: Exchange) -> None:
        """`/`, `/generate` and `/generate_stream`: the key that is present says whose contract it is."""
        data = await self._body(exchange)
        limits = self._service.limits
        if ("inputs" in data) == ("prompt" in data):
            raise ValidationError("exactly one of `inputs` (TGI) and `prompt` must be given")
        if "prompt" in data:
            if exchange.path == "/generate_stream":
                raise ValidationError(
                    "`prompt` is not streamed: use /generate, or `inputs` here", param="prompt"
                )
            asked, prompt = plain.parse(data, limits)
            await self._run(exchange, asked, plain.PlainWriter(prompt))
            return
        stream = exchange.path == "/generate_stream"
        asked, options = tgi.parse(data, limits, compat=exchange.path == "/", stream=stream)
        await self._run(exchange, asked, tgi.TgiAnswer(options))

    async def _chat(self, exchange: Exchange) -> None:
        asked, options = openai.parse_chat(await self._body(exchange), self._service.limits)
        await self._run(exchange, asked, openai_answers.ChatWriter(options))

    async def _complete(self, exchange: Exchange) -> None:
        asked, options = openai.parse_completion(await self._body(exchange), self._service.limits)
        await self._run(exchange, asked, openai_answers.CompletionWriter(options))

    async def _run(self, exchange: Exchange, asked: Asked, answer: Answer) -> None:
        self._metrics.llm_temperature.set(asked.temperature if asked.sampling else 0.0)
        try:
            async with exchange.while_connected() as scope:
                if self._over:
                    raise _elsewhere()
                self._scopes[scope] = False
                try:
                    async with self._service.generation(
                        asked, exchange.path, exchange.received
                    ) as generation:
                        self._scopes[scope] = True
                        await self._write(exchange, asked, answer, generation)
                finally:
                    del self._scopes[scope]
        except OutOfTime:
            error = Drained("Request failed during generation: the server had to shut down")
            await self._break_off(exchange, answer, error)
            raise error from None
        except RequestError as error:
            await self._break_off(exchange, answer, error)
            raise
        self._metrics.tgi_succeeded()

    async def _break_off(self, exchange: Exchange, answer: Answer, error: RequestError) -> None:
        """Say in a stream that has begun why it ends here."""
        if exchange.status and not exchange.ended:
            await exchange.end(answer.failure(error))

    async def _write(self, exchange: Exchange, asked: Asked, answer: Answer, generation: Generation) -> None:
        async with aclosing(generation.tokens()) as tokens:
            if asked.stream:
                await self._stream(exchange, asked, answer, tokens)
                events = []
            else:
                events = [event async for event in tokens]
        finished = generation.finished
        if finished is None:
            raise GenerationFailed("Request failed during generation: the engine's answer has no end")
        self._note(exchange, finished, generation.timing)
        if not asked.stream:
            body = answer.whole(events, finished, generation.timing)
            await exchange.respond(200, body, [JSON, *self._tgi_headers(asked, finished, generation.timing)])
            return
        last = answer.end(finished)
        if not exchange.status:
            last = await self._start(exchange, asked, answer) + last
        await exchange.end(last)

    async def _stream(
        self, exchange: Exchange, asked: Asked, answer: Answer, tokens: AsyncIterator[TokenEvent]
    ) -> None:
        async for event in tokens:
            data = answer.token(event)
            if not exchange.status:
                # Only now: what is refused before the first token gets a status of its own.
                data = await self._start(exchange, asked, answer) + data
            if data:
                await exchange.write(data)

    async def _start(self, exchange: Exchange, asked: Asked, answer: Answer) -> bytes:
        await exchange.start([_NO_BUFFERING, *self._compute_headers(asked)])
        return answer.begin()

    def _note(self, exchange: Exchange, finished: Finished, timing: Timing) -> None:
        exchange.facts.update(
            input_tokens=finished.input_tokens,
            output_tokens=finished.output_tokens,
            finish_reason=finished.reason,
            queue_seconds=round(timing.started - timing.validated, 4),
            first_token_seconds=round(timing.first_token - timing.received, 4)
            if timing.first_token
            else None,
        )

    def _compute_headers(self, asked: Asked) -> Headers:
        description = self._service.monitor.description
        return [
            (b"x-compute-type", (description.device if description else "unknown").encode()),
            (b"x-compute-characters", b"%d" % asked.characters),
        ]

    def _tgi_headers(self, asked: Asked, finished: Finished, timing: Timing) -> Headers:
        total = timing.ended - timing.received
        inference = timing.ended - timing.started
        milliseconds = {
            b"x-total-time": total,
            b"x-validation-time": timing.validated - timing.received,
            b"x-queue-time": timing.started - timing.validated,
            b"x-inference-time": inference,
            b"x-time-per-token": inference / max(1, finished.output_tokens),
        }
        return [
            *self._compute_headers(asked),
            (b"x-compute-time", f"{total:.6f}".encode()),
            *((name, b"%d" % round(seconds * 1000)) for name, seconds in milliseconds.items()),
            (b"x-prompt-tokens", b"%d" % finished.input_tokens),
            (b"x-generated-tokens", b"%d" % finished.output_tokens),
        ]


def _elsewhere() -> NotReady:
    return NotReady("this server is shutting down; ask again", retry_after=_RETRY_ELSEWHERE)
