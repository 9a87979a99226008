"""A stand-in for a model hub, and for the storage that it redirects to, on two ports of loopback.

It follows the shapes of the real API; the real client, huggingface_hub, judges it in `test_weights_hub.py`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from berth_serving.pinning import INDEX
from berth_serving.weights_settings import TreeSettings

if TYPE_CHECKING:
    import threading
    from pathlib import Path

REPO = "example/tiny"
COMMIT = "0123456789abcdef" * 2 + "01234567"
TOKEN = "hf_canaryCANARYcanary"
HEADER = json.dumps({"__metadata__": {"format": "pt"}}).encode()


def tensors(seed: int, size: int = 300_000) -> bytes:
    """A safetensors file: length, header, and bytes that stand for tensors."""
    return len(HEADER).to_bytes(8, "little") + HEADER + bytes((i * seed) % 251 for i in range(size))


ONE, TWO = tensors(3), tensors(7)
FILES = {
    "config.json": b'{"model_type": "tiny"}\n',
    "tokenizer.json": b"{}",
    "model-00001-of-00002.safetensors": ONE,
    "model-00002-of-00002.safetensors": TWO,
    INDEX: json.dumps(
        {
            "weight_map": {
                "a": "model-00001-of-00002.safetensors",
                "b": "model-00002-of-00002.safetensors",
            }
        }
    ).encode(),
    "consolidated.safetensors": tensors(5, 1000),
    "README.md": b"# Tiny",
    "modeling_tiny.py": b"import os",
    "pytorch_model.bin": b"\x80\x04pickle",
    ".gitattributes": b"*.safetensors filter=lfs",
    "original/params.json": b"{}",
}
SERVED = [
    "config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    INDEX,
    "tokenizer.json",
]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass
class StandInHub:
    """A hub, and the storage that it redirects to, on two ports."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    port: int = 0
    storage_port: int = 0
    gated: bool = False
    page: int = 4
    ranges: bool = True
    log: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)
    # Bytes after which a connection is cut, once each; statuses that are answered first.
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    hold: threading.Event | None = None
    redirect_to: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def downloads(self, name: str) -> list[str | None]:
        """The ranges asked of a file's bytes at the storage."""
        return [wanted for host, path, _, wanted in self.log if host == "storage" and path.endswith(name)]

    def settings(self, tmp_path: Path, files: dict[str, bytes] | None = None, **more: Any) -> TreeSettings:
        listed = [
            {"path": path, "size": len(content), "sha256": sha256(content)}
            for path, content in (files or {name: self.files[name] for name in SERVED}).items()
        ]
        manifest = tmp_path / "manifest.json"
        manifest.write_text(json.dumps({"repo": REPO, "revision": COMMIT, "files": listed}))
        made = {
            "source": "hub",
            "root": tmp_path / "models",
            "folder": f"example--tiny/{COMMIT}",
            "manifest": manifest,
            "hub": self.url,
            "seconds": 20.0,
        }
        return TreeSettings(**{**made, **more})


def handler(hub: StandInHub, host: str) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - one class is one server
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            hub.log.append((host, self.path, self.headers["Authorization"], self.headers["Range"]))
            if hub.statuses and host == "hub":
                self._answer(hub.statuses.pop(0), b"later", {"Retry-After": "0"})
            elif hub.gated and host == "hub" and self.headers["Authorization"] != f"Bearer {TOKEN}":
                self._answer(401, b"", {"X-Error-Code": "GatedRepo"})
            elif host == "storage":
                self._bytes(hub.files[self.path.removeprefix("/storage/").partition("?")[0]])
            elif self.path.startswith(f"/api/models/{REPO}/revision/"):
                self._revision(self.path.rpartition("/")[2])
            elif self.path.startswith(f"/api/models/{REPO}/tree/{COMMIT}"):
                self._tree()
            elif self.path.startswith(f"/{REPO}/resolve/{COMMIT}/"):
                self._resolve(self.path.removeprefix(f"/{REPO}/resolve/{COMMIT}/"))
            else:
                self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})

        def _revision(self, name: str) -> None:
            if name not in {"main", COMMIT}:
                self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
                return
            body = {"id": REPO, "modelId": REPO, "sha": COMMIT, "gated": False, "siblings": [], "tags": []}
            self._answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

        def _tree(self) -> None:
            entries: list[dict[str, Any]] = [
                {"type": "directory", "oid": "f" * 40, "size": 0, "path": "original"}
            ]
            for path, content in hub.files.items():
                blob = git_id(content)
                entry = {"type": "file", "oid": blob, "size": len(content), "path": path}
                if path.endswith((".safetensors", ".bin", ".gguf")):
                    entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 134}
                    entry["oid"] = "e" * 40
                entries.append(entry)
            start = int(self.path.partition("cursor=")[2] or 0)
            end = start + hub.page
            headers = {"Content-Type": "application/json"}
            if end < len(entries):
                base = f"{hub.url}/api/models/{REPO}/tree/{COMMIT}?recursive=true"
                headers["Link"] = f'<{base}&cursor={end}>; rel="next"'
            self._answer(200, json.dumps(entries[start:end]).encode(), headers)

        def _resolve(self, path: str) -> None:
            if path not in hub.files:
                self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
                return
            content = hub.files[path]
            if not path.endswith((".safetensors", ".bin", ".gguf")):
                tag = git_id(content)
                self._bytes(content, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})
                return
            headers = {
                "X-Repo-Commit": COMMIT,
                "X-Linked-Etag": f'"{sha256(content)}"',
                "X-Linked-Size": str(len(content)),
                "Location": hub.redirect_to
                or f"http://localhost:{hub.storage_port}/storage/{path}?Signature=signed-canary",
            }
            self._answer(302, b"", headers)

        def _bytes(self, content: bytes, more: dict[str, str] | None = None) -> None:
            wanted = self.headers["Range"]
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and hub.ranges else 0
            body = content[start:]
            self.send_response(206 if start else 200)
            for key, value in {**(more or {}), "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if self.command == "HEAD":
                return
            if hub.hold is not None and len(content) > 1000:
                self.wfile.write(body[:100_000])
                hub.hold.wait(20)
                body = body[100_000:]
            if hub.cuts and len(content) > 1000:
                self.wfile.write(body[: hub.cuts.pop(0)])
                self.close_connection = True
                return
            self.wfile.write(body)

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients that go away are part of these tests."""
