"""The gateway's routes. Plain ASGI: the hot path is one event per token; a framework's layers cost more."""

from __future__ import annotations

import logging
import time
from contextlib import asynccontextmanager, contextmanager, nullcontext
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
from berth_serving.gateway import descriptions, managed, openapi, writing
from berth_serving.gateway.exchange import JSON, BodyBudget, Exchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from berth_serving.contracts.model import Answer, Asked, Limits
    from berth_serving.gateway.exchange import Headers, Receive, Scope, Send
    from berth_serving.interrupt import Interruptible
    from berth_serving.keys import Key, KeyRing
    from berth_serving.service import Generation, Service
    from berth_serving.settings import GatewaySettings

    Handler = Callable[[Exchange], Awaitable[None]]

log = logging.getLogger("berth.gateway")

_PROBES = frozenset({"/health", "/ready"})
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
        self.settings = settings
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
        exchange = Exchange(scope, receive, send, write_timeout=self.settings.write_timeout)
        probe = (exchange.verb, exchange.path) in self._open and exchange.verb == "GET"
        with nullcontext() if probe else self.in_sight(exchange.received):
            try:
                await self._answer_or_refuse(exchange)
            finally:
                self._budget.give(exchange.held)
                self._account(exchange)

    @contextmanager
    def in_sight(self, received: float) -> Iterator[None]:
        """A request that a drain waits for."""
        self.in_flight += 1
        self.last_request = received
        try:
            yield
        finally:
            self.in_flight -= 1

    @property
    def unready(self) -> str:
        """Why requests are not welcome; "" where they are."""
        monitor = self._service.monitor
        return "draining" if self.draining else "" if monitor.ready else monitor.reason

    @property
    def limits(self) -> Limits:
        """What validation has to know."""
        return self._service.limits

    @property
    def wedged(self) -> bool:
        """Whether the engine says that it is well and answers no prompt."""
        return self._service.monitor.wedged

    @property
    def engine_ready(self) -> bool:
        """Whether the engine is proven to answer."""
        return self._service.monitor.ready

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

    def authenticate(self, authorization: str | None) -> Key:
        """Whose key it is.

        Raises:
            Unauthenticated: there is none, or a wrong one.
            NotReady: it is too late in the drain for a new request.
        """
        key = self._keys.whose(authorization)
        if key is None:
            raise Unauthenticated("a valid API key is needed: send `Authorization: Bearer <key>`")
        if self.closed:
            raise _elsewhere()
        return key

    def authorize(self, key: Key, scope: str) -> None:
        """Let a key do what its scopes allow, and count that.

        Raises:
            Forbidden: it lacks the scope.
            Overloaded: it is over its requests per minute.
        """
        if scope not in key.scopes:
            raise Forbidden(f"key {key.name} may not do this: it lacks the scope {scope}")
        self._keys.charge(key)

    def _route(self, exchange: Exchange) -> Handler:
        if (exchange.verb, exchange.path) not in self._open:
            # The key first, so that whoever has none learns nothing about routes.
            key = exchange.key = self.authenticate(exchange.header(b"authorization"))
            exchange.facts["key"] = key.name
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
            self.authorize(exchange.key, _SCOPES.get(exchange.path, "generate"))
        return handler

    def failed(self, error: RequestError, *, generates: bool) -> str:
        """Count a failure under TGI's name if it was to generate; its outcome."""
        outcome = next((name for kind, name in _OUTCOMES.items() if isinstance(error, kind)), "internal")
        if generates:
            self._metrics.tgi_failed(outcome)
        return outcome

    def account(self, route: str, outcome: str) -> None:
        """Count a request that is over; `route` is one of a bounded set."""
        self._metrics.requests.labels(route, outcome).inc()

    async def _refuse(self, exchange: Exchange, error: RequestError) -> None:
        exchange.outcome = self.failed(error, generates=exchange.generates)
        exchange.facts["error"] = type(error).__name__
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
        self.account(label, exchange.outcome)
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
        reason = self.unready
        exchange.outcome = "not_ready" if reason else "ok"
        body = {"ready": not reason, **({"reason": reason} if reason else {})}
        await exchange.respond(503 if reason else 200, msgspec.json.encode(body), [JSON])

    async def _models(self, exchange: Exchange) -> None:
        name = self.settings.model_id
        model = {"id": name, "object": "model", "created": self._created, "owned_by": name.partition("/")[0]}
        await exchange.respond(200, msgspec.json.encode({"object": "list", "data": [model]}), [JSON])

    async def _info(self, exchange: Exchange) -> None:
        settings, limits = self.settings, self._service.limits
        await exchange.respond(200, msgspec.json.encode(descriptions.info(settings, limits)), [JSON])

    async def _openapi(self, exchange: Exchange) -> None:
        if not self._document:
            self._document = msgspec.json.encode(openapi.document(self.settings, self._service.limits))
        await exchange.respond(200, self._document, [JSON])

    async def _feedback(self, exchange: Exchange) -> None:
        body = await exchange.body(feedback.MOST_BODY, self.settings.body_timeout, self._budget)
        counted = self._feedbacks.take(Fields(parse_object(body)))
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
        if (exchange.header(b"content-encoding") or "identity").strip().lower() != "identity":
            raise WrongMediaType("`content-encoding` must be identity: bodies are read as they are")
        settings = self.settings
        body = await exchange.body(settings.payload_limit, settings.body_timeout, self._budget)
        return Fields(parse_object(body))

    async def asked(self, exchange: Exchange) -> Fields:
        """The fields of a request for tokens."""
        exchange.generates = True
        self.received()
        return await self._fields(exchange)

    def received(self) -> None:
        """Count a request for tokens."""
        self._metrics.llm_requests.inc()
        self._metrics.tgi_received()

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
                description = self._service.monitor.description
                device = description.device if description else "unknown"
                await writing.write(exchange, asked, answer, generation, device)
        except RequestError as error:
            await self._break_off(exchange, answer, error)
            raise
        self.succeeded()

    def succeeded(self) -> None:
        """Count a request that was answered whole."""
        self._metrics.tgi_succeeded()

    def generating(self, exchange: Exchange, asked: Asked) -> AbstractAsyncContextManager[Generation]:
        """A generation that also ends with the client's connection."""
        return self.generation(exchange.while_connected(), asked, self._call(exchange, asked))

    @asynccontextmanager
    async def generation(
        self, interruptible: Interruptible, asked: Asked, call: Call
    ) -> AsyncIterator[Generation]:
        """A generation that ends with the engine or the drain's time, and whenever it is interrupted."""
        self._metrics.llm_temperature.set(asked.temperature if asked.sampling else 0.0)
        try:
            async with interruptible as scope:
                if self._over:
                    raise _elsewhere()
                self._scopes[scope] = False
                try:
                    async with self._service.generation(asked, call) as generation:
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


def _elsewhere() -> NotReady:
    return NotReady("this server is shutting down; ask again", retry_after=_RETRY_ELSEWHERE)
