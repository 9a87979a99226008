"""Pushing to and pinning from real registries: Debian's docker-registry on loopback."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.server
import json
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import berth_images
import httpx
import pytest
from berth_images import BuiltImage, ImagesError, pin, push, stack_settings
from berth_images.credentials import Credentials, find
from berth_images.errors import (
    ForbiddenError,
    NotFoundError,
    RegistryError,
    UnauthorizedError,
    UnreachableError,
)
from berth_images.oci import Archive
from berth_images.references import below, parse
from berth_images.registry import RegistryClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The fixtures of conftest.py that make something: its types cannot be imported from here.
Start = Callable[..., Any]


@pytest.fixture
def image(built: dict[str, BuiltImage]) -> BuiltImage:
    return built["metrics-adapter"]


def pulled(base: str, reference: str, headers: dict[str, str] | None = None, **options: object) -> None:
    """Fetch everything that a reference names and compare each byte with its digest, as a node does."""
    named = parse(reference)
    with httpx.Client(headers=headers, **options) as client:  # type: ignore[arg-type]  # verify= in one test
        manifest = client.get(
            f"{base}/v2/{named.repository}/manifests/{named.digest}",
            headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
        )
        assert f"sha256:{hashlib.sha256(manifest.content).hexdigest()}" == named.digest
        content = manifest.json()
        config = client.get(f"{base}/v2/{named.repository}/blobs/{content['config']['digest']}").content
        diff_ids = json.loads(config)["rootfs"]["diff_ids"]
        for layer, diff_id in zip(content["layers"], diff_ids, strict=True):
            blob = client.get(f"{base}/v2/{named.repository}/blobs/{layer['digest']}").content
            assert f"sha256:{hashlib.sha256(blob).hexdigest()}" == layer["digest"]
            assert len(blob) == layer["size"]
            assert f"sha256:{hashlib.sha256(gzip.decompress(blob)).hexdigest()}" == diff_id


def test_a_pushed_image_can_be_pulled_whole_and_pinned(start_registry: Start, image: BuiltImage) -> None:
    registry = start_registry()
    reference = push(image, f"{registry.host}/team/berth")
    assert reference.startswith(f"{registry.host}/team/berth/metrics-adapter@sha256:")
    pulled(f"http://{registry.host}", reference)

    tag = image.reference.rsplit(":", 1)[1]
    pinned = pin(f"{registry.host}/team/berth/metrics-adapter:{tag}")
    assert pinned.reference == reference
    assert pinned.asked == f"{registry.host}/team/berth/metrics-adapter:{tag}"
    assert pinned.media_type == "application/vnd.oci.image.manifest.v1+json"
    assert pin(reference).digest == pinned.digest, "pinning what is pinned changes nothing"


def test_what_is_there_is_not_sent_again_and_the_digest_stays(
    start_registry: Start, image: BuiltImage
) -> None:
    registry = start_registry()
    first: list[str] = []
    again: list[str] = []
    one = push(image, registry.host, progress=first.append)
    two = push(image, registry.host, progress=again.append)
    assert one == two
    layers = len(Archive(image.tar).layer_digests)
    assert sum("uploading" in step for step in first) == layers
    assert sum("uploading" in step for step in again) == 0


def test_a_password_from_docker_login_is_used(
    start_registry: Start, htpasswd: Any, account: Credentials, image: BuiltImage, tmp_path: Path
) -> None:
    registry = start_registry(htpasswd)
    with pytest.raises(UnauthorizedError, match=r"401.*no credentials.*docker login") as refused:
        push(image, registry.host)
    assert refused.value.registry == registry.host
    assert refused.value.repository == "metrics-adapter"

    log_in(tmp_path, registry.host, account.username, "not-the-password")
    with pytest.raises(UnauthorizedError, match="credentials found for it were refused") as refused:
        push(image, registry.host)
    assert "not-the-password" not in str(refused.value)

    log_in(tmp_path, registry.host, account.username, account.password)
    reference = push(image, registry.host)
    pulled(f"http://{registry.host}", reference, {"Authorization": account.basic})
    assert pin(reference).reference == reference


def test_a_token_is_asked_for_with_the_rights_that_the_act_needs(
    start_registry: Start, token_server: Any, account: Credentials, image: BuiltImage
) -> None:
    registry = start_registry(token_server.auth)
    reference = push(image, registry.host, credentials=account)
    assert token_server.asked, "the registry sent us to its token server"
    assert all(scope.startswith("repository:metrics-adapter:") for scope in token_server.asked)
    assert any("push" in scope for scope in token_server.asked)

    token_server.asked.clear()
    assert pin(reference, credentials=account).reference == reference
    assert token_server.asked == ["repository:metrics-adapter:pull"]


def test_an_account_without_the_right_to_push_is_refused_by_name(
    start_registry: Start, token_server: Any, account: Credentials, image: BuiltImage
) -> None:
    registry = start_registry(token_server.auth)
    token_server.rights[account.username] = ["pull"]
    with pytest.raises(RegistryError, match=rf"{registry.host}.*metrics-adapter") as refused:
        push(image, registry.host, credentials=account)
    assert isinstance(refused.value, UnauthorizedError | ForbiddenError)
    with pytest.raises(UnauthorizedError):
        push(image, registry.host, credentials=Credentials(account.username, "wrong"))


def test_tls_is_spoken_and_an_unknown_certificate_is_refused(
    start_registry: Start, image: BuiltImage
) -> None:
    registry = start_registry(tls=True)
    trusted = ssl.create_default_context(cafile=str(registry.ca))
    reference = push(image, registry.host, verify=trusted)
    pulled(f"https://{registry.host}", reference, verify=trusted)
    with pytest.raises(UnreachableError, match=r"certificate is not trusted.*SSL_CERT_FILE"):
        pin(reference)


def test_a_name_that_is_not_there(start_registry: Start) -> None:
    registry = start_registry()
    with pytest.raises(NotFoundError, match=r"404, tag 1\.0 is not there") as missing:
        pin(f"{registry.host}/team/nothing:1.0")
    assert "team/nothing" in str(missing.value)


def test_nobody_listens() -> None:
    waits: list[float] = []
    with (
        RegistryClient(parse("127.0.0.1:1/a:b"), sleep=waits.append) as client,
        pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1.*cannot be reached.*check its name"),
    ):
        client.manifest_digest("b")
    assert waits == [0.5, 1.0, 2.0, 4.0], "tried again, each time after twice the pause"


# ---- registries that misbehave: what docker-registry does not do by itself ---------------------


class Flaky(http.server.BaseHTTPRequestHandler):
    """Answers each request with the next of ``answers``: (status, headers, body)."""

    answers: list[tuple[int, dict[str, str], bytes]]
    seen: list[tuple[str, str, str | None]]

    def _answer(self) -> None:
        if self.path == "/v2/":
            answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")
        else:
            self.seen.append((self.command, self.path, self.headers.get("Authorization")))
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = self.answers.pop(0)
        status, headers, body = answer
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = _answer  # noqa: N815 - the library's names

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def misbehaving() -> Iterator[Callable[..., tuple[str, list[tuple[str, str, str | None]]]]]:
    servers: list[tuple[http.server.ThreadingHTTPServer, threading.Thread]] = []

    def start(*answers: tuple[int, dict[str, str], bytes]) -> tuple[str, list[tuple[str, str, str | None]]]:
        seen: list[tuple[str, str, str | None]] = []
        handler = type("Handler", (Flaky,), {"answers": list(answers), "seen": seen})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        servers.append((server, thread))
        return f"127.0.0.1:{server.server_port}", seen

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


MANIFEST = b'{"schemaVersion":2}'
MANIFEST_DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"


def test_what_may_pass_is_tried_again_as_the_registry_asks(misbehaving: Start) -> None:
    host, seen = misbehaving((429, {"Retry-After": "7"}, b""), (503, {}, b""), (200, {}, MANIFEST))
    waits: list[float] = []
    with RegistryClient(parse(f"{host}/a:b"), sleep=waits.append) as client:
        digest, _ = client.manifest_digest("b")
    assert digest == MANIFEST_DIGEST
    assert waits == [7.0, 1.0]
    assert len(seen) == 3


def test_what_will_not_pass_is_not_tried_again(misbehaving: Start) -> None:
    for status, kind in ((400, RegistryError), (403, ForbiddenError), (404, NotFoundError)):
        host, seen = misbehaving((status, {}, b'{"errors":[{"code":"NO","message":"not today"}]}'))
        with RegistryClient(parse(f"{host}/a:b")) as client, pytest.raises(kind, match="NO: not today"):
            client.manifest_digest("b")
        assert len(seen) == 1


def test_a_failed_upload_starts_again_from_the_beginning(misbehaving: Start) -> None:
    accepted = (202, {"Location": "/v2/a/blobs/uploads/1"}, b"")
    host, seen = misbehaving(accepted, (500, {}, b""), accepted, accepted, (201, {}, b""))
    with RegistryClient(parse(f"{host}/a:b"), sleep=lambda _: None) as client:
        client.upload_blob(MANIFEST_DIGEST, len(MANIFEST), MANIFEST)
    assert [method for method, _, _ in seen] == ["POST", "PATCH", "POST", "PATCH", "PUT"]
    assert seen[-1][1] == f"/v2/a/blobs/uploads/1?digest={MANIFEST_DIGEST}"


def test_a_digest_that_does_not_fit_the_content_is_no_pin(misbehaving: Start) -> None:
    host, _ = misbehaving((200, {"Docker-Content-Digest": f"sha256:{'0' * 64}"}, MANIFEST))
    with pytest.raises(RegistryError, match=r"says that b has digest sha256:0+, but sent"):
        pin(f"{host}/a:b")


def test_credentials_never_follow_an_upload_to_another_host(misbehaving: Start) -> None:
    elsewhere, seen_elsewhere = misbehaving((202, {"Location": "/signed/2"}, b""), (201, {}, b""))
    challenge = {"WWW-Authenticate": 'Basic realm="tests"'}
    away = {"Location": f"http://{elsewhere}/signed/1"}
    host, seen = misbehaving((401, challenge, b""), (202, away, b""))
    with RegistryClient(parse(f"{host}/a:b"), credentials=Credentials("ada", "canary")) as client:
        client.upload_blob(MANIFEST_DIGEST, len(MANIFEST), MANIFEST)
    assert [known is not None for _, _, known in seen] == [False, True]
    assert [known for _, _, known in seen_elsewhere] == [None, None]


def test_a_token_server_without_tls_gets_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    def answer(_: httpx.Client, method: str, url: str, **__: object) -> httpx.Response:
        sent.append(url)
        challenge = {"WWW-Authenticate": 'Bearer realm="http://tokens.example.com/t",service="s"'}
        return httpx.Response(401, headers=challenge, request=httpx.Request(method, url))

    monkeypatch.setattr(httpx.Client, "request", answer)
    client = RegistryClient(parse("registry.example.com/a:b"), credentials=Credentials("ada", "canary"))
    with client, pytest.raises(UnauthorizedError, match="not https; nothing was sent") as refused:
        client.manifest_digest("b")
    assert sent == ["https://registry.example.com/v2/a/manifests/b"]
    assert "canary" not in str(refused.value)


# ---- who we are ------------------------------------------------------------------------------


def log_in(folder: Path, registry: str, username: str, password: str) -> None:
    """Leave what ``docker login`` leaves."""
    (folder / "docker").mkdir(exist_ok=True)
    auth = base64.b64encode(f"{username}:{password}".encode()).decode()
    (folder / "docker" / "config.json").write_text(json.dumps({"auths": {registry: {"auth": auth}}}))


def helper(folder: Path, name: str, script: str) -> None:
    program = folder / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_credentials_are_never_shown() -> None:
    shown = repr(Credentials("ada", "canary-password", "canary-token"))
    assert "ada" in shown
    assert "canary" not in shown


def test_a_credential_helper_is_asked_for_its_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, "one", 'read server; echo "{\\"Username\\": \\"for $server\\", \\"Secret\\": \\"s\\"}"')
    helper(tmp_path, "two", 'echo "{\\"Username\\": \\"<token>\\", \\"Secret\\": \\"t\\"}"')
    helper(tmp_path, "bad", "echo no such thing >&2; exit 3")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text(
        json.dumps(
            {
                "credHelpers": {"a.example.com": "one", "b.example.com": "bad", "c.example.com": "gone"},
                "credsStore": "two",
            }
        )
    )
    assert find("a.example.com") == Credentials("for a.example.com", "s")
    assert find("d.example.com") == Credentials(identity_token="t")
    with pytest.raises(ImagesError, match=r"docker-credential-bad failed.*exit 3.*no such thing"):
        find("b.example.com")
    with pytest.raises(ImagesError, match=r"docker-credential-gone.*not on PATH"):
        find("c.example.com")


def test_podmans_credentials_per_path_and_docker_hubs_old_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def auth(text: str) -> dict[str, str]:
        return {"auth": base64.b64encode(text.encode()).decode()}

    file = tmp_path / "auth.json"
    file.write_text(
        json.dumps(
            {
                "auths": {
                    "example.com": auth("all:1"),
                    "example.com/team": auth("team:2"),
                    "https://index.docker.io/v1/": auth("hub:3"),
                    "https://old.example.com/v2/": auth("old:4"),
                }
            }
        )
    )
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(file))
    assert find("example.com", "team/a") == Credentials("team", "2")
    assert find("example.com", "other") == Credentials("all", "1")
    assert find("docker.io", "library/python") == Credentials("hub", "3")
    assert find("old.example.com") == Credentials("old", "4")
    assert find("nowhere.example.com") is None


def test_a_broken_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "auth.json"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(file))
    for content, said in (("{", "is no JSON"), ("[]", "expected a JSON object")):
        file.write_text(content)
        with pytest.raises(ImagesError, match=said):
            find("example.com")
    file.write_text(json.dumps({"auths": {"example.com": {"auth": "canary!!"}}}))
    with pytest.raises(ImagesError, match=r"auths\.example\.com\.auth is not base64") as broken:
        find("example.com")
    assert "canary" not in str(broken.value)


# ---- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("python", "docker.io/library/python:latest"),
        ("python:3.13-slim", "docker.io/library/python:3.13-slim"),
        ("vllm/vllm-openai:v1", "docker.io/vllm/vllm-openai:v1"),
        ("index.docker.io/library/python:3", "docker.io/library/python:3"),
        ("localhost/a", "localhost/a:latest"),
        ("localhost:5000/a/b:1", "localhost:5000/a/b:1"),
        ("[::1]:5000/a:1", "[::1]:5000/a:1"),
        (f"ghcr.io/a/b@sha256:{'a' * 64}", f"ghcr.io/a/b@sha256:{'a' * 64}"),
        (f"ghcr.io/a/b:1@sha256:{'a' * 64}", f"ghcr.io/a/b:1@sha256:{'a' * 64}"),
    ],
)
def test_references_are_read_as_docker_reads_them(text: str, whole: str) -> None:
    assert str(parse(text)) == whole


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no repository"),
        ("Upper/Case", "is no repository"),
        ("a.b/", "is no repository"),
        ("a b/c", "is no repository"),
        ("a.b:port/c", "is no registry"),
        ("a.b/c:ta g", "is no tag"),
        ("a.b/c@sha256:12", "is no digest"),
        ("a.b/c@md5:12", "is no digest"),
    ],
)
def test_what_is_no_reference_is_named(text: str, said: str) -> None:
    with pytest.raises(ImagesError, match=said):
        parse(text)


def test_the_registry_of_a_stack_is_a_host_with_an_optional_path() -> None:
    assert str(below("registry.example.com", "model-server", "1")) == "registry.example.com/model-server:1"
    assert str(below("r.example.com:5000/ai/x/", "a", "1")) == "r.example.com:5000/ai/x/a:1"
    for wrong in ("https://registry.example.com", "registry", "", "a b.c/x"):
        with pytest.raises(ImagesError, match=r"images\.registry.*host\[:port\]"):
            below(wrong, "model-server", "1")


def test_only_loopback_may_go_without_tls() -> None:
    for text in ("localhost:5000/a", "127.0.0.1:5000/a", "127.8.8.8/a", "[::1]:5000/a"):
        assert parse(text).is_loopback, text
    for text in ("registry.example.com/a", "198.18.0.5:5000/a", "localhost.example.com/a"):
        assert not parse(text).is_loopback, text


def test_pins_as_settings_of_a_stack(start_registry: Start, image: BuiltImage) -> None:
    import yaml  # noqa: PLC0415 - one use

    registry = start_registry()
    reference = push(image, registry.host)
    text = "config:\n" + stack_settings({"metrics-adapter": pin(reference)})
    assert yaml.safe_load(text) == {"config": {"berth:images": {"refs": {"metrics-adapter": reference}}}}


def test_the_public_names() -> None:
    assert sorted(berth_images.__all__) == [
        "BuiltImage", "Credentials", "ImagesError", "Pinned", "Progress", "bill_of_materials", "build",
        "build_all", "cluster_roles", "find", "pin", "prepare", "push", "roles", "roles_for",
        "stack_settings",
    ]  # fmt: skip
    for name in berth_images.__all__:
        assert getattr(berth_images, name) is not None
