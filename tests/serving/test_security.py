"""What does not get in, and what does not get out: TLS, request ids, the engine's routes, logs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import ssl
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from berth_serving.environment import SettingsError
from berth_serving.gateway.certificate import Certificate
from berth_serving.logs import JsonFormatter
from berth_serving.redact import MOST_CHARACTERS, redacted
from cryptography.x509 import load_pem_x509_certificate

from tests.images.conftest import _certificate as make_certificate

if TYPE_CHECKING:
    from pathlib import Path


def peer(port: int) -> bytes:
    """The certificate that a server shows now."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
        context.wrap_socket(raw) as connection,
    ):
        shown = connection.getpeercert(binary_form=True)
    assert shown
    return shown


def der(certificate: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.read_text())


def mounted(folder: Path, certificate: Path, key: Path) -> tuple[Path, Path]:
    """Files as the kubelet swaps them: each replaced by a rename, certificate first."""
    for source, name in ((certificate, "tls.crt"), (key, "tls.key")):
        (folder / f"{name}.new").write_bytes(source.read_bytes())
        (folder / f"{name}.new").replace(folder / name)
    return folder / "tls.crt", folder / "tls.key"


def test_tls_is_spoken_and_a_new_certificate_counts_without_a_restart(
    make_gateway: Any, engine: Any, until: Any, tmp_path: Path
) -> None:
    first, second = (
        make_certificate(tmp_path / "1", "127.0.0.1"),
        make_certificate(tmp_path / "2", "127.0.0.1"),
    )
    folder = tmp_path / "mount"
    folder.mkdir()
    certificate, key = mounted(folder, *first)
    gateway = make_gateway(engine.url, BERTH_TLS_CERT_FILE=str(certificate), BERTH_TLS_KEY_FILE=str(key))
    url = f"https://127.0.0.1:{gateway.port}"

    def ready() -> bool:
        try:
            return httpx.get(url + "/ready", verify=ssl.create_default_context(cafile=first[0])).is_success
        except httpx.TransportError:
            return False

    until(ready, "the gateway is ready")
    assert peer(gateway.port) == der(first[0])
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{gateway.port}/health")
    with httpx.Client(verify=ssl.create_default_context(cafile=first[0])) as kept:
        assert kept.get(url + "/info", headers=gateway.headers).status_code == 200
        # Half a rotation: a certificate whose key is not there yet. The old pair goes on.
        (folder / "tls.crt").write_bytes(second[0].read_bytes())
        until(lambda: "new certificate not taken" in gateway.log.read_text(), "half a rotation is seen")
        assert peer(gateway.port) == der(first[0])
        mounted(folder, *second)
        until(lambda: peer(gateway.port) == der(second[0]), "the new certificate is shown")
        assert kept.get(url + "/info", headers=gateway.headers).status_code == 200, "kept connections go on"
    ends = gateway.metrics()["berth_certificate_expires_timestamp_seconds"]
    shown = load_pem_x509_certificate(second[0].read_bytes())
    assert datetime.fromtimestamp(ends, UTC) == shown.not_valid_after_utc


@pytest.mark.parametrize("harm", ["absent", "no PEM", "another's key"])
def test_a_certificate_that_cannot_be_used_is_said_at_the_start(tmp_path: Path, harm: str) -> None:
    certificate, key = make_certificate(tmp_path / "1", "127.0.0.1")
    if harm == "absent":
        key = tmp_path / "nowhere"
    elif harm == "no PEM":
        certificate.write_text("nonsense")
    else:
        key = make_certificate(tmp_path / "2", "127.0.0.1")[1]
    with pytest.raises(SettingsError, match="BERTH_TLS_CERT_FILE") as caught:
        Certificate(certificate, key)
    assert "\n" not in str(caught.value)


def test_request_ids_are_the_clients_or_ours(server: Any) -> None:
    for given in ("r-1", "trace:abc/1+2=3@x", "a" * 128):
        assert (
            server.get("/info", headers={**server.headers, "x-request-id": given}).headers["x-request-id"]
            == given
        )
    for given in ("", "a b", "a" * 129, "é", "x\ty", '"quoted"', "a;b", "<script>"):
        headers = [*server.headers.items(), ("x-request-id", given.encode("utf-8"))]
        answered = server.get("/info", headers=headers).headers["x-request-id"]
        assert len(answered) == 32
        assert answered != given


