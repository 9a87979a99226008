"""llama.cpp's server as a process of its own: `python3 -m berth_serving.engines.llama_cpp`.

It listens on loopback only, for it has no authentication. It answers /health
while it loads (503) and once it is loaded (200).
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berth_serving import logs
from berth_serving.engines import cpu, probe
from berth_serving.environment import Reader, SettingsError, refuse
from berth_serving.parent import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger("berth.engine")

PROGRAM = "berth-engine"
GGUF_MAGIC = b"GGUF"
_GGUF_HEADER = struct.Struct("<4sIQ")
_GGUF_VERSIONS = (2, 3)
_LOOPBACK = "127.0.0.1"
# Tokens of a prompt taken per turn of the main loop: small, so that other slots and the probe get their turn.
_BATCH = 512
_WARNINGS = 2
_WATCH_SECONDS = 10.0


class WeightsError(ValueError):
    """The weights cannot be served; the message names the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What the engine needs to know.

    Attributes:
        weights: BERTH_WEIGHTS; a GGUF file.
        port: BERTH_ENGINE_PORT.
        threads: BERTH_ENGINE_THREADS; 0 is the whole CPUs of its cgroup's limit.
        slots: BERTH_ENGINE_SLOTS.
        context: MAX_TOTAL_TOKENS; per slot.
        stall: BERTH_ENGINE_STALL_SECONDS; after so long without a turn of the main loop it ends itself.
        log_level: BERTH_LOG_LEVEL.
    """

    weights: Path
    port: int
    threads: int
    slots: int
    context: int
    stall: float
    log_level: str

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> EngineSettings:
        """Read and check the variables.

        Raises:
            SettingsError: naming each wrong one.
        """
        read = Reader(environ)
        weights = read.text("BERTH_WEIGHTS", "")
        if not weights:
            read.fault("BERTH_WEIGHTS is unset: must be the path of a GGUF file")
        settings = cls(
            weights=Path(weights),
            port=read.integer("BERTH_ENGINE_PORT", 8001, 1, 65535, unit="(port)"),
            threads=read.integer("BERTH_ENGINE_THREADS", 0, 0, 1024, unit="threads (0: by the CPU limit)"),
            slots=read.integer("BERTH_ENGINE_SLOTS", 4, 1, 1024, unit="slots"),
            context=read.integer("MAX_TOTAL_TOKENS", 2048, 2, 10_000_000, unit="tokens"),
            stall=read.seconds("BERTH_ENGINE_STALL_SECONDS", 300, 1, 86_400),
            log_level=read.choice("BERTH_LOG_LEVEL", "info", ("debug", "info", "warning", "error")),
        )
        read.finish()
        return settings


def check_weights(path: Path) -> None:
    """Look at the file before the engine does, for its own errors do not name the cause.

    Raises:
        WeightsError: missing, unreadable, or no GGUF.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_GGUF_HEADER.size)
    except OSError as error:
        raise WeightsError(
            f"BERTH_WEIGHTS={str(path)!r}: {error.strerror}; the weights fetcher writes it, look at its log"
        ) from None
    if len(head) < _GGUF_HEADER.size or head[:4] != GGUF_MAGIC:
        raise WeightsError(f"BERTH_WEIGHTS={str(path)!r}: not a GGUF file; only GGUF is served by llama.cpp")
    _, version, tensors = _GGUF_HEADER.unpack(head)
    if version not in _GGUF_VERSIONS or tensors == 0:
        raise WeightsError(
            f"BERTH_WEIGHTS={str(path)!r}: GGUF version {version} with {tensors} tensors; "
            f"versions {', '.join(map(str, _GGUF_VERSIONS))} with tensors are served"
        )


def check_port(port: int) -> None:
    """Find out whether the port is free, for the engine's own error does not say.

    Raises:
        SettingsError: it is taken.
    """
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((_LOOPBACK, port))
        except OSError as error:
            raise SettingsError(f"BERTH_ENGINE_PORT={port}: {error.strerror} on {_LOOPBACK}") from None


