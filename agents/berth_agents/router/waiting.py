"""The waiting room: holds what is asked of a model that sleeps, until Envoy has a ready pod to give it to.

While none of a backend's pods is ready, a port of this process is the backend's only endpoint. What Envoy
sends there waits; when the backend has ready pods, and Envoy has taken them, everything that waits is
answered with 503, on which Envoy, which has kept the request, asks again: a real pod this time. Where Envoy
cannot (a body larger than it keeps, a budget), that 503 is what the client gets. What is refused for good
carries `x-envoy-ratelimited`, which ends Envoy's attempts and goes no further than Envoy.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from aiohttp import ClientError, web

from berth_agents.listening import listening
from berth_agents.router.document import MOST_HELD, Document, Host, Service, Wakes
from berth_agents.router.held import Held
from berth_agents.router.keys import KeyFolder

log = logging.getLogger(__name__)

FINAL = "x-envoy-ratelimited"
"""On an answer that Envoy is to pass on. Envoy's own word: it tries nothing again that carries it."""
WAKING = {
    "/": "generate",
    "/generate": "generate",
    "/generate_stream": "generate",
    "/v1/chat/completions": "generate",
    "/v1/completions": "generate",
    "/tokenize": "read",
    "/chat_tokenize": "read",
}
"""What asks the model, by POST, and what a key needs for it. Nothing else wakes one."""
_LOOPBACK = "127.0.0.1"
# Refusals come beside what is held, and are over at once.
_CONNECTIONS = 2 * MOST_HELD
MOST_BYTES = 128 << 20
"""Of all bodies that Envoy keeps for who waits: a quarter of the memory that it has by default."""
# Who comes while the pods are there was sent before Envoy had them.
_SOON = 0.1


@dataclass
class Bodies:
    """What Envoy keeps for all that wait, in bytes. `most`: what would be above is sent away."""

    most: int = MOST_BYTES
    now: int = 0


class _Full(Exception):  # noqa: N818 - what happened
    """There is no room for another body."""


