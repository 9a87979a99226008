"""uvicorn's HTTP/1.1 protocol with limits that it lacks: headers' time and size, clients that never read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

MAX_HEADER_BYTES = 65_536
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain\r\n"
    b"content-length: 26\r\nconnection: close\r\n\r\nRequest headers too large.\n"[:-1]
)


def protocol_class(header_timeout: float) -> type[HttpToolsProtocol]:  # noqa: C901 - one small class, not one function
    """The protocol with `header_timeout` seconds for a request's line and headers.

    The first request of a connection has to begin within that time, too; later ones have uvicorn's keep-alive
    time to begin, and from their first byte on the same time to bring their headers.
    """

    class Protocol(HttpToolsProtocol):
        _header_timer: asyncio.TimerHandle | None = None
        _header_bytes = 0

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)  # type: ignore[arg-type]
            self._expect_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            self._headers_came()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._header_timer is not None:
                self._header_bytes += len(data)
                if self._header_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
                    self.transport.write(_TOO_LARGE)
                    self.transport.close()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            extensions: dict[str, Callable[[], object]] = {
                "berth.abort": self.transport.abort,
                "berth.waits": self._waits,
            }
            self.scope["extensions"] = extensions  # type: ignore[typeddict-item]
            self._expect_headers()

        def on_headers_complete(self) -> None:
            self._headers_came()
            super().on_headers_complete()

        def timeout_keep_alive_handler(self) -> None:
            # Closing waits until everything is written; a client that never reads would keep it open.
            if self.transport.get_write_buffer_size():
                self.transport.abort()
            super().timeout_keep_alive_handler()

        def _waits(self) -> bool:
            """Whether sending would wait for the client to read."""
            return self.flow.write_paused

        def _expect_headers(self) -> None:
            if self._header_timer is None:
                self._header_bytes = 0
                self._header_timer = self.loop.call_later(header_timeout, self._give_up)

        def _headers_came(self) -> None:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None

        def _give_up(self) -> None:
            self._header_timer = None
            if not self.transport.is_closing():
                self.transport.abort()

    return Protocol


def abort(scope: dict[str, Any]) -> None:
    """Drop the connection of a request at once, whatever is still to be written."""
    scope["extensions"]["berth.abort"]()
