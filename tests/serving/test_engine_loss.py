"""An engine that dies, hangs or talks nonsense: what clients see, and that all is well when it is back."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import pytest
from berth_catalogue.engines import engine as described
from berth_serving.engines import llama_cpp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def own(make_engine: Any, make_gateway: Any, until: Any) -> tuple[Any, Any]:
    """An engine to be harmed, and its gateway."""
    engine = make_engine()
    gateway = make_gateway(engine.url)
    until(gateway.is_ready, "the gateway is ready")
    return engine, gateway


async def _events(gateway: Any, begun: asyncio.Event) -> list[dict[str, Any]]:
    asked = {"inputs": "Once upon a time", "parameters": {"max_new_tokens": 480}}
    events = []
    async with gateway.session() as session, session.post("/generate_stream", json=asked) as response:
        async for line in response.content:
            if line.startswith(b"data: "):
                events.append(json.loads(line[6:]))
                begun.set()
    return events


def _probe(engine: Any, which: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "berth_serving.engines.probe", which],
        env={"BERTH_ENGINE_PORT": str(engine.port)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


async def test_killed_it_is_told_at_once_and_found_again(own: tuple[Any, Any], until: Any) -> None:
    engine, gateway = own
    begun = asyncio.Event()
    running = asyncio.create_task(_events(gateway, begun))
    await begun.wait()
    engine.signal(signal.SIGKILL)
    events = await running
    assert events[-1]["error_type"] == "generation"
    refused = await asyncio.to_thread(gateway.post, "/generate", {"inputs": "Hello"})
    assert refused.status_code == 503
    assert refused.json()["error_type"] == "healthcheck"
    assert int(refused.headers["retry-after"]) >= 1
    assert not gateway.is_ready()
    assert gateway.get("/health").status_code == 200, "the gateway itself is well"
    assert gateway.metrics()["berth_engine_ready"] == 0
    assert (await gateway.load_now())["berth_running_requests"] == 0
    engine.popen.wait()
    engine.again()
    await asyncio.to_thread(until, gateway.is_ready, "ready again")
    assert (
        gateway.post("/generate", {"inputs": "Hello", "parameters": {"max_new_tokens": 1}}).status_code == 200
    )
    # On a loaded machine a check may find it silent once more meanwhile.
    assert gateway.metrics()["berth_engine_losses_total"] >= 1


@pytest.fixture
def busy_neighbour() -> Iterator[None]:
    """A process that looks like an engine, is visible to the probe and computes all the time."""
    words = ["-c", "while True: pass", "-m", "berth_serving.engines.llama_cpp"]
    neighbour = subprocess.Popen(["nice", sys.executable, *words])
    yield
    neighbour.kill()
    neighbour.wait()


@pytest.mark.usefixtures("busy_neighbour")
async def test_stopped_it_is_noticed_by_gateway_and_probe(own: tuple[Any, Any], until: Any) -> None:
    engine, gateway = own
    assert _probe(engine, "startup") == (0, "engine /health says 200\n")
    assert _probe(engine, "liveness")[0] == 0
    begun = asyncio.Event()
    running = asyncio.create_task(_events(gateway, begun))
    await begun.wait()
    engine.signal(signal.SIGSTOP)
    try:
        code, reason = await asyncio.to_thread(_probe, engine, "liveness")
        assert code == 1
        assert reason.startswith("engine wedged")
        events = await running
        assert events[-1]["error_type"] == "generation"
        refused = await asyncio.to_thread(gateway.post, "/v1/completions", {"prompt": "Hello"})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "not_ready"
    finally:
        engine.signal(signal.SIGCONT)
    await asyncio.to_thread(until, gateway.is_ready, "ready again")


def test_the_probe_calls_a_busy_engine_alive() -> None:
    """An engine whose main loop computes longer than the probe waits: CPU time is progress."""
    program = (
        "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n"
        "print(s.getsockname()[1], flush=True)\n"
        "while True: pass"
    )
    busy = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert busy.stdout is not None
        port = int(busy.stdout.readline())
        script = f"from berth_serving.engines import probe; print(probe.liveness({port}, {busy.pid}, 0.5))"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("(True, 'engine busy")
    finally:
        busy.kill()
        busy.wait()
        assert busy.stdout is not None
        busy.stdout.close()


def test_the_hook_waits_as_long_as_the_gateway_listens() -> None:
    with socket.socket() as gateway:
        gateway.bind(("127.0.0.1", 0))
        gateway.listen()
        port = gateway.getsockname()[1]
        command = [sys.executable, "-m", "berth_serving.engines.probe", "drained"]
        with subprocess.Popen(
            command, env={"BERTH_GATEWAY_PORT": str(port)}, stdout=subprocess.PIPE, text=True
        ) as hook:
            try:
                with pytest.raises(subprocess.TimeoutExpired):
                    hook.wait(3)
                gateway.close()
                said, _ = hook.communicate(timeout=60)
            finally:
                hook.kill()
    assert (hook.returncode, said) == (0, f"nobody listens on port {port}\n")
    # A gateway that never listened keeps nobody.
    done = subprocess.run(command, env={"BERTH_GATEWAY_PORT": str(port)}, check=False, timeout=60)
    assert done.returncode == 0


@pytest.mark.parametrize("name", ["vllm", "sglang", "tgi"])
def test_the_hooks_of_other_engines_wait_for_port_8000(name: str, tmp_path: Path) -> None:
    *_, script = described(name).drained
    table = tmp_path / "tcp"
    head = "  sl  local_address rem_address   st\n"
    table.write_text(head + "   0: 00000000:1F40 00000000:0000 0A\n")
    program = script.replace("/proc/net/tcp", str(table))
    with subprocess.Popen([sys.executable, "-c", program]) as hook:
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                hook.wait(2)
            # Its port on another machine, and a connection to itself that closes, are nobody that listens.
            table.write_text(
                head + "   0: 00000000:1F41 0100007F:1F40 0A\n   1: 00000000:1F40 0100007F:9999 06\n"
            )
            assert hook.wait(60) == 0
        finally:
            hook.kill()


def test_the_probe_stays_light() -> None:
    script = "import sys, berth_serving.engines.probe; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint(
        {"asyncio", "json", "http.client", "urllib.request", "logging", "msgspec", "aiohttp"}
    )


def test_the_engine_says_in_one_line_why_it_does_not_start(weights_file: Any, tmp_path: Any) -> None:
    whole = weights_file.read_bytes()
    cases = {
        "missing": (None, "No such file"),
        "text": (b"this is no model at all", "not a GGUF file"),
        "pickle": (b"\x80\x04\x95" + b"\0" * 100, "not a GGUF file"),
        "truncated": (whole[: len(whole) // 3], "could not load it"),
        "old": (b"GGUF\x01\0\0\0" + b"\0" * 100, "GGUF version 1"),
    }
    for name, (content, expected) in cases.items():
        file = tmp_path / name
        if content is not None:
            file.write_bytes(content)
        done = subprocess.run(
            [sys.executable, "-m", "berth_serving.engines.llama_cpp"],
            env={"BERTH_WEIGHTS": str(file), "BERTH_ENGINE_PORT": "18555"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (1, 2)
        # What the native library still had to say may come after it.
        [said] = [line for line in done.stderr.splitlines() if line.startswith("berth-engine: ")]
        assert said.startswith(f"berth-engine: BERTH_WEIGHTS='{file}'"), done.stderr
        assert expected in said
        assert "Traceback" not in done.stderr


def test_the_engine_ends_on_sigterm_while_it_streams(make_engine: Any, until: Any) -> None:
    engine = make_engine()
    until(lambda: _probe(engine, "startup")[0] == 0, "the engine is up")
    import urllib.request  # noqa: PLC0415 - only here

    asked = json.dumps({"prompt": "Once", "n_predict": 400, "stream": True, "ignore_eos": True}).encode()
    with urllib.request.urlopen(urllib.request.Request(engine.url + "/completion", asked)) as stream:  # noqa: S310 - loopback
        stream.readline()
        engine.signal(signal.SIGTERM)
        assert engine.exit_code(5) == 0


@pytest.mark.parametrize(
    "garbage", [b"data: {not json}\n\n", b'data: {"error": {"message": "out of slots"}}\n\n', b""]
)
async def test_nonsense_from_the_engine_is_424(stand_in: Any, before_stand_in: Any, garbage: bytes) -> None:
    gateway = await before_stand_in()
    stand_in.free_running = True
    stand_in.garbage = garbage
    async with gateway.session() as session:
        async with session.post("/generate", json={"inputs": "x"}) as response:
            assert response.status == 424
            assert (await response.json())["error_type"] == "generation"
        stand_in.garbage = None
        async with asyncio.timeout(30):
            while not await _is_ready(session):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.02)
        async with session.post("/generate", json={"inputs": "x"}) as response:
            assert response.status == 200


async def _status(session: aiohttp.ClientSession, prompt: str) -> int:
    async with session.post("/generate", json={"inputs": prompt}) as response:
        return response.status


async def _is_ready(session: aiohttp.ClientSession) -> bool:
    async with session.get("/ready") as response:
        return response.status == 200


async def test_an_engine_that_falls_silent_counts_as_lost(before_stand_in: Any) -> None:
    gateway = await before_stand_in(BERTH_ENGINE_STALL_SECONDS="1", BERTH_ENGINE_SLOTS="1")
    async with gateway.session() as session, session.post("/generate", json={"inputs": "x"}) as response:
        assert response.status == 424
        assert "silent" in (await response.json())["error"]


async def test_those_who_wait_are_told_when_the_engine_is_lost(before_stand_in: Any) -> None:
    gateway = await before_stand_in(BERTH_ENGINE_SLOTS="1", BERTH_ENGINE_STALL_SECONDS="1")
    async with gateway.session() as session, asyncio.TaskGroup() as group:
        group.create_task(_status(session, "runs"))
        await gateway.until_load(berth_running_requests=1)
        waits = group.create_task(_status(session, "waits"))
        await gateway.until_load(berth_queue_depth=1)
    assert waits.result() == 503, "nothing was begun for it, so it may simply ask again"


async def _stream(session: aiohttp.ClientSession, prompt: str) -> list[dict[str, Any]]:
    asked = {"inputs": prompt, "parameters": {"max_new_tokens": 3}}
    async with session.post("/generate_stream", json=asked) as response:
        assert response.status == 200
        return [json.loads(line[6:]) async for line in response.content if line.startswith(b"data: ")]


async def test_a_request_that_the_engine_fails_on_fails_alone(stand_in: Any, before_stand_in: Any) -> None:
    gateway = await before_stand_in(BERTH_ENGINE_SLOTS="2")
    async with gateway.session() as session, asyncio.TaskGroup() as group:
        runs = group.create_task(_stream(session, "runs"))
        await stand_in.until(lambda one: len(one.begun) == 1)
        stand_in.begun[0].released.release()
        proofs = stand_in.proofs
        for _ in range(3):
            assert await _status(session, "poison") == 424
            assert await _is_ready(session)
        await stand_in.until(lambda one: one.proofs > proofs)
        stand_in.free_running = True
        stand_in.begun[0].released.release()
        assert await _status(session, "another") == 200
    assert runs.result()[-1]["generated_text"] == " t0 t1 t2"
    assert gateway.metrics()["berth_engine_losses_total"] == 0


async def test_an_engine_that_fails_on_every_request_is_lost(stand_in: Any, before_stand_in: Any) -> None:
    gateway = await before_stand_in()
    async with gateway.session() as session:
        stand_in.broken = True
        assert await _status(session, "x") == 424
        async with asyncio.timeout(30):
            while await _is_ready(session):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.02)
        assert await _status(session, "x") == 503
        stand_in.broken, stand_in.free_running = False, True
        async with asyncio.timeout(30):
            while not await _is_ready(session):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.02)
        assert await _status(session, "x") == 200


def test_the_engine_exports_its_own_metrics(engine: Any, server: Any) -> None:
    """Whose names the catalogue and the probe rely on."""
    assert server.is_ready()
    text = httpx.get(engine.url + "/metrics").text
    for name in ("requests_processing", "requests_deferred", "tokens_predicted_total", "prompt_tokens_total"):
        assert f"\nllamacpp:{name} " in text


def test_an_engine_that_never_comes_round_ends_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Its watchdog: the probe lets an engine live that burns CPU, so an endless loop is its own to notice."""

    class Ended(BaseException):
        pass

    def silent(*_: object) -> int:
        raise TimeoutError

    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(llama_cpp, "_WATCH_SECONDS", 0.01)
    monkeypatch.setattr(llama_cpp.probe, "get", silent)
    monkeypatch.setattr(llama_cpp.os, "_exit", end)
    environment = {"BERTH_WEIGHTS": str(tmp_path), "BERTH_ENGINE_STALL_SECONDS": "1"}
    with pytest.raises(Ended):
        llama_cpp.watch(llama_cpp.EngineSettings.from_environment(environment))


