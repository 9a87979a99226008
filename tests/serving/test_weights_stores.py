"""Weights from S3 (moto's server), Google Cloud Storage (a stand-in) and an OCI registry (the real one)."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

import boto3
import pytest
from berth_images.references import parse as parse_reference
from berth_images.registry import RegistryClient
from berth_serving.environment import SettingsError
from berth_serving.hub import HubError
from berth_serving.object_store import checked_url
from berth_serving.oci_artifact import MANIFEST_TYPE, TITLE, OciArtifact, checked_reference
from berth_serving.weights_settings import TreeError, TreeSettings
from berth_serving.weights_tree import bring
from moto.server import ThreadedMotoServer

from tests.images.conftest import htpasswd, registry_binary, start_registry
from tests.serving.stand_in_hub import COMMIT, FILES, ONE, REPO, SERVED, sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["htpasswd", "registry_binary", "start_registry"]  # fixtures of the images' tests

BUCKET = "weights"
SHARD = "model-00001-of-00002.safetensors"


class Store(Protocol):
    """A place that weights can be put to and fetched from."""

    def put(self, files: dict[str, bytes]) -> None: ...

    def settings(self) -> dict[str, Any]: ...


def manifest_of(files: dict[str, bytes]) -> str:
    entries = [
        {"path": name, "size": len(content), "sha256": sha256(content)} for name, content in files.items()
    ]
    return json.dumps({"repo": REPO, "revision": COMMIT, "files": entries})


def tree(folder: Path, store: Store, promised: dict[str, bytes], **more: Any) -> TreeSettings:
    manifest = folder / "manifest.json"
    manifest.write_text(manifest_of(promised))
    given = {"seconds": 4, **store.settings(), **more}
    return TreeSettings(root=folder / "models", folder="tiny", manifest=manifest, **given)


# -- S3 ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@dataclass
class S3:
    endpoint: str

    def put(self, files: dict[str, bytes]) -> None:
        keys = {"aws_access_key_id": "tests", "aws_secret_access_key": "tests"}
        client = boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", **keys)
        client.create_bucket(Bucket=BUCKET)
        for name, content in files.items():
            client.put_object(Bucket=BUCKET, Key=f"models/tiny/{name}", Body=content)

    def settings(self) -> dict[str, Any]:
        return {"source": "s3", "url": f"s3://{BUCKET}/models/tiny", "endpoint": self.endpoint}


# -- Google Cloud Storage ----------------------------------------------------------------------------------


@dataclass
class Gcs:
    """A stand-in: objects by the XML API's paths, with ranges, and connections that end early."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    cut: int = 0
    port: int = 0

    def put(self, files: dict[str, bytes]) -> None:
        self.files = {f"/{BUCKET}/models/tiny/{name}": content for name, content in files.items()}

    def settings(self) -> dict[str, Any]:
        endpoint = f"http://127.0.0.1:{self.port}"
        url = f"gs://{BUCKET}/models/tiny/"
        return {"source": "gcs", "url": url, "endpoint": endpoint, "anonymous": True}


def gcs_handler(store: Gcs) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, asked = unquote(urlsplit(self.path).path), self.headers.get("Range")
            store.asked.append((path.rsplit("/", 1)[1], asked))
            content = store.files.get(path)
            if content is None:
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(content) - start))
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Wed, 01 Jul 2026 00:00:00 GMT")
            self.end_headers()
            rest = content[start:]
            if store.cut and len(rest) > store.cut:
                rest, store.cut = rest[: store.cut], 0
                self.close_connection = True
            self.wfile.write(rest)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def gcs() -> Iterator[Gcs]:
    store = Gcs()
    server = ThreadingHTTPServer(("127.0.0.1", 0), gcs_handler(store))
    store.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield store
    server.shutdown()
    thread.join()
    server.server_close()


# -- OCI ---------------------------------------------------------------------------------------------------


