"""The gateway's routes. Plain ASGI: the hot path is one event per token; a framework's layers cost more."""

from __future__ import annotations

import logging
import time
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from berth_serving import errors, feedback
from berth_serving.call import Call, trace_headers
from berth_serving.contracts import openai as openai_contract
from berth_serving.contracts import openai_answers, plain, tgi, tokenize
from berth_serving.contracts.fields import Fields, parse_object
from berth_serving.errors import (
    ClientGone,
    Drained,
    Forbidden,
    GenerationFailed,
    Internal,
    MethodNotAllowed,
    NoSuchRoute,
    NotReady,
    OutOfTime,
    RequestError,
    Unauthenticated,
    ValidationError,
    WrongMediaType,
)
from berth_serving.feedback import Feedback
from berth_serving.gateway import descriptions, managed, openapi
from berth_serving.gateway.exchange import JSON, BodyBudget, Exchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from berth_serving.contracts.model import Answer, Asked, Limits, Timing
    from berth_serving.engines.protocol import Finished, TokenEvent
    from berth_serving.gateway.exchange import Headers, Receive, Scope, Send
    from berth_serving.interrupt import Interruptible
    from berth_serving.keys import KeyRing
    from berth_serving.service import Generation, Service
    from berth_serving.settings import GatewaySettings

    Handler = Callable[[Exchange], Awaitable[None]]

log = logging.getLogger("berth.gateway")

