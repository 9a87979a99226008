"""What the tests of images share: the images as a user has them, their root file systems, real registries."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from berth_images import BuiltImage, build_all, roles
from berth_images.credentials import Credentials
from berth_images.oci import Archive
from berth_images.store import Store, cache_root
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REGISTRY_PACKAGE = "docker-registry"
USER, PASSWORD = "ada", "only-for-tests"
# bcrypt of PASSWORD, cost 5, as `htpasswd -B` writes it.
HTPASSWD = "ada:$2b$05$pVpLq4QZKNdDxxZOmH6G3eiz0sZFf5htRFiKxsmYBquYuIvBaeQTS"


@pytest.fixture(scope="session")
def built() -> dict[str, BuiltImage]:
    """Every image, from the user's cache: built once per machine, found after that."""
    return build_all(roles())


@pytest.fixture(scope="session")
def unpack(built: dict[str, BuiltImage], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the root file system of an image as a folder, unpacked once."""
    done: dict[str, Path] = {}

    def unpacked(role: str) -> Path:
        if role not in done:
            done[role] = root = tmp_path_factory.mktemp(f"root-{role}")
            root.chmod(0o755)
            for _, stream in Archive(built[role].tar).layers():
                with tarfile.open(fileobj=stream) as layer:
                    layer.extractall(root, filter=_as_it_is)  # noqa: S202 - our own archive, made by the code under test
        return done[role]

    return unpacked


def _as_it_is(member: tarfile.TarInfo, _: str) -> tarfile.TarInfo:
    return member  # our own content, unpacked with its modes


@pytest.fixture
def fresh_store(tmp_path: Path, built: dict[str, BuiltImage]) -> Store:
    """Give a cache that has the downloads and nothing made from them."""
    del built  # the downloads are there once every image is built
    return _copy_of_the_users(tmp_path / "images", ("bases", "debs"))


@pytest.fixture
def warm_store(tmp_path: Path, built: dict[str, BuiltImage]) -> Store:
    """Give a cache that has downloads and layers, and no image: a test builds what it changes."""
    del built
    return _copy_of_the_users(tmp_path / "images", ("bases", "debs", "layers", "blobs"), ("wheels", "roots"))


def _copy_of_the_users(folder: Path, parts: tuple[str, ...], trees: tuple[str, ...] = ("wheels",)) -> Store:
    theirs, ours = Store.default(), Store(folder)
    for name in parts:
        shutil.copytree(theirs.root / name, ours.folder(name), copy_function=os.link, dirs_exist_ok=True)
    for name in trees:
        for tree in theirs.folder(name).iterdir():
            (ours.folder(name) / tree.name).symlink_to(tree)  # read only, and thousands of files
    return ours


# ---- a real registry ------------------------------------------------------------------------


@dataclass(frozen=True)
class RunningRegistry:
    """A registry on loopback; ``ca`` is the certificate it serves, where it speaks TLS."""

    host: str
    ca: Path | None = None


@pytest.fixture(scope="session")
def registry_binary() -> Path:
    """The registry of Debian's package docker-registry, unpacked into the cache."""
    folder = cache_root() / "test-tools"
    found = folder / REGISTRY_PACKAGE / "usr/bin/docker-registry"
    if found.is_file():
        return found
    lists = folder / "apt" / "lists" / "partial"
    lists.mkdir(parents=True, exist_ok=True)
    own = [
        *("-o", f"Dir::State::Lists={lists.parent}", "-o", f"Dir::Cache={folder / 'apt'}"),
        *("-o", "APT::Sandbox::User=root"),
    ]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        subprocess.run(["apt-get", "-q", *own, "update"], check=True, capture_output=True)
        subprocess.run(
            ["apt-get", "-q", *own, "download", REGISTRY_PACKAGE],
            check=True,
            capture_output=True,
            cwd=scratch,
        )
        (package,) = Path(scratch).glob("*.deb")
        unpacked = Path(scratch, "unpacked")
        subprocess.run(["dpkg", "-x", package, unpacked], check=True)
        unpacked.rename(folder / REGISTRY_PACKAGE)
    return found


@pytest.fixture
def start_registry(registry_binary: Path, tmp_path: Path) -> Iterator[Callable[..., RunningRegistry]]:
    """Start registries on loopback; they end with the test."""
    running: list[subprocess.Popen[bytes]] = []

    def start(auth: dict[str, dict[str, str]] | None = None, *, tls: bool = False) -> RunningRegistry:
        number = len(running)
        port = _free_port()
        config: dict[str, object] = {
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(tmp_path / f"registry-{number}")}},
            "http": {"addr": f"127.0.0.1:{port}"},
        }
        ca = None
        if tls:
            ca, key = _certificate(tmp_path / f"tls-{number}", "127.0.0.1")
            config["http"] = {"addr": f"127.0.0.1:{port}", "tls": {"certificate": str(ca), "key": str(key)}}
        if auth:
            config["auth"] = auth
        file = tmp_path / f"registry-{number}.json"  # JSON is YAML
        file.write_text(json.dumps(config))
        log = (tmp_path / f"registry-{number}.log").open("wb")
        running.append(
            subprocess.Popen([registry_binary, "serve", file], stdout=log, stderr=subprocess.STDOUT)
        )
        log.close()
        _await_port(port, running[-1])
        return RunningRegistry(f"127.0.0.1:{port}", ca)

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def account() -> Credentials:
    """Give the one account that the registries of these tests know."""
    return Credentials(USER, PASSWORD)