class Room:
    """The waiting room of one backend.

    Args:
        bodies: shared by all rooms of a router.
    """

    def __init__(
        self,
        backend: str,
        service: Service,
        wakes: Wakes,
        keys: KeyFolder,
        *,
        bodies: Bodies,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.wakes = wakes
        self._bodies = bodies
        self.held = Held(backend, service.name)
        self._keys, self._clock = keys, clock
        self._awake = False
        self._door: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def asleep(self) -> None:
        """Hold what comes from now on; to be called before Envoy sends it here."""
        self._awake = False

    def let_go(self) -> None:
        """Let everybody go; to be called once Envoy has where to."""
        if not self._awake and self.held.now:
            log.info("Awake", extra={"backend": self.held.backend, "let_go": self.held.now})
        self._awake = True
        self._open("let_go")

    def end(self) -> None:
        """Send everybody away: there will be no waiting here any more."""
        self._open("ended")

    def _open(self, outcome: str) -> None:
        self._door.set_result(outcome)
        self._door = asyncio.get_running_loop().create_future()

    def application(self) -> web.Application:
        """What Envoy asks."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.Response:
        needed = WAKING.get(request.path) if request.method == "POST" else None
        if needed is None:
            return _refusal(request, "the model is asleep, and only what asks it wakes it")
        if self.wakes.keys:
            scopes = self._keys.scopes(request.headers.get("Authorization"))
            if scopes is None or needed not in scopes:
                self.held.count("no_key")
                return _unknown(request) if scopes is None else _forbidden(request, needed)
        if self._awake:
            await _body(request)
            await asyncio.sleep(_SOON)
            return _again(request)
        if self.held.now >= self.wakes.most:
            self.held.count("too_many")
            return _refusal(request, f"the model is asleep, and {self.held.now} requests wait for it")
        return await self._hold(request)

    async def _hold(self, request: web.Request) -> web.Response:
        if not self.held.now:
            log.info("Asked while asleep", extra={"backend": self.held.backend})
        began, outcome = self._clock(), "client_gone"
        seconds = self.wakes.hold_seconds
        self.held.now += 1
        kept = _Kept(self._bodies, self.wakes.body_bytes)
        try:
            async with asyncio.timeout(seconds):
                door = self._door
                # Envoy can ask again only what it has whole.
                await _body(request, kept)
                outcome = await asyncio.shield(door)
        except TimeoutError:
            outcome = "too_long"
        except _Full:
            outcome = "too_many"
        finally:
            kept.free()
            self.held.now -= 1
            self.held.count(outcome, None if outcome == "too_many" else self._clock() - began)
        match outcome:
            case "let_go":
                return _again(request)
            case "too_long":
                return _refusal(request, f"the model is asleep and did not wake within {seconds} s")
            case "too_many":
                return _refusal(request, "the model is asleep, and too many bytes of requests wait")
            case _:
                return _refusal(request, "the router that held this request ends")


class WaitingRooms:
    """A room for each backend that wakes.

    Args:
        keys: folder with a folder of keys for each backend; None: there are no keys.
    """

    def __init__(self, keys: Path | None) -> None:
        self._keys = keys
        self._bodies = Bodies()
        self._rooms: dict[str, tuple[Room, Host, AsyncExitStack]] = {}

    @property
    def hosts(self) -> Mapping[str, Host]:
        """Where Envoy finds the room of a backend."""
        return {name: host for name, (_, host, _) in self._rooms.items()}

    @property
    def held(self) -> list[Held]:
        """What is held, by backend."""
        return [room.held for room, *_ in self._rooms.values()]

    async def open(self, document: Document) -> None:
        """Open a room for each backend that wakes; one whose Service changed gets another."""
        for name, backend in document.backends.items():
            if backend.wakes is None or backend.service is None:
                continue
            room = self._rooms[name][0] if name in self._rooms else None
            if room is not None and room.held.service == backend.service.name:
                room.wakes = backend.wakes
                continue
            await self._close(name)
            folder = self._keys / name if self._keys else None
            room = Room(name, backend.service, backend.wakes, KeyFolder(folder), bodies=self._bodies)
            door = AsyncExitStack()
            address, port = await door.enter_async_context(
                listening(room.application(), _LOOPBACK, 0, most=_CONNECTIONS)
            )
            self._rooms[name] = room, Host(address, port), door

    def asleep(self, names: Iterable[str]) -> None:
        """These have no ready pod; Envoy is told next."""
        for name in self._rooms.keys() & {*names}:
            self._rooms[name][0].asleep()

    def let_go(self, names: Iterable[str]) -> None:
        """These have ready pods, and Envoy knows them."""
        for name in self._rooms.keys() & {*names}:
            self._rooms[name][0].let_go()

    async def keep(self, document: Document) -> None:
        """Close the rooms that the document, which is in force, no longer has."""
        for name in [*self._rooms]:
            backend = document.backends.get(name)
            if backend is None or backend.wakes is None:
                await self._close(name)

    async def close(self) -> None:
        """Send away who waits, and close all rooms."""
        for room, *_ in self._rooms.values():
            room.end()
        for name in [*self._rooms]:
            await self._close(name)

    async def _close(self, name: str) -> None:
        if name in self._rooms:
            room, _, door = self._rooms.pop(name)
            room.end()
            await door.aclose()


class _Kept:
    """Counts what Envoy keeps of one body: nothing more of one that is larger than it keeps."""

    def __init__(self, bodies: Bodies, most: int) -> None:
        self._bodies, self._most, self._mine = bodies, most, 0

    def add(self, count: int) -> None:
        more = min(count, self._most - self._mine)
        if self._bodies.now + more > self._bodies.most:
            raise _Full
        self._bodies.now += more
        self._mine += more

    def free(self) -> None:
        self._bodies.now -= self._mine
        self._mine = 0


async def _body(request: web.Request, kept: _Kept | None = None) -> None:
    """Take in all of it and keep nothing; a client that goes meanwhile is nobody to answer.

    Raises:
        _Full: Envoy is to keep no more.
    """
    with contextlib.suppress(ClientError, OSError):
        async for piece in request.content.iter_any():
            if kept:
                kept.add(len(piece))


class _Kind(NamedTuple):
    """What went wrong, in the gateway's words: TGI's type, OpenAI's, and its code."""

    status: int
    tgi: str
    openai: str
    code: str


_ASLEEP = _Kind(503, "healthcheck", "server_error", "not_ready")
_NO_KEY = _Kind(401, "authentication", "invalid_request_error", "invalid_api_key")
_NO_SCOPE = _Kind(403, "authorization", "invalid_request_error", "insufficient_scope")


def _again(request: web.Request) -> web.Response:
    """Envoy's reason to ask again; the words are for who gets it all the same."""
    words = "the model was asleep and is awake now; please send this request again"
    return _said(request, _ASLEEP, words, {"retry-after": "1"})


def _refusal(request: web.Request, words: str) -> web.Response:
    return _said(request, _ASLEEP, words, {"retry-after": "1", FINAL: "true"})


def _unknown(request: web.Request) -> web.Response:
    words = "a valid API key is needed: send `Authorization: Bearer <key>`"
    return _said(request, _NO_KEY, words, {"www-authenticate": "Bearer"})


def _forbidden(request: web.Request, scope: str) -> web.Response:
    return _said(request, _NO_SCOPE, f"this key may not do this: it lacks the scope {scope}", {})


def _said(request: web.Request, kind: _Kind, words: str, headers: Mapping[str, str]) -> web.Response:
    """An error in one of the gateway's two forms."""
    if request.path.startswith("/v1/"):
        body: object = {"error": {"message": words, "type": kind.openai, "param": None, "code": kind.code}}
    else:
        body = {"error": words, "error_type": kind.tgi}
    return web.json_response(body, status=kind.status, headers=headers)