@pytest.mark.parametrize("injected", [b"a\r\nx-evil: 1", b"a\nx-evil: 1", b"a\x00b"])
def test_no_header_can_be_injected_by_a_request_id(server: Any, injected: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(
            b"GET /health HTTP/1.1\r\nhost: x\r\nx-request-id: " + injected + b"\r\nconnection: close\r\n\r\n"
        )
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert head.count(b"x-evil") == 0
    assert b"\x00" not in head


def test_the_engines_own_routes_are_not_reached(server: Any) -> None:
    for path in ("/props", "/slots", "/completion", "/metrics", "/lora-adapters", "/v1/embeddings", "/load"):
        assert server.get(path).status_code == 404, path
        assert server.post(path, {}).status_code == 404, path
        assert httpx.get(server.url + path).status_code == 401, "without a key, not even that is told"
    for trick in (
        "/generate/../props",
        "//props",
        "/%2e%2e/props",
        "/generate%2f..%2fprops",
        "/props?x=/health",
    ):
        assert server.get(trick).status_code in (404, 405), trick


async def test_no_text_is_in_any_log_or_error(before_stand_in: Any) -> None:
    gateway = await before_stand_in(BERTH_LOG_LEVEL="debug", BERTH_ENGINE_STALL_SECONDS="1")
    canary = "canary-text-4711"
    bodies = [
        {"inputs": canary, "parameters": {"max_new_tokens": 1}},
        {"inputs": canary, "parameters": {"temperature": -1}},
        {"inputs": canary, "nonsense": canary},
        {"inputs": "poison", "parameters": {"stop": [canary], "max_new_tokens": 2}},
    ]
    async with gateway.session() as session:
        for path in ("/generate", "/generate_stream"):
            for body in bodies:
                async with session.post(path, json=body) as response:
                    await response.read()
        chat = {"messages": [{"role": "user", "content": canary}], "max_tokens": 1}
        async with session.post("/v1/chat/completions", json=chat) as response:
            await response.read()
        async with session.get(f"/{canary}") as response:
            assert response.status == 404
        async with session.post("/generate", data=b'{"inputs": "' + canary.encode()) as response:
            assert canary not in await response.text()
    logged = await asyncio.to_thread(gateway.log.read_text)
    assert "request" in logged
    assert "canary" not in logged


def test_an_exceptions_own_words_stay_out_of_the_log() -> None:
    def fail(error: Exception) -> None:
        raise error

    def record(error: Exception) -> dict[str, Any]:
        try:
            try:
                fail(error)
            except Exception as inner:
                raise RuntimeError("outer canary") from inner
        except RuntimeError:
            made = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", None, sys.exc_info())
        line = json.loads(JsonFormatter().format(made))
        assert isinstance(line, dict)
        return line

    shown = record(ValueError("canary"))["exception"]
    assert "canary" not in shown
    assert "RuntimeError" in shown
    assert "ValueError" in shown
    assert "test_security.py" in shown
    assert "No such file" in record(OSError(2, "No such file", "x"))["exception"]


def test_texts_for_a_log_are_redacted_and_short() -> None:
    text = (
        "Mail jane.doe+x@example.co.uk, call +49 (30) 1234567, card 4111 1111 1111 1111, from 10.1.2.3, "
        "key sk-abcdefgh12345678, Authorization: Bearer abc.def.ghi-jkl, password=hunter22 "
    )
    shown = redacted(text)
    for secret in ("jane", "1234567", "4111", "10.1.2.3", "sk-abc", "abc.def", "hunter22"):
        assert secret not in shown
    assert shown.startswith("Mail [email], call [number]")
    assert len(redacted("x" * 1_000_000)) < MOST_CHARACTERS + 100
    assert "jane" not in redacted("y" * (MOST_CHARACTERS - 3) + "jane.doe@example.org")


def test_wrong_security_settings_are_exit_2_and_all_named(make_gateway: Any, engine: Any) -> None:
    gateway = make_gateway(
        engine.url,
        BERTH_VARIANT="a\tb",
        BERTH_TLS_CERT_FILE="/x",
        OTLP_ENDPOINT="ftp://x",
        BERTH_COST_PER_HOUR="nan",
        BERTH_TRACE_SAMPLE="2",
    )
    assert gateway.exit_code() == 2
    said = gateway.log.read_text()
    for name in (
        "BERTH_VARIANT",
        "BERTH_TLS_KEY_FILE",
        "OTLP_ENDPOINT",
        "BERTH_COST_PER_HOUR",
        "BERTH_TRACE_SAMPLE",
    ):
        assert name in said
    assert "Traceback" not in said
    assert os.linesep in said