@pytest.fixture(autouse=True)
def no_credentials_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds what the person who runs it is logged in to."""
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def htpasswd(tmp_path: Path) -> dict[str, dict[str, str]]:
    """Give a registry's setting for one user with a password."""
    file = tmp_path / "htpasswd"
    file.write_text(HTPASSWD + "\n")
    return {"htpasswd": {"realm": "tests", "path": str(file)}}


@dataclass
class TokenServer:
    """A server that hands out registry tokens, as Docker Hub's and the clouds' registries have one.

    ``asked`` holds the scopes asked for; ``rights`` what a user gets for a repository.
    """

    auth: dict[str, dict[str, str]]
    asked: list[str]
    rights: dict[str, list[str]]


@pytest.fixture
def token_server(tmp_path: Path) -> Iterator[TokenServer]:
    """Give a token server for ``USER``, and the registry's setting that trusts it."""
    certificate_file, key_file = _certificate(tmp_path / "tokens", "tokens")
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signing_key: ec.EllipticCurvePrivateKey = key
    certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    chain = [base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()]
    asked: list[str] = []
    rights: dict[str, list[str]] = {USER: ["pull", "push"]}
    wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            given = self.headers.get("Authorization")
            if given is not None and given != wanted:
                self.send_response(401)
                self.end_headers()
                return
            user = USER if given else ""
            scope = query.get("scope", [""])[0]
            asked.append(scope)
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            allowed = [action for action in actions.split(",") if action in rights.get(user, [])]
            now = int(time.time())
            claims = {
                "iss": "tests",
                "sub": user,
                "aud": query["service"][0],
                "jti": "1",
                "exp": now + 300,
                "nbf": now - 10,
                "iat": now,
                "access": [{"type": kind, "name": name, "actions": allowed}],
            }
            body = json.dumps({"token": _token(signing_key, chain, claims)}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield TokenServer(
        {
            "token": {
                "realm": f"http://127.0.0.1:{server.server_port}/token",
                "service": "tests",
                "issuer": "tests",
                "rootcertbundle": str(certificate_file),
            }
        },
        asked,
        rights,
    )
    server.shutdown()
    thread.join()
    server.server_close()


def _token(key: ec.EllipticCurvePrivateKey, chain: list[str], claims: dict[str, object]) -> str:
    """A JSON web token, ES256, which carries its certificate chain."""
    head = _url64(json.dumps({"typ": "JWT", "alg": "ES256", "x5c": chain}).encode())
    payload = f"{head}.{_url64(json.dumps(claims).encode())}"
    r, s = decode_dss_signature(key.sign(payload.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{payload}.{_url64(r.to_bytes(32) + s.to_bytes(32))}"


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for an address or a name: (certificate, key)."""
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    if name[0].isdigit():
        names.append(x509.IPAddress(ipaddress.ip_address(name)))
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "tls.crt", folder / "tls.key"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "the registry ended at once"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"the registry did not listen on {port}")