@dataclass
class Oci:
    host: str
    url: str = ""

    def put(self, files: dict[str, bytes]) -> None:
        with RegistryClient(parse_reference(f"{self.host}/models/tiny:1")) as client:
            layers = []
            for name, content in {**files, "": b"{}"}.items():
                digest = f"sha256:{sha256(content)}"
                client.upload_blob(digest, len(content), content)
                layer = {"mediaType": "application/octet-stream", "digest": digest, "size": len(content)}
                layers.append({**layer, "annotations": {TITLE: name}})
            config = {**layers.pop(), "mediaType": "application/vnd.oci.empty.v1+json"}
            manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers}
            body = json.dumps(manifest).encode()
            digest = client.put_manifest("1", MANIFEST_TYPE, body)
        self.url = f"oci://{self.host}/models/tiny@{digest}"

    def settings(self) -> dict[str, Any]:
        return {"source": "oci", "url": self.url}


@pytest.fixture(params=["s3", "gcs", "oci"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    if request.param == "s3":
        return S3(request.getfixturevalue("moto"))
    if request.param == "gcs":
        found: Store = request.getfixturevalue("gcs")
        return found
    return Oci(request.getfixturevalue("start_registry")().host)


PROMISED = {name: FILES[name] for name in SERVED}


def test_all_files_come_whole_and_a_second_start_asks_nothing(store: Store, tmp_path: Path) -> None:
    store.put(PROMISED)
    settings = tree(tmp_path, store, PROMISED)
    target = bring(settings)
    assert {name: (target / name).read_bytes() for name in SERVED} == PROMISED
    nowhere = {"endpoint": "http://127.0.0.1:9"} if settings.source != "oci" else {}
    again = tree(tmp_path, store, PROMISED, **nowhere)
    assert bring(again) == target


def test_what_is_half_there_is_gone_on_with(store: Store, tmp_path: Path) -> None:
    store.put(PROMISED)
    settings = tree(tmp_path, store, PROMISED)
    parts = tmp_path / "models" / "tiny" / ".berth-parts"
    parts.mkdir(parents=True)
    (parts / sha256(ONE)).write_bytes(ONE[:200_000])
    target = bring(settings)
    assert (target / SHARD).read_bytes() == ONE
    if isinstance(store, Gcs):
        assert (SHARD, "bytes=200000-") in store.asked


@pytest.mark.parametrize("case", ["other bytes", "truncated", "longer", "pickle", "absent"])
def test_poisoned_weights_are_never_visible(store: Store, tmp_path: Path, case: str) -> None:
    given = {
        "other bytes": {**PROMISED, SHARD: bytes(len(ONE))},
        "truncated": {**PROMISED, SHARD: ONE[:-1]},
        "longer": {**PROMISED, SHARD: ONE + b"x" * 5_000_000},
        "pickle": {**PROMISED, SHARD: b"\x80\x04pickle"},
        "absent": {name: content for name, content in PROMISED.items() if name != SHARD},
    }[case]
    # A pickle is promised as it is: its digest is right, and it is refused all the same.
    promised = given if case == "pickle" else PROMISED
    store.put(given)
    with pytest.raises(TreeError) as caught:
        bring(tree(tmp_path, store, promised, seconds=5))
    assert SHARD in str(caught.value)
    target = tmp_path / "models" / "tiny"
    assert not (target / SHARD).exists()
    assert not (target / ".berth-complete").exists()


def test_a_cut_connection_is_gone_on_with(gcs: Gcs, tmp_path: Path) -> None:
    gcs.put(PROMISED)
    gcs.cut = 150_000
    target = bring(tree(tmp_path, gcs, PROMISED, seconds=20))
    assert (target / SHARD).read_bytes() == ONE


def test_a_store_that_is_away_ends_at_the_deadline(store: Store, tmp_path: Path) -> None:
    store.put(PROMISED)
    away = {"endpoint": "http://127.0.0.1:9"}
    if isinstance(store, Oci):
        away = {"url": store.url.replace(store.host, "127.0.0.1:9")}
    with pytest.raises(TreeError, match="tried until the time was over"):
        bring(tree(tmp_path, store, PROMISED, **{**away, "seconds": 1}))


def test_s3_without_permission_is_said_without_the_secret(moto: str, tmp_path: Path) -> None:
    variables = {
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "canary-secret",
        "AWS_REGION": "us-east-1",
    }
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest_of(PROMISED))
    more = {
        "BERTH_WEIGHTS_SOURCE": "s3",
        "BERTH_WEIGHTS_URL": "s3://no-such-bucket/tiny",
        "BERTH_WEIGHTS_ENDPOINT": moto,
        "BERTH_WEIGHTS_DIR": str(tmp_path / "models"),
        "BERTH_WEIGHTS_FOLDER": "tiny",
        "BERTH_WEIGHTS_MANIFEST": str(manifest),
        "BERTH_WEIGHTS_SECONDS": "2",
    }
    done = subprocess.run(
        [sys.executable, "-m", "berth_serving.weights"],
        env={**variables, **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("berth-weights: s3://no-such-bucket/tiny/")
    assert "no such bucket or file" in done.stderr
    assert "canary" not in done.stderr


def test_a_registry_that_asks_for_a_password_gets_it(
    start_registry: Callable[..., Any], htpasswd: dict[str, Any], tmp_path: Path
) -> None:
    host = start_registry(htpasswd).host
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {host: {"username": "ada", "password": "wrong"}}}))
    url = f"oci://{host}/models/tiny@sha256:{'0' * 64}"
    with pytest.raises(HubError, match=r"credentials are needed.*BERTH_WEIGHTS_DOCKER_CONFIG"):
        next(OciArtifact(url, docker_config=config, deadline=0).read("x", "0", 0))
    config.write_text(json.dumps({"auths": {host: {"username": "ada", "password": "only-for-tests"}}}))
    with pytest.raises(HubError, match="no such artifact"):
        next(OciArtifact(url, docker_config=config, deadline=0).read("x", "0", 0))
    config.write_text("{")
    with pytest.raises(HubError, match="no docker configuration"):
        OciArtifact(url, docker_config=config, deadline=0)