async def test_an_engine_that_hangs_is_noticed_though_nobody_asks(
    stand_in: Any, before_stand_in: Any
) -> None:
    """It says that it is well all the time; the probe of its container asks the gateway's metrics port."""
    gateway = await before_stand_in(BERTH_ENGINE_PROOF_SECONDS="0.2")
    engine = f"http://127.0.0.1:{gateway.metrics_port}/engine"

    async def until(status: int) -> dict[str, Any]:
        async with asyncio.timeout(30), aiohttp.ClientSession() as session:
            while True:
                async with session.get(engine) as response:
                    if response.status == status:
                        return dict(await response.json())
                await asyncio.sleep(0.02)

    assert (await until(200))["wedged"] is False
    stand_in.hangs = True
    assert await until(503) == {"wedged": True, "ready": False}
    assert (await asyncio.to_thread(gateway.metrics))["berth_engine_wedged"] == 1
    async with gateway.session() as session:
        assert await _status(session, "x") == 503
    stand_in.hangs = False
    assert await until(200) == {"wedged": False, "ready": True}
    assert (await asyncio.to_thread(gateway.metrics))["berth_engine_wedged"] == 0
    async with gateway.session() as session:
        async with asyncio.timeout(30):
            while not await _is_ready(session):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.02)
        stand_in.free_running = True
        assert await _status(session, "x") == 200
