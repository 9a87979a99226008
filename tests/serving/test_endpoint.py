"""One container's program, `python3 -m berth_serving.endpoint`: real processes, and an engine not ours."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from aiohttp import web
from berth_catalogue.models import Weights, model
from berth_serving.endpoint.settings import EndpointSettings, foreign
from berth_serving.environment import SettingsError
from berth_serving.hub import HubError
from berth_serving.supervisor import Child, Event, Forwarded, Supervisor, SupervisorError, Watch
from berth_serving.weights_settings import MANIFEST_BESIDE, TreeError, TreeSettings
from berth_serving.weights_tree import bring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# An engine that is not ours: a shell that says what it sees, starts a helper, and becomes llama.cpp's server.
FOREIGN = """#!/bin/sh
env > "$0.seen"
sleep 1000 &
echo $! > "$0.helper"
echo $$ > "$0.pid"
export BERTH_WEIGHTS={weights} BERTH_ENGINE_PORT={port} BERTH_ENGINE_SLOTS=2 BERTH_ENGINE_THREADS=1
export MAX_TOTAL_TOKENS=512
exec {python} -m berth_serving.engines.llama_cpp
"""


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def gone(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What a stack gives, for the packaged model, with free ports."""
    weights = model("smollm2-135m-instruct-q4_1").weights
    assert isinstance(weights, Weights)
    engine = free_port()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "BERTH_MANAGED_CLOUD": "sagemaker",
        "BERTH_HOST": "127.0.0.1",
        "BERTH_PORT": str(free_port()),
        "BERTH_METRICS_PORT": str(free_port()),
        "BERTH_ENGINE_URL": f"http://127.0.0.1:{engine}",
        "BERTH_ENGINE_PORT": str(engine),
        "BERTH_ENGINE_SLOTS": "2",
        "BERTH_ENGINE_THREADS": "1",
        "BERTH_ENGINE_COMMAND": json.dumps(["python3", "-m", "berth_serving.engines.llama_cpp"]),
        "BERTH_WEIGHTS": f"{tmp_path}/weights/{weights.file}",
        "BERTH_WEIGHTS_DIR": f"{tmp_path}/weights",
        "BERTH_WEIGHTS_SOURCE": weights.source,
        "BERTH_WEIGHTS_SHA256": weights.sha256,
        "MAX_TOTAL_TOKENS": "512",
    }


@pytest.fixture
def begin() -> Iterator[Callable[[dict[str, str]], subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []

    def begun(environment: dict[str, str]) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "berth_serving.endpoint", "serve"]
        pipe = subprocess.PIPE
        running.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True))
        return running[-1]

    yield begun
    for process in running:
        process.kill()
        process.communicate()


def foreign_engine(folder: Path, environment: dict[str, str]) -> Path:
    script = folder / "engine"
    text = FOREIGN.format(
        weights=environment["BERTH_WEIGHTS"],
        port=environment["BERTH_ENGINE_PORT"],
        python=sys.executable,
    )
    script.write_text(text)
    script.chmod(0o755)
    return script


