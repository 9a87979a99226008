"""The endpoint's image as SageMaker runs it: `serve`, a stack's environment, port 8080, read-only weights."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from berth_catalogue.images import load_images
from berth_catalogue.weights_pins import PinnedFile, Pins, manifest_text
from berth_serving.weights_settings import MANIFEST_BESIDE
from berth_stacks import build, endpoints
from berth_stacks.load import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROLE = "sagemaker-llama-cpp"
PATIENCE = 240
URL = "http://127.0.0.1:8080"
_NEW_NETWORK = 0x40000000
# A network, processes and mounts of its own, as a container has them.
CONTAINER = """
set -e
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
root=$ROOT model=$MODEL path=$IMAGE_PATH
unset ROOT MODEL IMAGE_PATH
ip link set lo up
mkdir -p "$root/opt/ml/model" "$root/dev"
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs none "$root/dev"
for device in null zero urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount --bind "$model" "$root/opt/ml/model"
mount -o remount,bind,ro "$root/opt/ml/model"
mount -o remount,bind,ro "$root"
export PATH=$path
exec /usr/sbin/chroot --userspec=65532:65532 --groups=65532 "$root" "$@"
"""
STACK = {
    "berth:environment": "development",
    "berth:sites": {
        "endpoint": {
            "sagemaker": {
                "region": "eu-central-1",
                "instanceType": "ml.c7i.xlarge",
                "scaling": {"minInstances": 1, "maxInstances": 3, "target": 4},
                "alarms": {"actionArns": []},
            }
        }
    },
    "berth:clients": {"cidrs": ["10.0.0.0/8"]},
    "berth:models": {
        "chat": {
            "model": "smollm2-135m-instruct-q4_1",
            "sites": ["endpoint"],
            "engine": {"name": "llama.cpp", "threads": 1},
            "concurrency": {"slots": 2, "maxConcurrentRequests": 64},
            "tokens": {"maxInput": 1024, "maxTotal": 2048},
        }
    },
    "berth:apiKeys": {"tester": "canary-0123456789abcdef"},
}


@pytest.fixture
def told(tmp_path: Path) -> dict[str, str]:
    """What a stack with an endpoint on CPUs gives its container."""
    config = {key: value if isinstance(value, str) else json.dumps(value) for key, value in STACK.items()}
    (tmp_path / "Pulumi.there.yaml").write_text(json.dumps({"config": STACK}))
    loaded = read(tmp_path, "there", config, frozenset({"berth:apiKeys"}))
    (at,) = build.placed(loaded.settings)
    assert at.image_roles == (ROLE,)
    environment = endpoints.environment(loaded, at)
    assert all(isinstance(value, str) for value in environment.values())
    return {key: str(value) for key, value in environment.items()}


class Container:
    """A running container; `pid` is that of its process 1, as this machine sees it."""

    def __init__(self, root: Path, environment: dict[str, str], model: Path, log: Path) -> None:
        spec = load_images().images[ROLE]
        self.log = log
        command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", CONTAINER]
        with log.open("wb") as output:
            self.popen = subprocess.Popen(
                [*command, "sh", *spec.entrypoint, "serve"],
                env={
                    **spec.env,
                    **environment,
                    "PATH": os.environ["PATH"],
                    "IMAGE_PATH": spec.env["PATH"],
                    "ROOT": str(root),
                    "MODEL": str(model),
                },
                stdout=output,
                stderr=output,
            )

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (value := condition()):
            assert self.popen.poll() is None, self.said()
            assert time.monotonic() < deadline, f"{what}: {self.said()}"
            time.sleep(0.02)
        return value

    @property
    def pid(self) -> int:
        path = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children")
        return int(self.until(lambda: path.read_text().split(), "process 1")[0])

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """Connections that begin here are made in the container's network."""
        libc = ctypes.CDLL(None, use_errno=True)
        with (
            Path("/proc/thread-self/ns/net").open() as ours,
            Path(f"/proc/{self.pid}/ns/net").open() as theirs,
        ):
            assert libc.setns(theirs.fileno(), _NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert libc.setns(ours.fileno(), _NEW_NETWORK) == 0

    def ping(self) -> int | None:
        """The status of /ping; None where nobody listens."""
        with self.network(), contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{URL}/ping", timeout=30).status_code
        return None

    def ask(self, body: dict[str, Any], path: str = "/invocations") -> httpx.Response:
        with self.network():
            return httpx.post(f"{URL}{path}", json=body, timeout=PATIENCE)

    def processes(self) -> dict[str, int]:
        """Modules of ours that run, by pid."""
        found = {}
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        for pid in children:
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                found.update({word: int(pid) for word in words if word.startswith("berth_serving.")})
        return found

    def end(self) -> None:
        with contextlib.suppress(OSError):
            for pid in Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        self.popen.kill()
        self.popen.wait()


@pytest.fixture
def start(unpack: Callable[[str], Path], tmp_path: Path) -> Iterator[Callable[..., Container]]:
    if os.geteuid() != 0:
        pytest.skip("needs root: an image runs in a mount namespace")
    running: list[Container] = []

    def started(environment: dict[str, str], model: Path | None = None) -> Container:
        log = tmp_path / f"log-{len(running)}"
        if model is None:
            model = tmp_path / "nothing"
            model.mkdir(exist_ok=True)
        running.append(Container(unpack(ROLE), environment, model, log))
        return running[-1]

    yield started
    for one in running:
        one.end()


def events(answer: httpx.Response) -> Iterator[str]:
    for line in answer.iter_lines():
        if line.startswith("data:"):
            yield line.removeprefix("data:").strip()


def test_it_answers_heals_and_ends_as_sagemaker_asks(
    start: Callable[..., Container], told: dict[str, str]
) -> None:
    # A loaded machine may need longer than SageMaker gives.
    container = start({**told, "BERTH_STOP_SECONDS": "300", "BERTH_DRAIN_SECONDS": "240"})
    statuses = set()

    def well() -> bool:
        statuses.add(status := container.ping())
        return status == 200

    container.until(well, "/ping says 200")
    assert statuses <= {None, 503, 200}

    # Every body that the two contracts have, and their streams.
    answer = container.ask({"inputs": "The capital of France is", "parameters": {"max_new_tokens": 4}})
    assert answer.json()[0]["generated_text"].strip()
    chat = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    assert container.ask(chat).json()["choices"][0]["message"]["role"] == "assistant"
    assert container.ask({"prompt": "Hi", "max_tokens": 4}).json()["choices"][0]["text"]
    streamed = [*events(container.ask({**chat, "stream": True}))]
    assert streamed[-1] == "[DONE]"
    streamed = [*events(container.ask({"inputs": "Hi", "parameters": {"max_new_tokens": 4}, "stream": True}))]
    assert json.loads(streamed[-1])["generated_text"]
    # Others' routes are closed: SageMaker has asked its callers, and nobody else has.
    assert container.ask({"inputs": "Hi"}, "/generate").status_code == 401

    # While process 1 is held, the gateway says that the engine is gone; then it is started again.
    first = container.processes()["berth_serving.engines.llama_cpp"]
    os.kill(container.pid, signal.SIGSTOP)
    os.kill(first, signal.SIGKILL)
    container.until(lambda: container.ping() == 503, "/ping says 503")
    os.kill(container.pid, signal.SIGCONT)
    container.until(lambda: container.ping() == 200, "/ping says 200 again")
    assert container.processes()["berth_serving.engines.llama_cpp"] != first
    assert container.ask({"inputs": "Hi"}).status_code == 200

    # A stream that has begun is finished; then it ends by itself.
    body = {"inputs": "Hi", "parameters": {"max_new_tokens": 48, "details": True}, "stream": True}
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(httpx.Client(timeout=PATIENCE))
        with container.network():
            answer = stack.enter_context(client.stream("POST", f"{URL}/invocations", json=body))
        rest = events(answer)
        assert json.loads(next(rest))["token"]
        os.kill(container.pid, signal.SIGTERM)
        last = json.loads([*rest][-1])
    assert last["details"]["generated_tokens"] > 0
    assert container.popen.wait(PATIENCE) == 0, container.said()
    said = container.said()
    assert '"message": "weights verified"' in said
    assert '"message": "engine ready"' in said
    assert '"message": "gateway ended"' in said
    assert "Traceback" not in said


def test_weights_that_sagemaker_brings_are_verified_first(
    start: Callable[..., Container], told: dict[str, str], unpack: Callable[[str], Path], tmp_path: Path
) -> None:
    """/opt/ml/model as a bucket's folder, with the manifest beside the file."""
    image = load_images().images[ROLE].weights
    assert image is not None
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    file = bucket / "model.gguf"
    shutil.copyfile(unpack(ROLE) / image.path.lstrip("/"), file)
    pins = Pins("acme/model", "a" * 40, (PinnedFile(file.name, file.stat().st_size, image.sha256),))
    manifest = manifest_text(pins).encode()
    (bucket / MANIFEST_BESIDE).write_bytes(manifest)
    environment = {
        **told,
        "BERTH_WEIGHTS": "/opt/ml/model/model.gguf",
        "BERTH_WEIGHTS_SOURCE": "volume",
        "BERTH_WEIGHTS_DIR": "/opt/ml",
        "BERTH_WEIGHTS_FOLDER": "model",
        "BERTH_WEIGHTS_MANIFEST_SHA256": hashlib.sha256(manifest).hexdigest(),
    }
    container = start(environment, bucket)
    container.until(lambda: container.ping() == 200, "/ping says 200")
    assert container.ask({"inputs": "Hi"}).status_code == 200
    container.end()

    with file.open("r+b") as written:
        written.seek(1_000_000)
        written.write(b"others'")
    container = start(environment, bucket)
    assert container.popen.wait(PATIENCE) == 1
    said = container.said()
    assert "berth-endpoint: no weights to serve: berth-weights: /opt/ml/model/model.gguf: SHA-256 is" in said
    assert "engine starts" not in said
    assert "Traceback" not in said


def test_packaged_weights_with_another_digest_are_refused(
    start: Callable[..., Container], told: dict[str, str]
) -> None:
    container = start({**told, "BERTH_WEIGHTS_SHA256": "0" * 64})
    assert container.popen.wait(PATIENCE) == 1
    assert f"is not the GGUF file with SHA-256 {'0' * 64}" in container.said()
    assert "engine starts" not in container.said()


def test_an_engine_that_is_not_ours_finds_nothing_of_our_python(
    start: Callable[..., Container], told: dict[str, str]
) -> None:
    code = (
        "import importlib.util, os, sys; print('seen', sorted(key for key in os.environ"
        " if key.startswith(('PYTHON', 'BERTH_'))), importlib.util.find_spec('berth_serving')); sys.exit(1)"
    )
    container = start({**told, "BERTH_ENGINE_COMMAND": json.dumps(["/usr/bin/python3", "-c", code])})
    assert container.popen.wait(PATIENCE) == 1
    said = container.said()
    assert said.splitlines().count("seen [] None") == 6
    assert "berth-endpoint: the engine died again (exit code 1), 6 crashes without 60 s of service" in said
