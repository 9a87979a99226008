"""The gateway's process: two listeners, one engine monitor, and an end that loses no request.

What SIGTERM starts (in Kubernetes after preStop's sleep, by when no new
connection is sent here):

1. `/ready` answers 503. Listening goes on: a client that kept a connection from
   before, or a balancer that has not heard yet, is still served. Every response
   says `Connection: close`, so that nobody comes back on the same connection.
2. It ends when nothing is in flight and nobody asked anything for a moment.
3. From half of BERTH_DRAIN_SECONDS on, a new request gets 503 with Retry-After:
   what it began could not be promised to end.
4. At BERTH_DRAIN_SECONDS whatever still runs is broken off with an error in its
   own words, and whatever still waits gets that 503. Exit code 0 all the same;
   the log says how many.

A second SIGTERM, or SIGINT after either, ends the process at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

import uvicorn

from berth_serving.admission import Admission
from berth_serving.engines.choice import make_engine
from berth_serving.environment import SettingsError
from berth_serving.gateway.admin import Admin
from berth_serving.gateway.app import Gateway
from berth_serving.gateway.certificate import Certificate
from berth_serving.gateway.metrics_app import MetricsApp
from berth_serving.gateway.protocol import protocol_class
from berth_serving.metrics import GatewayMetrics
from berth_serving.rpc.server import RpcServer
from berth_serving.service import Service

if TYPE_CHECKING:
    from collections.abc import Generator

    from berth_serving.keys import KeyRing
    from berth_serving.settings import GatewaySettings

log = logging.getLogger("berth.server")

# How long nobody may have asked before a drained gateway goes: longer than a client needs to send what it had
# begun to send on a connection that it believed open.
_QUIET_SECONDS = 1.0
_TICK_SECONDS = 0.05
_BACKLOG = 2048
_FAREWELL_SECONDS = 1.0


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: a drain is more than it does."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def listen(host: str, port: int, variable: str) -> socket.socket:
    """A listening socket, made before anything else so that a taken port is told at once.

    Raises:
        SettingsError: naming the variable, the address and the reason.
    """
    try:
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(info[0], info[1])
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(info[4])
    except OSError as error:
        raise SettingsError(
            f"{variable}={port}: cannot listen on {host}: {error.strerror or error}"
        ) from None
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


async def serve(settings: GatewaySettings, keys: KeyRing) -> int:
    """Serve until told to end; the process' exit code.

    Raises:
        SettingsError: a port cannot be listened on.
    """
    api_socket = listen(settings.host, settings.port, "BERTH_PORT")
    metrics_socket = listen(settings.host, settings.metrics_port, "BERTH_METRICS_PORT")
    admission = Admission(
        settings.engine_slots,
        settings.max_concurrent_requests,
        weights=settings.key_weights,
        several_keys=keys.several,
    )
    metrics = GatewayMetrics(settings, admission)
    engine = make_engine(settings)
    service = Service(settings, engine, admission, metrics)
    gateway = Gateway(settings, service, keys)
    certificate = Certificate.of(settings)
    if certificate is not None:
        metrics.export("berth_certificate_expires_timestamp_seconds", certificate.expires)
    api = _Server(_config(gateway, settings, certificate))
    telling = MetricsApp(metrics, admission, gateway, Admin(settings, keys), settings.engine_url)
    side = _Server(_config(telling, settings, None))

    rpc = RpcServer(gateway) if settings.grpc_port is not None else None
    rpc_port = None if rpc is None else await rpc.start(settings.host, settings.grpc_port or 0)

    stop = asyncio.Event()
    _on_signals(stop)
    log.info(
        "gateway listening",
        extra={
            "host": settings.host,
            "port": api_socket.getsockname()[1],
            "metrics_port": metrics_socket.getsockname()[1],
            **({} if rpc_port is None else {"grpc_port": rpc_port}),
            "slots": settings.engine_slots,
            "max_concurrent_requests": settings.max_concurrent_requests,
            "tls": certificate is not None,
        },
    )
    tasks = [
        asyncio.create_task(api.serve([api_socket]), name="api"),
        asyncio.create_task(side.serve([metrics_socket]), name="metrics"),
        asyncio.create_task(service.monitor.run(), name="monitor"),
        *([asyncio.create_task(certificate.watch(), name="certificate")] if certificate else []),
    ]
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
    failed = [task for task in tasks if task.done()]
    if failed:
        # None of them ends by itself: this is a defect, and a restart is the way out.
        log.error("a part of the gateway ended", extra={"parts": [task.get_name() for task in failed]})
        for task in failed:
            task.result()
        return 1
    if rpc is not None:
        rpc.drain(settings.drain_seconds)
    await _drain(gateway, api, settings)
    if rpc is not None:
        await rpc.stop()
    api.should_exit = side.should_exit = True
    for task in tasks[2:]:
        task.cancel()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_FAREWELL_SECONDS):
            await asyncio.gather(*tasks, return_exceptions=True)
    await telling.close()
    await engine.close()
    await service.filters.close()
    await asyncio.to_thread(service.records.tracing.close)
    log.info("gateway ended")
    return 0


def _config(app: Any, settings: GatewaySettings, certificate: Certificate | None) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=protocol_class(settings.header_timeout),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=int(settings.keep_alive),
        backlog=_BACKLOG,
    )
    config.load()
    if certificate is not None:
        config.ssl = certificate.context
    return config


def _on_signals(stop: asyncio.Event) -> None:
    def told(number: int) -> None:
        if stop.is_set():
            log.warning("ending at once on a second signal", extra={"signal": signal.Signals(number).name})
            os._exit(128 + number)
        log.info("draining", extra={"signal": signal.Signals(number).name})
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told, number)


async def _drain(gateway: Gateway, api: _Server, settings: GatewaySettings) -> None:
    began = time.monotonic()
    deadline = began + settings.drain_seconds
    gateway.start_draining()
    while time.monotonic() < deadline:
        quiet_for = time.monotonic() - max(began, gateway.last_request)
        nobody = not api.server_state.connections
        if gateway.in_flight == 0 and (nobody or quiet_for >= _QUIET_SECONDS):
            log.info("drained", extra={"seconds": round(time.monotonic() - began, 3)})
            return
        if time.monotonic() - began >= settings.drain_seconds / 2:
            gateway.closed = True
        await asyncio.sleep(_TICK_SECONDS)
    broken, sent_away = gateway.interrupt_all()
    log.warning(
        "drain time over",
        extra={"seconds": settings.drain_seconds, "broken_off": broken, "sent_elsewhere": sent_away},
    )
    end = time.monotonic() + _FAREWELL_SECONDS
    while gateway.in_flight and time.monotonic() < end:  # noqa: ASYNC110 - bounded by a time, nobody signals
        await asyncio.sleep(_TICK_SECONDS)
    api.force_exit = True
