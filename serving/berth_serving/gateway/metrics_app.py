"""The metrics port: metrics and `/load` for whom the network policy lets in, `/admin/…` with a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import msgspec

if TYPE_CHECKING:
    from berth_serving.admission import Admission
    from berth_serving.gateway.admin import Admin
    from berth_serving.gateway.app import Gateway
    from berth_serving.gateway.exchange import Receive, Scope, Send
    from berth_serving.metrics import GatewayMetrics

# Below the time that Prometheus waits; a busy engine answers between two batches.
_ENGINE_SECONDS = 8.0
_MOST_BYTES = 4_000_000
_TEXT = b"text/plain; version=0.0.4; charset=utf-8"


class MetricsApp:
    """The ASGI application behind BERTH_METRICS_PORT."""

    def __init__(
        self,
        metrics: GatewayMetrics,
        admission: Admission,
        gateway: Gateway,
        admin: Admin,
        engine_url: str,
    ) -> None:
        self._engine_url = engine_url
        self._session: aiohttp.ClientSession | None = None
        self._metrics = metrics
        self._admission = admission
        self._gateway = gateway
        self._admin = admin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one scrape."""
        if scope["path"] == "/engine/metrics" and scope["method"] == "GET":
            status, media, body = await self._engine_metrics()
        elif scope["path"].startswith("/admin/"):
            status, answer = await self._admin.answer(scope, receive)
            media, body = b"application/json", msgspec.json.encode(answer)
        else:
            status, media, body = self._answer(scope["method"], scope["path"])
        headers = [(b"content-type", media), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def _engine_metrics(self) -> tuple[int, bytes, bytes]:
        """What the engine tells of itself: it listens on loopback, where nobody else can ask."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ENGINE_SECONDS))
        try:
            async with self._session.get(f"{self._engine_url}/metrics") as response:
                body = await response.content.read(_MOST_BYTES)
                while len(body) < _MOST_BYTES and (more := await response.content.read(_MOST_BYTES)):
                    body += more
                if response.status == 200 and len(body) < _MOST_BYTES:  # noqa: PLR2004 - HTTP's OK
                    return 200, _TEXT, body
                return 502, b"text/plain", b"the engine tells no metrics\n"
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 502, b"text/plain", b"the engine does not answer\n"

    def _answer(self, method: str, path: str) -> tuple[int, bytes, bytes]:
        if method not in ("GET", "HEAD"):
            return 405, b"text/plain", b"only GET is served here\n"
        if path == "/metrics":
            return 200, _TEXT, self._metrics.render()
        if path == "/load":
            load = {
                "berth_queue_depth": self._admission.queue_depth,
                "berth_running_requests": self._admission.running,
                "slots": self._admission.slots,
                "draining": self._gateway.draining,
            }
            return 200, b"application/json", msgspec.json.encode(load)
        if path == "/engine":
            # What the liveness probe of an engine asks that cannot tell by itself that its core hangs.
            wedged = self._gateway.wedged
            said = {"wedged": wedged, "ready": self._gateway.engine_ready}
            return (503 if wedged else 200), b"application/json", msgspec.json.encode(said)
        return 404, b"text/plain", b"served: /metrics, /engine/metrics, /load, /engine, /admin/...\n"
