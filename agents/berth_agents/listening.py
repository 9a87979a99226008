"""A port that is listened on: bounded, so that whoever holds connections open does not fill the memory."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

HANDSHAKE_SECONDS = 5.0
SHUTDOWN_SECONDS = 3.0
MAX_CONNECTIONS = 512
"""Those that ask an agent keep a handful."""


def probes(ready: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    """What a kubelet asks: `/live`, which answers as long as the process does, and `/ready`."""

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="live\n")

    application = web.Application(client_max_size=1024)
    application.router.add_get("/live", live)
    application.router.add_get("/ready", ready)
    return application


def exposition(text: str) -> web.Response:
    """An answer to Prometheus, in its text format."""
    return web.Response(text=text, headers={"Content-Type": "text/plain; version=0.0.4"})


@asynccontextmanager
async def listening(
    application: web.Application,
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    most: int = MAX_CONNECTIONS,
) -> AsyncIterator[tuple[str, int]]:
    """Serve an application; gives the address and the port.

    Raises:
        OSError: the port cannot be listened on.
    """
    # Cancelling what runs for callers that went away keeps abandoned requests from piling up.
    runner = web.AppRunner(
        application, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS, handler_cancellation=True
    )
    await runner.setup()
    server = runner.server
    if server is None:
        raise RuntimeError("aiohttp's runner has no server after its setup")
    patience = HANDSHAKE_SECONDS if tls else None
    try:
        listener = await asyncio.get_running_loop().create_server(
            lambda: _Refusal() if len(server.connections) >= most else server(),
            host,
            port,
            ssl=tls,
            ssl_handshake_timeout=patience,
            ssl_shutdown_timeout=patience,
        )
        try:
            address = listener.sockets[0].getsockname()
            yield address[0], address[1]
        finally:
            listener.close()
    finally:
        await runner.cleanup()


class _Refusal(asyncio.Protocol):
    """What a connection above the limit gets: its end."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
