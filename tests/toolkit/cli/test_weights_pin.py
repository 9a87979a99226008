"""`berth weights pin` against a stand-in hub on loopback, which says that it is one."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from berth.cli.errors import UserError
from berth.cli.weights import weights
from berth_catalogue.models import model
from berth_catalogue.weights_pins import PinnedFile, Pins, manifest_text, pins_text, read_pins
from berth_serving.manifest import parse_manifest
from berth_serving.weights_settings import MANIFEST_BESIDE
from click.testing import CliRunner, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "mistral-7b-instruct-v0.3"
REPO = model(KEY).name
TOKEN = "hf_canaryCANARY"


class Hub(ThreadingHTTPServer):
    daemon_threads = True
    commit = "a" * 40
    config = b'{"model_type": "mistral"}\n'
    tensors = hashlib.sha256(b"tensors").hexdigest()
    gated = False


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        hub = self.server
        assert isinstance(hub, Hub)
        blob = hashlib.sha1(b"blob %d\0" % len(hub.config) + hub.config, usedforsecurity=False).hexdigest()
        listed = [
            {"type": "file", "path": "config.json", "size": len(hub.config), "oid": blob},
            {
                "type": "file",
                "path": "model.safetensors",
                "size": 14_500_000_000,
                "oid": "e" * 40,
                "lfs": {"oid": hub.tensors, "size": 14_500_000_000, "pointerSize": 135},
            },
        ]
        answers = {
            f"/api/models/{REPO}/revision/main": json.dumps({"sha": hub.commit}).encode(),
            f"/api/models/{REPO}/tree/{hub.commit}?recursive=true": json.dumps(listed).encode(),
            f"/{REPO}/resolve/{hub.commit}/config.json": hub.config,
        }
        allowed = not hub.gated or self.headers["Authorization"] == f"Bearer {TOKEN}"
        body = answers.get(self.path) if allowed else None
        self.send_response(200 if body is not None else 404 if allowed else 403)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pin(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.delenv("HF_TOKEN", raising=False)

    def run(key: str = KEY, *more: str) -> Result:
        url = f"http://127.0.0.1:{hub.server_address[1]}"
        return CliRunner().invoke(weights, ["pin", key, "--hub", url, "--folder", str(tmp_path), *more])

    return run


def test_it_writes_what_stacks_read(pin: Callable[..., Result], hub: Hub, tmp_path: Path) -> None:
    done = pin()
    assert done.exit_code == 0, done.output
    pins = read_pins(tmp_path / f"{KEY}.yaml")
    assert (pins.repo, pins.revision) == (REPO, hub.commit)
    assert [(one.path, one.size, one.sha256) for one in pins.files] == [
        ("config.json", len(hub.config), hashlib.sha256(hub.config).hexdigest()),
        ("model.safetensors", 14_500_000_000, hub.tensors),
    ]
    assert "2 files" in done.output
    assert hub.commit in done.output


def test_again_it_says_what_changed(pin: Callable[..., Result], hub: Hub) -> None:
    assert "pinned at" in pin().stderr
    assert "unchanged" in pin().stderr
    hub.commit = "b" * 40
    assert f"was at {'a' * 40}" in pin().stderr


def test_a_gate_asks_for_a_token_which_shows_nowhere(
    pin: Callable[..., Result], hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated = True
    refused = pin()
    assert isinstance(refused.exception, UserError)
    assert "give a token" in str(refused.exception)
    assert not (tmp_path / f"{KEY}.yaml").exists()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    done = pin()
    assert done.exit_code == 0
    assert TOKEN not in done.output
    file = tmp_path / "token"
    file.write_text(TOKEN)
    monkeypatch.delenv("HF_TOKEN")
    assert pin(KEY, "--token-file", str(file)).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("qwen2.5-7b-instuct",), "did you mean 'qwen2.5-7b-instruct'"),
        (("smollm2-135m-instruct-q4_1",), "come with a package"),
        ((KEY, "--revision", "v9"), "the hub does not have it"),
        ((KEY, "--file", "other.safetensors"), "there are: model.safetensors"),
    ],
)
def test_what_cannot_be_pinned_is_one_sentence(
    pin: Callable[..., Result], arguments: tuple[str, ...], said: str
) -> None:
    done = pin(*arguments)
    assert isinstance(done.exception, UserError)
    assert said in str(done.exception)


def test_a_manifest_is_what_a_fetcher_reads_and_an_endpoint_is_told_of(tmp_path: Path) -> None:
    pins = Pins("a/b", "c" * 40, (PinnedFile("model.gguf", 7, "d" * 64),))
    (tmp_path / f"{KEY}.yaml").write_text(pins_text(pins))
    command = ["manifest", KEY, "--folder", str(tmp_path)]
    printed = CliRunner().invoke(weights, command, catch_exceptions=False)
    assert printed.stdout == manifest_text(pins)
    told = CliRunner().invoke(weights, [*command, "--output", str(tmp_path)], catch_exceptions=False)
    written = (tmp_path / MANIFEST_BESIDE).read_bytes()
    assert written == printed.stdout_bytes
    assert told.stdout.endswith(f"SHA-256 {hashlib.sha256(written).hexdigest()}\n")
    assert parse_manifest(written, "it").files[0].path == "model.gguf"
    with pytest.raises(UserError, match="weights pin other makes it"):
        CliRunner().invoke(weights, ["manifest", "other", "--folder", str(tmp_path)], catch_exceptions=False)
