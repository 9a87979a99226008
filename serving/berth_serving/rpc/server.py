"""The gRPC listener: the Open Inference Protocol and grpc.health.v1 on a port of their own.

As REST's listener does, it bounds what it reads before anybody has shown a key: sizes of messages and
metadata, calls at once, watchers of the health service. In a drain it says so to every client (GOAWAY), lets
what runs finish, and takes no more: gRPC's clients then go to another server by themselves.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from berth_serving.environment import SettingsError
from berth_serving.gateway.protocol import MAX_HEADER_BYTES
from berth_serving.rpc.inference import SERVICE, Inference

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from berth_serving.gateway.app import Gateway

    Context = Any  # grpc.aio.ServicerContext, which has no types

# Beyond those that are admitted: who is refused, and probes.
_SPARE_CALLS = 256
_MOST_WATCHERS = 64
_WATCH_SECONDS = 0.5
_HANDSHAKE_MS = 10_000
_FAREWELL_SECONDS = 1.0
_Status = health_pb2.HealthCheckResponse


class RpcServer:
    """Listens from `start` on, until `drain` or `stop`."""

    def __init__(self, gateway: Gateway) -> None:
        settings = gateway.settings
        self._gateway = gateway
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=settings.max_concurrent_requests + _SPARE_CALLS,
            options=[
                ("grpc.max_receive_message_length", settings.payload_limit),
                ("grpc.max_metadata_size", MAX_HEADER_BYTES // 2),
                ("grpc.absolute_max_metadata_size", MAX_HEADER_BYTES),
                ("grpc.max_concurrent_streams", settings.max_concurrent_requests + _SPARE_CALLS),
                ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
                ("grpc.max_connection_idle_ms", int(1000 * settings.keep_alive)),
                ("grpc.so_reuseport", 0),
            ],
        )
        self._server.add_generic_rpc_handlers((Inference(gateway).handlers(),))
        health_pb2_grpc.add_HealthServicer_to_server(_Health(gateway), self._server)
        self._ending: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the port.

        Raises:
            SettingsError: it cannot be listened on.
        """
        shown = f"[{host}]" if ":" in host else host
        try:
            bound = self._add(f"{shown}:{port}")
        except RuntimeError:
            bound = 0
        if not bound:
            raise SettingsError(f"BERTH_GRPC_PORT={port}: cannot listen on {host}: it is taken, or not ours")
        await self._server.start()
        return bound

    def _add(self, address: str) -> int:
        settings = self._gateway.settings
        if settings.tls_cert_file is None or settings.tls_key_file is None:
            return int(self._server.add_insecure_port(address))
        files = settings.tls_key_file, settings.tls_cert_file

        def read() -> Any:
            return grpc.ssl_server_certificate_configuration([tuple(file.read_bytes() for file in files)])

        def read_again() -> Any:
            # Asked at every handshake; None keeps what there is.
            try:
                return read()
            except (OSError, ValueError):
                return None

        credentials = grpc.dynamic_ssl_server_credentials(read(), read_again)
        return int(self._server.add_secure_port(address, credentials))

    def drain(self, seconds: float) -> None:
        """Tell every client to go elsewhere; what runs has so many seconds."""
        self._ending = asyncio.create_task(self._server.stop(seconds + _FAREWELL_SECONDS), name="grpc drain")

    async def stop(self) -> None:
        """End at once."""
        await self._server.stop(0)
        if self._ending is not None:
            await self._ending


class _Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc] # untyped
    """grpc.health.v1: the server as a whole, and its one service. Needs no key, as every probe."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._watchers = 0

    def _status(self, service: str) -> int | None:
        if service not in ("", SERVICE):
            return None
        return int(_Status.NOT_SERVING if self._gateway.unready else _Status.SERVING)

    async def Check(self, request: Any, context: Context) -> Any:  # noqa: N802 - gRPC's name
        """Whether requests are welcome."""
        status = self._status(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no such service; known: {SERVICE}")
        return _Status(status=status)

    async def Watch(self, request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: N802 - gRPC's name
        """The same, and again whenever it changes."""
        if self._watchers >= _MOST_WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_MOST_WATCHERS} watch already")
        self._watchers += 1
        try:
            last: int | None = None
            while True:
                status = self._status(request.service)
                status = _Status.SERVICE_UNKNOWN if status is None else status
                if status != last:
                    yield _Status(status=status)
                last = status
                await asyncio.sleep(_WATCH_SECONDS)
        finally:
            self._watchers -= 1
