"""HTTP to an engine on loopback; whatever the HTTP client raises becomes an `EngineError`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import msgspec

from berth_serving.engines.protocol import EngineGarbled, EngineStalled, EngineUnreachable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

T = TypeVar("T")

# Servers end idle connections after a few seconds; ours go first, so that no request meets a closing one.
_KEEP_IDLE_SECONDS = 2.0
_CONNECT_SECONDS = 2.0
_CALL_SECONDS = 20.0
_HEALTH_SECONDS = 3.0
MAX_LINE = 4_000_000

OUTGOING: ContextVar[dict[str, str] | None] = ContextVar("OUTGOING", default=None)
"""Headers that the engine gets with every call of the present request: its id, and its place in a trace."""

encode = msgspec.json.Encoder().encode


class _Card(msgspec.Struct):
    id: str
    max_model_len: int | None = None


class _Cards(msgspec.Struct):
    data: list[_Card]


class Loopback:
    """One engine's server.

    Args:
        url: its base URL, on loopback.
        stall: seconds of silence within a stream after which it counts as stalled.
        refuse: raises the `EngineError` for a path, a status other than success, and the body.
    """

    def __init__(self, url: str, *, stall: float, refuse: Callable[[str, int, bytes], None]) -> None:
        self._url = url
        self._stall = stall
        self._refuse = refuse
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def health(self, path: str) -> None:
        """Return if the path answers with success, soon."""
        async with self._request("GET", path, aiohttp.ClientTimeout(total=_HEALTH_SECONDS), None) as response:
            await response.read()

    async def get(self, path: str, shape: type[T]) -> T:
        """The answer to a question, in its shape."""
        async with self._request("GET", path, aiohttp.ClientTimeout(total=_CALL_SECONDS), None) as response:
            return parse(shape, await response.read(), path)

    async def context_tokens(self) -> int:
        """The longest context that the server says of its model, as vLLM and SGLang do."""
        cards = (await self.get("/v1/models", _Cards)).data
        if not cards or not cards[0].max_model_len:
            raise EngineGarbled("/v1/models names no model with a max_model_len")
        return cards[0].max_model_len

    async def post(self, path: str, payload: dict[str, Any], shape: type[T]) -> T:
        """The answer to a call, in its shape."""
        limits = aiohttp.ClientTimeout(total=_CALL_SECONDS)
        async with self._request("POST", path, limits, payload) as response:
            return parse(shape, await response.read(), path)

    async def stream(self, path: str, payload: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """The payloads of a stream of server-sent events. Closing it closes the connection."""
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=self._stall)
        async with self._request("POST", path, limits, payload) as response:
            rest = b""
            async for piece in response.content.iter_any():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line.startswith(b"data:"):
                        yield line[5:].strip()
                    elif line.startswith(b"error:"):
                        raise EngineGarbled(f"{path} ended with {failure_text(line[6:])}")
                if len(rest) > MAX_LINE:
                    raise EngineGarbled(f"{path} sent a line of more than {MAX_LINE} bytes")

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, limits: aiohttp.ClientTimeout, payload: dict[str, Any] | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        body = None if payload is None else encode(payload)
        try:
            response = await self._send(method, path, limits, body)
            async with response:
                if response.status >= 300:  # noqa: PLR2004 - anything but success; engines never redirect
                    self._refuse(path, response.status, await response.content.read(MAX_LINE))
                    raise EngineGarbled(f"{path}: status {response.status}")
                yield response
        except TimeoutError:
            raise EngineStalled(f"{path}: the engine was silent for too long") from None
        except (aiohttp.ClientError, OSError) as error:
            raise EngineUnreachable(f"{path}: {type(error).__name__}") from None

    async def _send(
        self, method: str, path: str, limits: aiohttp.ClientTimeout, body: bytes | None
    ) -> aiohttp.ClientResponse:
        session = self._session
        if session is None or session.closed:
            connector = aiohttp.TCPConnector(
                limit=0, keepalive_timeout=_KEEP_IDLE_SECONDS, ttl_dns_cache=None
            )
            session = self._session = aiohttp.ClientSession(
                connector=connector, auto_decompress=False, headers={"Content-Type": "application/json"}
            )
        url, headers = self._url + path, OUTGOING.get()
        try:
            return await session.request(method, url, data=body, headers=headers, timeout=limits)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # A pooled connection ended while idle. Nothing was answered, so asking once more on a new one is
            # safe: the engine drops the work of a connection that is gone.
            return await session.request(method, url, data=body, headers=headers, timeout=limits)


def parse(shape: type[T], body: bytes, path: str) -> T:
    """JSON in its shape.

    Raises:
        EngineGarbled: it is not.
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.MsgspecError as error:
        raise EngineGarbled(f"{path}: {error}") from None


class _Message(msgspec.Struct):
    message: str = ""


def failure_text(body: bytes) -> str:
    """What an engine's error object says, shortened; `an error` where it says nothing."""
    try:
        return msgspec.json.decode(body, type=_Message).message[:300] or "an error"
    except msgspec.MsgspecError:
        return "an error"


def finite(logprob: float) -> float:
    """JSON has no infinity; nothing that is sampled lies below this."""
    return max(logprob, -9999.0) if logprob == logprob else -9999.0  # noqa: PLR0124 - NaN differs from itself