def test_an_engine_that_is_not_ours_sees_only_what_is_its_own(
    environment: dict[str, str], begin: Any, tmp_path: Path, until: Any
) -> None:
    script = foreign_engine(tmp_path, environment)
    environment |= {"BERTH_ENGINE_COMMAND": json.dumps([str(script)]), "VLLM_NO_USAGE_STATS": "1"}
    process = begin({**environment, "AIP_HTTP_PORT": "1", "PYTHONPATH": "/somewhere/of/the/image"})
    url = f"http://127.0.0.1:{environment['BERTH_PORT']}"

    def well() -> bool:
        assert process.poll() is None, process.communicate()
        try:
            return httpx.get(f"{url}/ping", timeout=30).status_code == 200
        except httpx.TransportError:
            return False

    until(well, "the endpoint answers", 120)
    seen = dict(line.partition("=")[::2] for line in Path(f"{script}.seen").read_text().splitlines())
    assert seen["VLLM_NO_USAGE_STATS"] == "1"
    # The engine's own image set it.
    assert seen["PYTHONPATH"] == "/somewhere/of/the/image"
    assert not [key for key in seen if key.startswith(("BERTH_", "AIP_", "MAX_"))]

    first, helper = (int(Path(f"{script}.{name}").read_text()) for name in ("pid", "helper"))
    os.kill(first, signal.SIGKILL)
    until(lambda: gone(helper), "what the engine started is gone with it", 60)
    until(lambda: int(Path(f"{script}.pid").read_text() or first) != first, "started again", 60)
    until(
        lambda: httpx.post(f"{url}/invocations", json={"inputs": "Hi"}, timeout=60).is_success, "answers", 120
    )

    second, helper = (int(Path(f"{script}.{name}").read_text()) for name in ("pid", "helper"))
    process.kill()
    until(lambda: gone(second), "the engine ends with a supervisor that is killed", 60)
    # In a container the kernel ends these; here nobody is left to.
    os.kill(helper, signal.SIGKILL)


def test_what_is_ours_is_taken_away_where_our_image_set_it() -> None:
    environ = {
        "PYTHONPATH": "/opt/berth",
        "PYTHONSAFEPATH": "1",
        "PATH": "/usr/bin",
        "MODEL_ID": "x",
        "HOME": "/scratch",
    }
    assert foreign(environ, Path("/opt/berth")) == {"PATH": "/usr/bin", "HOME": "/scratch"}
    kept = {"PYTHONPATH": "/sgl-workspace", "PYTHONSAFEPATH": "1"}
    assert foreign(kept, Path("/opt/berth")) == kept


def test_a_crash_loop_ends_it_with_the_engines_last_words(environment: dict[str, str], begin: Any) -> None:
    command = ["sh", "-c", "echo out of memory; exit 1"]
    process = begin({**environment, "BERTH_ENGINE_COMMAND": json.dumps(command)})
    said, error = process.communicate(timeout=120)
    assert process.returncode == 1, error
    (line,) = (line for line in error.splitlines() if line.startswith("berth-endpoint: "))
    assert "the engine died again (exit code 1), 6 crashes" in line
    assert "out of memory" in line
    assert said.splitlines().count("out of memory") == 6
    assert "Traceback" not in said + error


def test_an_engine_that_refuses_its_arguments_is_not_tried_again(
    environment: dict[str, str], begin: Any
) -> None:
    command = ["sh", "-c", "echo unrecognized arguments: --x; exit 2"]
    process = begin({**environment, "BERTH_ENGINE_COMMAND": json.dumps(command)})
    said, error = process.communicate(timeout=120)
    assert process.returncode == 2, error
    assert "berth-endpoint: the engine refused its settings: unrecognized arguments: --x" in error
    assert said.splitlines().count("unrecognized arguments: --x") == 1


