"""One HTTP request and its response: bounded reading and writing, and knowing when the client has left."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from typing import TYPE_CHECKING, Any, Self

from berth_serving.errors import ClientGone, Overloaded, PayloadTooLarge, RequestTimeout
from berth_serving.gateway.protocol import abort
from berth_serving.interrupt import Interruptible
from berth_serving.keys import NOBODY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from types import TracebackType

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Headers = list[tuple[bytes, bytes]]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
# A write that takes no longer waited for nobody.
_PROMPT_WRITE = 0.05
JSON = (b"content-type", b"application/json")
EVENT_STREAM = (b"content-type", b"text/event-stream")


class BodyBudget:
    """Bytes of request bodies that may be in memory together, so that a flood of large ones cannot fill it.

    Args:
        most: bytes.
    """

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, size: int) -> None:
        """Take `size` bytes.

        Raises:
            Overloaded: fewer are left.
        """
        if size > self._left:
            raise Overloaded("Model is overloaded: too many bytes of requests are held", retry_after=1)
        self._left -= size

    def give(self, size: int) -> None:
        """Give them back."""
        self._left += size


class Exchange:
    """A request and its response.

    Attributes:
        id: the client's x-request-id where it is usable, else a new one.
        received: monotonic seconds.
        common: headers that every response of this exchange carries.
        status: what was answered, 0 before that.
        outcome: one of `metrics.OUTCOMES`.
        facts: what the log line says about it.
        key: whose it is; `NOBODY` where no key was asked for.
        generates: whether it asks for tokens, which TGI's counters count.
        held: bytes of the body, taken from the budget; whoever ends the exchange gives them back.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, write_timeout: float) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._write_timeout = write_timeout
        self._waits: Callable[[], bool] = scope["extensions"]["berth.waits"]
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.received = time.monotonic()
        given = self.headers.get(b"x-request-id", b"")
        self.id = given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        self.common: Headers = [(b"x-request-id", self.id.encode())]
        self.status = 0
        self.ended = False
        self.outcome = "ok"
        self.facts: dict[str, Any] = {}
        self.key = NOBODY
        self.generates = False
        self.held = 0
        self._blocked = 0.0

    @property
    def verb(self) -> str:
        """The method, HEAD being a GET without a body."""
        return "GET" if self.method == "HEAD" else self.method

    def header(self, name: bytes) -> str | None:
        """A request header, or None."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    async def body(self, limit: int, seconds: float, budget: BodyBudget) -> bytes:
        """The whole body.

        Raises:
            PayloadTooLarge: more than `limit` bytes, announced or sent.
            RequestTimeout: it took longer than `seconds`.
            ClientGone: the client left before it was whole.
            Overloaded: too many bytes of other bodies are held.
        """
        announced = self.headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > limit:
            raise self._too_large(limit)
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    size += len(message["body"])
                    if size > limit:
                        raise self._too_large(limit)
                    budget.take(len(message["body"]))
                    self.held = size
                    pieces.append(message["body"])
                    if not message["more_body"]:
                        return b"".join(pieces)
        except TimeoutError:
            self._close_after()
            raise RequestTimeout(f"the body did not arrive within {seconds:g} s") from None

    def _too_large(self, limit: int) -> PayloadTooLarge:
        # The rest of the body is not read, so the connection is of no further use.
        self._close_after()
        return PayloadTooLarge(f"the body must be at most {limit} bytes (PAYLOAD_LIMIT)")

    def _close_after(self) -> None:
        if (b"connection", b"close") not in self.common:
            self.common.append((b"connection", b"close"))

    async def respond(self, status: int, body: bytes, headers: Headers) -> None:
        """Answer whole."""
        self.status = status
        length = (b"content-length", b"%d" % len(body))
        head = {"type": "http.response.start", "status": status, "headers": [*headers, *self.common, length]}
        await self._write(head)
        self.ended = True
        await self._write({"type": "http.response.body", "body": body, "more_body": False})

    async def start(self, headers: Headers) -> None:
        """Begin a streamed answer."""
        self.status = 200
        head = {
            "type": "http.response.start",
            "status": 200,
            "headers": [EVENT_STREAM, *headers, *self.common],
        }
        await self._write(head)

    async def write(self, data: bytes) -> None:
        """One piece of a streamed answer; waits while the client reads slower than we write."""
        await self._write({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """The last piece of a streamed answer."""
        self.ended = True
        await self._write({"type": "http.response.body", "body": data, "more_body": False})

    async def _write(self, message: Message) -> None:
        if not self._waits():
            # Nearly always, and a timer for each token would cost more than the token.
            await self._send(message)
            return
        # The time that a client keeps us waiting adds up: one that takes a little of each piece would else
        # hold its slot for ever.
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._write_timeout - self._blocked):
                await self._send(message)
        except TimeoutError:
            abort(self._scope)  # type: ignore[arg-type]
            raise ClientGone from None
        waited = time.monotonic() - began
        if waited > _PROMPT_WRITE:
            self._blocked += waited

    def while_connected(self) -> _WhileConnected:
        """A context that ends with `ClientGone` as soon as the client leaves. Read the body before."""
        return _WhileConnected(self._receive)


class _WhileConnected(Interruptible):
    __slots__ = ("_receive", "_watcher")

    def __init__(self, receive: Receive) -> None:
        super().__init__()
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.interrupt(ClientGone())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
        await super().__aexit__(kind, error, trace)