def start(settings: EngineSettings, threads: int) -> Any:
    """Load the model and serve it; returns the running server, which lives as long as the process.

    Raises:
        WeightsError: llama.cpp would not load it.
    """
    import xllamacpp  # type: ignore[import-untyped]  # noqa: PLC0415 - 100 MB of machine code; settings are checked before it is loaded

    params = xllamacpp.CommonParams()
    params.model.path = str(settings.weights)
    params.hostnames = [_LOOPBACK]
    params.port = settings.port
    params.n_parallel = settings.slots
    params.n_ctx = settings.slots * settings.context
    params.cont_batching = True
    params.n_batch = params.n_ubatch = _BATCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_gpu_layers = 0
    params.fit_params = False
    # By default it keeps up to 8 GiB of old prompts in memory, beyond what a container asked for.
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    # One thread per open connection: the gateway's streams, its health checks, the probe.
    params.n_threads_http = 2 * settings.slots + 16
    # Its pings would hide that the main loop no longer turns.
    params.sse_ping_interval = -1
    params.endpoint_metrics = True
    params.ui = False
    # By default any web page open on this machine may use it: it allows every origin.
    params.cors_origins = "http://nobody.invalid"
    params.cors_origins_explicit = True
    params.cors_credentials = False
    params.verbosity = _WARNINGS
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise WeightsError(
            f"BERTH_WEIGHTS={str(settings.weights)!r}: llama.cpp could not load it, "
            f"for the reason it gave above ({error})"
        ) from None


def watch(settings: EngineSettings) -> None:
    """End the process when the main loop has not turned for `stall` seconds. Runs in a thread, for ever."""
    turned = time.monotonic()
    while True:
        time.sleep(_WATCH_SECONDS)
        try:
            probe.get(settings.port, "/metrics", _WATCH_SECONDS)
            turned = time.monotonic()
        except OSError:
            if time.monotonic() - turned > settings.stall:
                log.error(  # noqa: TRY400 - the traceback would be the probe's
                    "engine main loop stopped turning", extra={"stall_seconds": settings.stall}
                )
                os._exit(70)


def _end_at_once_while_loading() -> None:
    """Let SIGTERM and SIGINT end the process while the model loads.

    Loading holds Python's lock, so no Python handler would run before it is done; and without any handler the
    kernel ignores the signal where the process is number 1 of its container. libc's `_exit` is a handler that
    needs nobody.
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    libc.signal.restype = ctypes.c_void_p
    handler = ctypes.cast(libc._exit, ctypes.c_void_p)  # noqa: SLF001 - that is its name in C
    for number in (signal.SIGTERM, signal.SIGINT):
        libc.signal(number, handler)


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    end_with_parent(signal.SIGKILL)
    try:
        settings = EngineSettings.from_environment(os.environ)
        check_weights(settings.weights)
        check_port(settings.port)
    except (SettingsError, WeightsError) as error:
        refuse(PROGRAM, error)
    logs.configure(settings.log_level)
    limit = cpu.cpu_limit()
    threads = settings.threads or cpu.threads(limit)
    began = time.monotonic()
    _end_at_once_while_loading()
    try:
        server = start(settings, threads)
    except WeightsError as error:
        refuse(PROGRAM, error, code=1)
    # The gateway has drained before the engine is told to end, so there is nothing to wait for; the server's
    # own destructor waits up to 30 s for clients.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    log.info(
        "engine ready",
        extra={
            "address": server.listening_address,
            "load_seconds": round(time.monotonic() - began, 3),
            "threads": threads,
            "cpu_limit": limit,
            "slots": settings.slots,
            "context_per_slot": settings.context,
        },
    )
    threading.Thread(target=watch, args=(settings,), daemon=True).start()
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
