"""The model server on this machine alone, without Kubernetes: what `./berth serve` runs.

    settings = LocalSettings(cache=Path("~/.cache/berth").expanduser(), port=8000)
    exit_code = asyncio.run(serve(settings, on_event=print))

Weights, engine and gateway are the same as in a pod: the same fetcher, the
same two processes, the same variables. Both are restarted when they die, and
both die with this process, however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

import aiohttp
from berth_catalogue.models import CatalogueError, Model, Weights, model, models

from berth_serving.engines import probe
from berth_serving.parent import PARENT_VARIABLE
from berth_serving.supervisor import Child, Event, LogFile, Supervisor, SupervisorError, Watch
from berth_serving.weights import FetchSettings, WeightsError, fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_READY_SECONDS = 120.0
_POLL_SECONDS = 0.05


class LocalError(Exception):
    """It cannot be served here; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """What to serve, and where.

    Attributes:
        cache: the user's cache folder; weights and the log go below it.
        host: address of the gateway; anything but loopback needs a key.
        port: of the gateway; 0 takes a free one.
        metrics_port: of `/metrics` and `/load`; 0 takes a free one.
        model: key in the catalogue.
        key_file: the one API key; None serves everybody, which only loopback may.
        slots: sequences at once.
        threads: of the engine; 0 is by the CPU limit.
        max_total_tokens: prompt and answer together.
        max_concurrent_requests: in flight; above it 429.
        drain_seconds: longest wait for running requests at the end.
    """

    cache: Path
    host: str = "127.0.0.1"
    port: int = 8000
    metrics_port: int = 0
    model: str = "smollm2-135m-instruct-q4_1"
    key_file: Path | None = None
    slots: int = 4
    threads: int = 0
    max_total_tokens: int = 2048
    max_concurrent_requests: int = 128
    drain_seconds: float = 20

    @property
    def log(self) -> Path:
        """Where both processes log."""
        return self.cache / "logs" / "serve.log"