_PROBES = frozenset({"/health", "/ready"})
_NO_BUFFERING = (b"x-accel-buffering", b"no")
_RETRY_ELSEWHERE = 1
_JSON = "application/json"
_HELD_BYTES = 64 * 1024 * 1024
# What a key needs for a route; it needs `generate` for all others.
_SCOPES = {
    "/v1/models": "read",
    "/tokenize": "read",
    "/chat_tokenize": "read",
    "/info": "read",
    "/openapi.json": "read",
    "/feedback": "feedback",
}
_OUTCOMES: dict[type[RequestError], str] = {
    errors.ValidationError: "validation",
    errors.Unauthenticated: "authentication",
    errors.NoSuchRoute: "not_found",
    errors.MethodNotAllowed: "not_found",
    errors.RequestTimeout: "timeout",
    errors.PayloadTooLarge: "too_large",
    errors.WrongMediaType: "validation",
    errors.ContentBlocked: "content_filter",
    errors.Forbidden: "authorization",
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
            "/": {"GET": self._health, "POST": self._generate},
            "/generate": {"POST": self._generate},
            "/generate_stream": {"POST": self._generate},
            "/v1/chat/completions": {"POST": self._chat},
            "/v1/completions": {"POST": self._complete},
            "/v1/models": {"GET": self._models},
            "/tokenize": {"POST": self._tokenize},
            "/chat_tokenize": {"POST": self._chat_tokenize},
            "/info": {"GET": self._info},
            "/feedback": {"POST": self._feedback},
            "/openapi.json": {"GET": self._openapi},
            "/health": {"GET": self._health},
            "/ready": {"GET": self.ready},
        }
        # What needs no key: probes, and in a managed cloud's mode what that cloud calls and authenticates.
        self._open: set[tuple[str, str]] = {("GET", path) for path in (*_PROBES, "/")}
        for path, method, handler in managed.routes(settings, self):
            self._routes[path] = {method: handler}
            self._open.add((method, path))
        self._document = b""
        self._feedbacks = Feedback(service.metrics, settings.variant)
        self._variant = [(b"x-berth-variant", settings.variant.encode())] if settings.variant else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = Exchange(scope, receive, send, write_timeout=self._settings.write_timeout)
        probe = (exchange.verb, exchange.path) in self._open and exchange.verb == "GET"
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

    @property
    def limits(self) -> Limits:
        """What validation has to know."""
        return self._service.limits

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
        exchange.common += self._variant
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
        if (exchange.verb, exchange.path) not in self._open:
            key = self._keys.whose(exchange.header(b"authorization"))
            if key is None:
                raise Unauthenticated("a valid API key is needed: send `Authorization: Bearer <key>`")
            exchange.key = key
            exchange.facts["key"] = key.name
            if self.closed:
                raise _elsewhere()
        methods = self._routes.get(exchange.path)
        if methods is None:
            raise NoSuchRoute(f"no such path; served: {', '.join(self._routes)}")
        handler = methods.get(exchange.verb)
        if handler is None:
            exchange.common.append((b"allow", ", ".join(methods).encode()))
            raise MethodNotAllowed(
                f"{exchange.method} is not served on this path; served: {', '.join(methods)}"
            )
        if (exchange.verb, exchange.path) not in self._open:
            needed = _SCOPES.get(exchange.path, "generate")
            if needed not in exchange.key.scopes:
                raise Forbidden(f"key {exchange.key.name} may not do this: it lacks the scope {needed}")
            self._keys.charge(exchange.key)
        return handler

    async def _refuse(self, exchange: Exchange, error: RequestError) -> None:
        exchange.outcome = next(
            (name for kind, name in _OUTCOMES.items() if isinstance(error, kind)), "internal"
        )
        exchange.facts["error"] = type(error).__name__
        if exchange.generates:
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
        level = logging.DEBUG if exchange.path in _PROBES else logging.INFO
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

    async def ready(self, exchange: Exchange) -> None:
        """Whether requests are welcome: the model has answered, and this server is not draining."""
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
        await exchange.respond(200, msgspec.json.encode(descriptions.info(settings, limits)), [JSON])

    async def _openapi(self, exchange: Exchange) -> None:
        if not self._document:
            self._document = msgspec.json.encode(openapi.document(self._settings, self._service.limits))
        await exchange.respond(200, self._document, [JSON])

    async def _feedback(self, exchange: Exchange) -> None:
        body = await exchange.body(feedback.MOST_BODY, self._settings.body_timeout, self._budget)
        counted = self._feedbacks.take(parse_object(body))
        await exchange.respond(202, b'{"counted":true}' if counted else b'{"counted":false}', [JSON])

    # -- tokens of a text ----------------------------------------------------------------------------

    async def _tokenize(self, exchange: Exchange) -> None:
        text, add_special = tokenize.parse(await self._fields(exchange), self._service.limits)
        async with exchange.while_connected():
            text, pieces = await self._service.pieces(text, exchange.key.name, add_special=add_special)
        await exchange.respond(200, tokenize.answer(tokenize.tokens_of(text, pieces)), [JSON])

    async def _chat_tokenize(self, exchange: Exchange) -> None:
        limits = self._service.limits
        asked, _ = openai_contract.parse_chat(await self._fields(exchange), limits)
        for needed in ("chat_tokenize", "tokenize"):
            if needed in limits.unsupported:
                raise tgi.unsupported("messages", needed, limits)
        async with exchange.while_connected():
            # The template says what begins a prompt; the tokenizer must not say it again.
            text, pieces = await self._service.pieces(
                asked.messages or [], exchange.key.name, add_special=False
            )
        await exchange.respond(200, tokenize.chat_answer(text, tokenize.tokens_of(text, pieces)), [JSON])

    # -- generation --------------------------------------------------------------------------------

    async def _fields(self, exchange: Exchange) -> Fields:
        # Before anything is read: whoever is to be turned away must not fill the memory first.
        self._service.admission.require_place(exchange.key.name)
        media = (exchange.header(b"content-type") or _JSON).partition(";")[0].strip().lower()
        if media != _JSON and not (media.startswith("application/") and media.endswith("+json")):
            raise WrongMediaType(f"`content-type` must be {_JSON}, got {media[:60]}")
        settings = self._settings
        body = await exchange.body(settings.payload_limit, settings.body_timeout, self._budget)
        return Fields(parse_object(body))

    async def asked(self, exchange: Exchange) -> Fields:
        """The fields of a request for tokens."""
        exchange.generates = True
        self._metrics.llm_requests.inc()
        self._metrics.tgi_received()
        return await self._fields(exchange)

    async def _generate(self, exchange: Exchange) -> None:
        """`/`, `/generate` and `/generate_stream`: the key that is present says whose contract it is."""
        read = await self.asked(exchange)
        limits = self._service.limits
        if read.has("inputs") == read.has("prompt"):
            raise ValidationError("exactly one of `inputs` (TGI) and `prompt` must be given")
        if read.has("prompt"):
            if exchange.path == "/generate_stream":
                raise ValidationError(
                    "`prompt` is not streamed: use /generate, or `inputs` here", param="prompt"
                )
            asked, prompt = plain.parse(read, limits)
            await self.run(exchange, asked, plain.PlainWriter(prompt))
            return
        stream = exchange.path == "/generate_stream"
        asked, options = tgi.parse(read, limits, compat=exchange.path == "/", stream=stream)
        await self.run(exchange, asked, tgi.TgiAnswer(options))

    async def _chat(self, exchange: Exchange) -> None:
        await self.chat(exchange, await self.asked(exchange))

    async def _complete(self, exchange: Exchange) -> None:
        await self.complete(exchange, await self.asked(exchange))

    async def chat(self, exchange: Exchange, read: Fields) -> None:
        """Answer a chat."""
        asked, options = openai_contract.parse_chat(read, self._service.limits)
        await self.run(exchange, asked, openai_answers.ChatWriter(options))

    async def complete(self, exchange: Exchange, read: Fields) -> None:
        """Answer a text completion."""
        asked, options = openai_contract.parse_completion(read, self._service.limits)
        await self.run(exchange, asked, openai_answers.CompletionWriter(options))

    async def run(self, exchange: Exchange, asked: Asked, answer: Answer) -> None:
        """Generate, and write what comes in the words of a contract."""
        try:
            async with self.generating(exchange, asked) as generation:
                await self._write(exchange, asked, answer, generation)
        except RequestError as error:
            await self._break_off(exchange, answer, error)
            raise
        self.succeeded()

    def succeeded(self) -> None:
        """Count a request that was answered whole."""
        self._metrics.tgi_succeeded()

    @asynccontextmanager
    async def generating(self, exchange: Exchange, asked: Asked) -> AsyncIterator[Generation]:
        """A generation that ends with the client, the engine or the drain's time."""
        self._metrics.llm_temperature.set(asked.temperature if asked.sampling else 0.0)
        try:
            async with exchange.while_connected() as scope:
                if self._over:
                    raise _elsewhere()
                self._scopes[scope] = False
                try:
                    async with self._service.generation(asked, self._call(exchange, asked)) as generation:
                        self._scopes[scope] = True
                        yield generation
                finally:
                    del self._scopes[scope]
        except OutOfTime:
            raise Drained("Request failed during generation: the server had to shut down") from None

    def _call(self, exchange: Exchange, asked: Asked) -> Call:
        return Call(
            route=self._label(exchange),
            received=exchange.received,
            operation="text_completion" if asked.messages is None else "chat",
            key=exchange.key,
            request_id=exchange.id,
            trace=trace_headers(exchange.header(b"traceparent"), exchange.header(b"tracestate")),
        )

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