def test_wrong_weights_are_refused_before_the_engine_starts(
    environment: dict[str, str], begin: Any, tmp_path: Path
) -> None:
    script = foreign_engine(tmp_path, environment)
    wrong = {"BERTH_WEIGHTS_SHA256": "0" * 64, "BERTH_ENGINE_COMMAND": json.dumps([str(script)])}
    process = begin({**environment, **wrong})
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "berth-endpoint: no weights to serve: berth-weights: " in error
    assert not Path(f"{script}.seen").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"BERTH_ENGINE_COMMAND": ""}, "BERTH_ENGINE_COMMAND='': must be a JSON list of words"),
        ({"BERTH_ENGINE_COMMAND": "vllm serve"}, "must be a JSON list of words"),
        ({"BERTH_ENGINE_COMMAND": "[]"}, "must be a JSON list of words"),
        ({"BERTH_ENGINE_COMMAND": '["vllm", 1]'}, "must be a JSON list of words"),
        ({"BERTH_ENGINE_COMMAND": '["no-such-program"]'}, "'no-such-program' is no program in this image"),
        ({"BERTH_METRICS_PORT": "0"}, "BERTH_METRICS_PORT=0"),
        ({"BERTH_ENGINE_URL": "http://127.0.0.1"}, "must name the engine's port"),
        ({"BERTH_STOP_SECONDS": "5"}, "BERTH_STOP_SECONDS=5"),
        ({"BERTH_GATEWAY_USER": "nobody"}, "must be <uid>:<gid>"),
        ({"MAX_TOTAL_TOKENS": "x"}, "MAX_TOTAL_TOKENS='x'"),
    ],
)
def test_wrong_settings_are_named(environment: dict[str, str], change: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        EndpointSettings.from_environment({**environment, **change})
    assert said in str(refused.value)


def test_wrong_settings_end_it_with_one_line_each(environment: dict[str, str], begin: Any) -> None:
    process = begin({**environment, "BERTH_ENGINE_COMMAND": "{", "MAX_TOTAL_TOKENS": "x"})
    said, error = process.communicate(timeout=60)
    assert (process.returncode, said) == (2, "")
    assert [line.partition("=")[0] for line in error.splitlines()] == [
        "berth-endpoint: BERTH_ENGINE_COMMAND",
        "berth-endpoint: MAX_TOTAL_TOKENS",
    ]


def test_the_drain_fits_before_the_platforms_kill(environment: dict[str, str]) -> None:
    settings = EndpointSettings.from_environment({**environment, "BERTH_DRAIN_SECONDS": "600"})
    assert (settings.stop_seconds, settings.drain_seconds) == (30, 20)
    assert settings.environ["BERTH_DRAIN_SECONDS"] == "20"
    longer = {**environment, "BERTH_DRAIN_SECONDS": "60", "BERTH_STOP_SECONDS": "120"}
    assert EndpointSettings.from_environment(longer).drain_seconds == 60


def test_vertex_says_where_the_artifacts_are(environment: dict[str, str]) -> None:
    told = {
        **environment,
        "BERTH_MANAGED_CLOUD": "vertex",
        "BERTH_WEIGHTS_SOURCE": "gcs",
        "AIP_STORAGE_URI": "gs://bucket/model",
    }
    assert EndpointSettings.from_environment(told).environ["BERTH_WEIGHTS_URL"] == "gs://bucket/model"


async def test_an_engine_that_answers_no_prompt_is_killed_once_and_started_again() -> None:
    """The gateway's word for it, from a stand-in: nobody waits for a real engine to hang."""
    said = {"ready": True, "wedged": False}
    asked = asyncio.Event()

    async def engine(_: web.Request) -> web.Response:
        asked.set()
        return web.json_response(said, status=503 if said["wedged"] else 200)

    app = web.Application()
    app.router.add_get("/engine", engine)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    events: list[Event] = []
    restarted = asyncio.Event()

    def tell(event: Event) -> None:
        events.append(event)
        if event.kind == "restarted":
            restarted.set()

    output = Forwarded(2)
    sleeping = [Child(name, ["sleep", "1000"], os.environ, output) for name in ("engine", "gateway")]
    watch = Watch(
        engine_url=f"http://127.0.0.1:{port}/engine", alive=lambda _: (True, "well"), drain_seconds=0
    )
    supervisor = Supervisor(*sleeping, watch, tell)
    for child in sleeping:
        await child.start()
    stop = asyncio.Event()
    watching = asyncio.create_task(supervisor.watch(stop))
    try:
        async with asyncio.timeout(60):
            while len(events) == 0:
                asked.clear()
                await asked.wait()
                asked.clear()
                await asked.wait()
                # It was proven; and of the one that comes next the gateway knows nothing yet.
                said |= {"ready": False, "wedged": True}
            await restarted.wait()
            for _ in range(3):
                asked.clear()
                await asked.wait()
    finally:
        stop.set()
        await watching
        await supervisor.end(asyncio.Event())
        await runner.cleanup()
    assert [event.kind for event in events] == ["killed", "restarted"]
    assert events[1].facts == {"process": "engine", "exit_code": -9}
    assert not any(child.running for child in sleeping)


async def test_what_cannot_be_started_is_named() -> None:
    child = Child("engine", ["/nonexistent/engine"], {}, Forwarded(2))
    with pytest.raises(SupervisorError, match=r"the engine could not be started: .*/nonexistent/engine"):
        await child.start()


def filled(folder: Path, files: dict[str, bytes]) -> str:
    """Fill a folder as a bucket's, with the manifest beside; the manifest's digest."""
    listed = []
    for name, body in files.items():
        (folder / name).write_bytes(body)
        listed.append({"path": name, "size": len(body), "sha256": hashlib.sha256(body).hexdigest()})
    manifest = json.dumps({"repo": "a/b", "revision": "c" * 40, "files": listed}).encode()
    (folder / MANIFEST_BESIDE).write_bytes(manifest)
    return hashlib.sha256(manifest).hexdigest()


def beside(folder: Path, digest: str) -> TreeSettings:
    return TreeSettings.from_environment(
        {
            "BERTH_WEIGHTS_SOURCE": "volume",
            "BERTH_WEIGHTS_DIR": str(folder.parent),
            "BERTH_WEIGHTS_FOLDER": folder.name,
            "BERTH_WEIGHTS_MANIFEST_SHA256": digest,
        }
    )


def test_a_manifest_beside_the_files_is_worth_its_digest(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    digest = filled(folder, {"config.json": b"{}", "model.gguf": b"GGUF and more"})
    assert bring(beside(folder, digest)) == folder
    with pytest.raises(TreeError, match=f"SHA-256 is {digest}, wanted {'0' * 64}"):
        bring(beside(folder, "0" * 64))
    (folder / "model.gguf").write_bytes(b"GGUF and less")
    with pytest.raises(TreeError, match=r"model\.gguf: SHA-256 is"):
        bring(beside(folder, digest))
    (folder / MANIFEST_BESIDE).unlink()
    with pytest.raises(TreeError, match="weights manifest"):
        bring(beside(folder, digest))


@pytest.mark.parametrize("source", ["hub", "oci", "volume"])
def test_without_a_manifest_or_its_digest_nothing_is_served(source: str) -> None:
    with pytest.raises(SettingsError, match="BERTH_WEIGHTS_MANIFEST is missing"):
        TreeSettings.from_environment({"BERTH_WEIGHTS_SOURCE": source, "BERTH_WEIGHTS_FOLDER": "m"})


def test_a_manifest_beside_a_buckets_files_is_read_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b"GGUF and more"
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    digest = filled(bucket, {"model.gguf": body})

    class Bucket:
        def read(self, path: str, sha256: str, start: int) -> Iterator[bytes]:
            del sha256
            try:
                yield (bucket / path).read_bytes()[start:]
            except FileNotFoundError:
                raise HubError(f"{path}: no such file") from None

    monkeypatch.setattr("berth_serving.weights_tree._store", lambda *_: Bucket())
    settings = TreeSettings.from_environment(
        {
            "BERTH_WEIGHTS_SOURCE": "gcs",
            "BERTH_WEIGHTS_URL": "gs://bucket/model",
            "BERTH_WEIGHTS_DIR": str(tmp_path / "models"),
            "BERTH_WEIGHTS_FOLDER": "m",
            "BERTH_WEIGHTS_MANIFEST_SHA256": digest,
        }
    )
    assert (bring(settings) / "model.gguf").read_bytes() == body
    (bucket / MANIFEST_BESIDE).unlink()
    with pytest.raises(TreeError, match="no such file"):
        bring(settings)
