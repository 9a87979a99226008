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
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import aiohttp
from berth_catalogue.models import CatalogueError, Model, Weights, model, models

from berth_serving.engines import probe
from berth_serving.parent import PARENT_VARIABLE
from berth_serving.weights import FetchSettings, WeightsError, fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_READY_SECONDS = 120.0
_POLL_SECONDS = 0.05
_LIVENESS_SECONDS = 10.0
_LIVENESS_FAILURES = 3
_CRASHES, _CRASH_WINDOW_SECONDS = 5, 60.0
_RESTART_FIRST, _RESTART_MOST = 0.2, 5.0
_ENGINE_END_SECONDS = 5.0
_LAST_LINES = 5


class LocalError(Exception):
    """It cannot be served here; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something the person in front of the terminal may want to know.

    Attributes:
        kind: `weights`, `starting`, `ready`, `restarted`, `stopping`, `stopped` or `failed`.
        message: one constant sentence.
        facts: what varies: paths, addresses, seconds.
    """

    kind: str
    message: str
    facts: Mapping[str, object] = field(default_factory=dict)


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
    except (WeightsError, CatalogueError, LocalError) as error:
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
        log = stack.enter_context(_open_log(settings.log))
        ports = _Ports.choose(settings)
        engine = _Child(
            "engine", "berth_serving.engines.llama_cpp", _engine_variables(settings, weights, ports), log
        )
        gateway = _Child(
            "gateway", "berth_serving.gateway", _gateway_variables(settings, entry, keys, ports), log
        )
        supervisor = _Supervisor(engine, gateway, ports, settings, on_event)
        on_event(Event("starting", "starting the engine and the gateway", {"log": str(settings.log)}))
        try:
            await supervisor.start(stop)
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


class _Child:
    """One of the two processes, in a session of its own: Ctrl-C is for the parent, which ends both."""

    def __init__(self, name: str, module: str, variables: Mapping[str, str], log: IO[bytes]) -> None:
        self.name = name
        self._module = module
        self._log = log
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("BERTH_", "MAX_", "MODEL_"))
        }
        self._environment = {**inherited, **variables, PARENT_VARIABLE: str(os.getpid())}
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def ended(self, seconds: float | None = None) -> bool:
        """Wait for its end; False if it is still there after `seconds`."""
        if self.process is None:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self.process.wait()
        except TimeoutError:
            return False
        return True


class _Supervisor:
    def __init__(
        self,
        engine: _Child,
        gateway: _Child,
        ports: _Ports,
        settings: LocalSettings,
        on_event: Callable[[Event], None],
    ) -> None:
        self._engine = engine
        self._gateway = gateway
        self._ports = ports
        self._settings = settings
        self._on_event = on_event
        self._crashes: list[float] = []

    async def start(self, stop: asyncio.Event) -> None:
        """Start both and wait until the gateway says ready, or until told to stop.

        Raises:
            LocalError: one ended before, or it took too long.
        """
        await self._engine.start()
        await self._gateway.start()
        url = f"http://{_shown_host(self._settings.host)}:{self._ports.gateway}/ready"
        deadline = time.monotonic() + _READY_SECONDS
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            while not stop.is_set():
                for child in (self._engine, self._gateway):
                    if child.process is not None and child.process.returncode is not None:
                        raise LocalError(f"the {child.name} ended while starting: {self._last_words()}")
                if time.monotonic() > deadline:
                    raise LocalError(f"not ready after {_READY_SECONDS:g} s: {self._last_words()}")
                with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                    async with session.get(url) as response:
                        if response.status == 200:  # noqa: PLR2004 - HTTP's OK
                            return
                await asyncio.sleep(_POLL_SECONDS)

    def _last_words(self) -> str:
        lines = self._settings.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return " | ".join(lines) or "it said nothing"

    async def watch(self, stop: asyncio.Event) -> None:
        """Restart whatever dies and kill an engine that no longer turns, until told to stop.

        Raises:
            LocalError: it dies again and again.
        """
        stopping = asyncio.create_task(stop.wait())
        liveness = asyncio.create_task(self._watch_liveness())
        try:
            while True:
                ends = {asyncio.create_task(child.ended()): child for child in (self._engine, self._gateway)}
                done, _ = await asyncio.wait({stopping, *ends}, return_when=asyncio.FIRST_COMPLETED)
                for task in ends.keys() - done:
                    task.cancel()
                if stopping in done:
                    return
                for task in done:
                    await self._restart(ends[task], stop)
        finally:
            stopping.cancel()
            liveness.cancel()

    async def _restart(self, child: _Child, stop: asyncio.Event) -> None:
        now = time.monotonic()
        self._crashes = [*(at for at in self._crashes if now - at < _CRASH_WINDOW_SECONDS), now]
        count = len(self._crashes)
        if count > _CRASHES:
            raise LocalError(
                f"the {child.name} died again, {count} crashes within {_CRASH_WINDOW_SECONDS:g} s: "
                f"{self._last_words()}"
            )
        code = child.process.returncode if child.process else None
        self._on_event(
            Event(
                "restarted", "a process died and is started again", {"process": child.name, "exit_code": code}
            )
        )
        if count > 1:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(_RESTART_MOST, _RESTART_FIRST * 2 ** (count - 2))):
                    await stop.wait()
        if not stop.is_set():
            await child.start()

    async def _watch_liveness(self) -> None:
        failures = 0
        while True:
            await asyncio.sleep(_LIVENESS_SECONDS)
            process = self._engine.process
            if process is None or process.returncode is not None:
                failures = 0
                continue
            alive, _ = await asyncio.to_thread(probe.liveness, self._ports.engine, process.pid)
            failures = 0 if alive else failures + 1
            if failures >= _LIVENESS_FAILURES:
                failures = 0
                self._engine.signal(signal.SIGKILL)

    async def end(self, hurry: asyncio.Event) -> None:
        """Drain the gateway, then end the engine. Told again to stop, the gateway does not wait."""
        self._gateway.signal(signal.SIGTERM)
        hurrying = asyncio.create_task(self._hurry(hurry))
        if not await self._gateway.ended(self._settings.drain_seconds + _ENGINE_END_SECONDS):
            self._gateway.signal(signal.SIGKILL)
            await self._gateway.ended()
        hurrying.cancel()
        # A stopped process takes no SIGTERM; after the gateway's end the engine has nothing left to lose.
        self._engine.signal(signal.SIGTERM)
        if not await self._engine.ended(_ENGINE_END_SECONDS):
            self._engine.signal(signal.SIGKILL)
            await self._engine.ended()

    async def _hurry(self, hurry: asyncio.Event) -> None:
        await hurry.wait()
        self._gateway.signal(signal.SIGTERM)