def test_a_manifest_with_another_digest_is_refused(gcs: Gcs) -> None:
    digest = "sha256:" + "0" * 64
    gcs.files = {f"/v2/models/tiny/manifests/{digest}": b'{"layers": []}'}
    artifact = OciArtifact(f"oci://127.0.0.1:{gcs.port}/models/tiny@{digest}", deadline=0)
    found = hashlib.sha256(b'{"layers": []}').hexdigest()
    with pytest.raises(HubError, match=f"another manifest, sha256:{found}"):
        next(artifact.read("x", "0", 0))


@pytest.mark.parametrize(
    "url",
    ["oci://host/repo:latest", "oci://host/repo", "https://host/repo@sha256:0", "oci://u:p@host/r@sha256:0"],
)
def test_an_artifact_without_a_digest_is_refused(url: str) -> None:
    with pytest.raises(HubError, match="must be oci://"):
        checked_reference(url)


@pytest.mark.parametrize("url", ["s3://", "gs://b/x", "s3://user@bucket/x", "s3://b/x?y=1", "b/x", ""])
def test_urls_of_buckets_are_checked(url: str) -> None:
    with pytest.raises(HubError, match="must be s3://"):
        checked_url("s3", url)


def test_wrong_settings_are_all_named() -> None:
    variables = {
        "BERTH_WEIGHTS_SOURCE": "gcs",
        "BERTH_WEIGHTS_URL": "s3://b",
        "BERTH_WEIGHTS_ENDPOINT": "http://example.com",
        "BERTH_WEIGHTS_FOLDER": "../x",
    }
    with pytest.raises(SettingsError) as caught:
        TreeSettings.from_environment(variables)
    for name in (*list(variables)[1:], "BERTH_WEIGHTS_MANIFEST"):
        assert name in str(caught.value)