async def serve(settings: LocalSettings, on_event: Callable[[Event], None]) -> int:
    """Serve until SIGINT or SIGTERM; the exit code.

    Prints nothing: `on_event` is told what happens, `ready` with `url` among others. 0 after a stop that was
    asked for, 1 when it could not start or would not stay up, 2 for settings that cannot work.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        return await _serve(settings, on_event, stop)
    except (WeightsError, CatalogueError, LocalError, SupervisorError) as error:
        on_event(Event("failed", str(error), {"log": str(settings.log)}))
        return 2 if isinstance(error, CatalogueError) else 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _serve(settings: LocalSettings, on_event: Callable[[Event], None], stop: asyncio.Event) -> int:
    began = time.monotonic()
    _check_access(settings)
    entry = model(settings.model)
    weights = await _weights(settings, entry, on_event)
    with contextlib.ExitStack() as stack:
        keys = stack.enter_context(_keys_folder(settings.key_file))
        log = LogFile(settings.log, stack.enter_context(_open_log(settings.log)))
        ports = _Ports.choose(settings)
        engine = _child(
            "engine", "berth_serving.engines.llama_cpp", _engine_variables(settings, weights, ports), log
        )
        gateway = _child(
            "gateway", "berth_serving.gateway", _gateway_variables(settings, entry, keys, ports), log
        )
        watch = Watch(
            engine_url=f"http://{_shown_host(settings.host)}:{ports.metrics}/engine",
            alive=partial(probe.liveness, ports.engine),
            drain_seconds=settings.drain_seconds,
        )
        supervisor = Supervisor(engine, gateway, watch, on_event)
        on_event(Event("starting", "starting the engine and the gateway", {"log": str(settings.log)}))
        try:
            await _start(supervisor, f"http://{_shown_host(settings.host)}:{ports.gateway}/ready", stop)
            if not stop.is_set():
                facts = {
                    "url": f"http://{_shown_host(settings.host)}:{ports.gateway}",
                    "metrics_url": f"http://{_shown_host(settings.host)}:{ports.metrics}/metrics",
                    "model": entry.name,
                    "seconds": round(time.monotonic() - began, 2),
                    "log": str(settings.log),
                }
                on_event(Event("ready", "the model answers", facts))
                await supervisor.watch(stop)
        finally:
            on_event(
                Event("stopping", "finishing what is running", {"up_to_seconds": settings.drain_seconds})
            )
            stop.clear()
            await supervisor.end(stop)
        on_event(Event("stopped", "stopped"))
    return 0


def _check_access(settings: LocalSettings) -> None:
    try:
        loopback = settings.host == "localhost" or ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        raise LocalError(
            f"host {settings.host!r} is not an IP address; use 127.0.0.1, or one of this machine's"
        ) from None
    if not loopback and settings.key_file is None:
        raise LocalError(
            f"host {settings.host} is not loopback, so others could use the model: "
            "give a key file, or use 127.0.0.1"
        )
    if settings.key_file is not None and not settings.key_file.is_file():
        raise LocalError(f"key file {str(settings.key_file)!r}: no such file; write one word into it")


async def _weights(settings: LocalSettings, entry: Model, on_event: Callable[[Event], None]) -> Path:
    found = entry.weights
    if not isinstance(found, Weights):
        here = ", ".join(key for key, one in models().items() if isinstance(one.weights, Weights))
        raise CatalogueError(
            f"model {entry.key!r} needs an engine for accelerators, which this machine's CPU is not; "
            f"models that run here: {here}"
        )
    wanted = FetchSettings(source=found.source, sha256=found.sha256, folder=settings.cache / "weights")
    began = time.monotonic()
    path = await asyncio.to_thread(fetch, wanted)
    facts = {"file": str(path), "bytes": found.bytes, "seconds": round(time.monotonic() - began, 2)}
    on_event(Event("weights", "weights are there and verified", facts))
    return path


@contextlib.contextmanager
def _keys_folder(key_file: Path | None) -> Iterator[Path | None]:
    """A folder as the gateway wants it, with a link to the one key, so that a changed key counts at once."""
    if key_file is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="berth-keys-"))
    try:
        (folder / "local").symlink_to(key_file.resolve())
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open_log(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")
    except OSError as error:
        raise LocalError(f"log {str(path)!r}: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class _Ports:
    gateway: int
    metrics: int
    engine: int

    @classmethod
    def choose(cls, settings: LocalSettings) -> _Ports:
        """Fixed for the whole run, so that a restarted process is found again where it was."""
        held: list[socket.socket] = []
        try:
            gateway = _take(settings.host, settings.port, held)
            metrics = _take(settings.host, settings.metrics_port, held)
            return cls(gateway, metrics, _take("127.0.0.1", 0, held))
        finally:
            for one in held:
                one.close()


def _take(host: str, port: int, held: list[socket.socket]) -> int:
    info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    trial = socket.socket(info[0], info[1])
    held.append(trial)
    trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        trial.bind(info[4])
    except OSError as error:
        raise LocalError(
            f"port {port} on {host}: {error.strerror}; stop what uses it, or choose another port"
        ) from None
    return int(trial.getsockname()[1])


def _engine_variables(settings: LocalSettings, weights: Path, ports: _Ports) -> dict[str, str]:
    return {
        "BERTH_WEIGHTS": str(weights),
        "BERTH_ENGINE_PORT": str(ports.engine),
        "BERTH_ENGINE_SLOTS": str(settings.slots),
        "BERTH_ENGINE_THREADS": str(settings.threads),
        "MAX_TOTAL_TOKENS": str(settings.max_total_tokens),
    }


def _gateway_variables(
    settings: LocalSettings, entry: Model, keys: Path | None, ports: _Ports
) -> dict[str, str]:
    return {
        "BERTH_HOST": settings.host,
        "BERTH_PORT": str(ports.gateway),
        "BERTH_METRICS_PORT": str(ports.metrics),
        "BERTH_ENGINE_URL": f"http://127.0.0.1:{ports.engine}",
        "BERTH_ENGINE_SLOTS": str(settings.slots),
        "MAX_TOTAL_TOKENS": str(settings.max_total_tokens),
        "MAX_CONCURRENT_REQUESTS": str(settings.max_concurrent_requests),
        "BERTH_DRAIN_SECONDS": str(settings.drain_seconds),
        "MODEL_ID": entry.name,
        "BERTH_VARIANT": "local",
        **({"BERTH_API_KEYS_DIR": str(keys)} if keys else {"BERTH_ALLOW_ANONYMOUS": "true"}),
    }


def _shown_host(host: str) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on
    return f"[{shown}]" if ":" in shown else shown


def _child(name: str, module: str, variables: Mapping[str, str], log: LogFile) -> Child:
    inherited = {
        key: value for key, value in os.environ.items() if not key.startswith(("BERTH_", "MAX_", "MODEL_"))
    }
    environment = {**inherited, **variables, PARENT_VARIABLE: str(os.getpid())}
    return Child(name, [sys.executable, "-m", module], environment, log)


async def _start(supervisor: Supervisor, url: str, stop: asyncio.Event) -> None:
    """Start both and wait until the gateway says ready, or until told to stop.

    Raises:
        LocalError: one ended before, or it took too long.
    """
    await supervisor.engine.start()
    await supervisor.gateway.start()
    deadline = time.monotonic() + _READY_SECONDS
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        while not stop.is_set():
            for child in (supervisor.engine, supervisor.gateway):
                if not child.running:
                    raise LocalError(f"the {child.name} ended while starting: {child.last_words()}")
            if time.monotonic() > deadline:
                words = supervisor.engine.last_words()
                raise LocalError(f"not ready after {_READY_SECONDS:g} s: {words}")
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with session.get(url) as response:
                    if response.status == 200:  # noqa: PLR2004 - HTTP's OK
                        return
            await asyncio.sleep(_POLL_SECONDS)
