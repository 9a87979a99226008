"""10,000 malformed requests, slow ones and huge ones: only 4xx, flat memory, and the model still answers."""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.serving.conftest import KEY, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAMPLES, EACH = 200, 50
MEBIBYTE = 1024 * 1024
PATHS = (
    "/generate",
    "/generate_stream",
    "/",
    "/v1/chat/completions",
    "/v1/completions",
    "/tokenize",
    "/chat_tokenize",
    "/feedback",
)
BODIES: dict[str, dict[str, Any]] = {
    "inputs": {"inputs": "Hello", "parameters": {"max_new_tokens": 1, "stop": ["a"]}},
    "messages": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "stop": ["a"]},
    "prompt": {"prompt": "Hello", "max_tokens": 1, "logit_bias": {"5": 1}},
}
WRONG: tuple[Any, ...] = (
    -1, 10**400, -(10**400), 0.5,
    -(2**70), 10**30, 1e308, True, "x" * 300, [], [[]], {}, {"a": 1}, [None], "\ud83d\ude00",
)  # fmt: skip
FRAMES = (
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"POST /generate HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
    b"POST /generate HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"POST /generate HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /generate HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    b"GET /generate\r\n\r\n",
    b"\r\n\r\nGARBAGE\r\n\r\n",
    b"GET / HTTP/1.1\r\nBad Header\x00: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)


def request(method: str, path: str, body: bytes, *headers: str, key: str = KEY) -> bytes:
    head = [
        f"{method} {path} HTTP/1.1",
        "Host: a",
        f"Content-Length: {len(body)}",
        f"Authorization: Bearer {key}",
    ]
    return "\r\n".join([*head, *headers, "", ""]).encode("latin-1") + body


def _broken_text(pick: random.Random, path: str, text: bytes) -> bytes:
    place = pick.randrange(1, len(text))
    noise = bytes([pick.choice((0x00, 0x80, 0xC3, 0xFF))]) + b"\xff"
    return request("POST", path, pick.choice((text[:place], text[:place] + noise + text[place:], noise)))


def _wrong_field(pick: random.Random, path: str, text: bytes) -> bytes:
    body = json.loads(text)
    body[pick.choice([*body])] = pick.choice(WRONG)
    more = pick.choice(((), ("Expect: 100-continue",)))
    return request("POST", path, json.dumps({**body, f"unknown_{pick.randrange(9)}": 1}).encode(), *more)


def _deep(pick: random.Random, path: str, _text: bytes) -> bytes:
    return request("POST", path, b'{"inputs":' + pick.choice((b"[", b'{"a":')) * pick.randrange(600, 3000))


def _wrong_key(pick: random.Random, path: str, text: bytes) -> bytes:
    return request("POST", path, text, key=pick.choice(("", "wrong", "\xe9\xff", "x" * 3000, KEY)) + "!")


def _wrong_method(pick: random.Random, path: str, _text: bytes) -> bytes:
    return request(
        pick.choice(("PUT", "DELETE", "PATCH", "TRACE", "OPTIONS")), pick.choice((path, "/x", "/..")), b""
    )


def _wrong_path(pick: random.Random, _path: str, text: bytes) -> bytes:
    path = "/x" + "".join(pick.choices("abc%2f./?#", k=9))
    return request("POST", path, text, "X-A: " + "v" * pick.randrange(4000))


def _wrong_media(pick: random.Random, path: str, text: bytes) -> bytes:
    media = pick.choice(("text/plain", "application/xml", "\xff"))
    return request("POST", path, text.replace(b"1", b"0"), f"Content-Type: {media}")


MAKERS = (
    _broken_text,
    _wrong_field,
    _wrong_field,
    _deep,
    _wrong_key,
    _wrong_method,
    _wrong_path,
    _wrong_media,
)


@st.composite
def malformed(draw: st.DrawFn) -> bytes:
    """One request that cannot be answered, whole on the wire."""
    make, pick = draw(st.sampled_from(MAKERS)), draw(st.randoms(use_true_random=False))
    body = BODIES[pick.choice([*BODIES])]
    return make(pick, pick.choice(PATHS), json.dumps(body).encode())


class Wire:
    """A raw connection that asks again on a new one when it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self._file: Any = None

    def ask(self, data: bytes) -> tuple[int, bytes]:
        """Send bytes; status and body of the answer, 0 where there was none."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=60)
            self._file = self._socket.makefile("rb")
        try:
            self._socket.sendall(data)
            status = int((self._file.readline() or b"HTTP/1.1 0").split()[1])
            headers = dict(line.decode("latin-1").lower().split(": ", 1) for line in iter(self._line, ""))
            while status == 100:
                status = int(self._file.readline().split()[1])
                headers = dict(line.decode("latin-1").lower().split(": ", 1) for line in iter(self._line, ""))
            body = self._file.read(int(headers.get("content-length", 0)))
        except ConnectionError:
            self.close()
            return 0, b""
        if status == 0 or headers.get("connection") == "close":
            self.close()
        return status, body

    def _line(self) -> Any:
        return self._file.readline().strip() or ""

    def close(self) -> None:
        if self._socket is not None:
            self._file.close()
            self._socket.close()
            self._socket = None


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@pytest.fixture(scope="module")
def target(engine: Any, make_gateway: Callable[..., Any]) -> Iterator[Any]:
    gateway = make_gateway(
        engine.url,
        BERTH_HEADER_TIMEOUT_SECONDS="2",
        BERTH_BODY_TIMEOUT_SECONDS="2",
        BERTH_GRPC_PORT=str(free_port()),
    )
    wait_for(gateway.is_ready, "the gateway is ready")
    yield gateway
    answer = gateway.post("/generate", {"inputs": "Hello", "parameters": {"max_new_tokens": 2}})
    assert answer.status_code == 200, "the model still answers"
    assert not [one for one in gateway.records() if one["level"] == "error"]
    gateway.end()


def test_ten_thousand_malformed_requests(target: Any) -> None:
    asked, wire = 0, Wire(target.port)
    memory: list[int] = []

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[*HealthCheck],
        phases=[Phase.generate],
    )
    @given(st.lists(malformed(), min_size=EACH, max_size=EACH))
    def attack(requests: list[bytes]) -> None:
        nonlocal asked
        for one in requests:
            status, body = wire.ask(one)
            assert 400 <= status < 500, (status, one[:300])
            assert b"Traceback" not in body
            asked += 1
        memory.append(resident(target.pid))

    attack()
    wire.close()
    assert asked >= EXAMPLES * EACH
    assert memory[-1] - memory[len(memory) // 5] < 16 * MEBIBYTE, memory[:: len(memory) // 10]


@pytest.mark.parametrize("frame", FRAMES, ids=range(len(FRAMES)))
def test_what_is_no_http_is_answered_400_or_ended(target: Any, frame: bytes) -> None:
    with socket.create_connection(("127.0.0.1", target.port), timeout=60) as connection:
        connection.sendall(frame)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(4096)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 40", b"HTTP/1.1 431")), answer


def test_bodies_of_100_mib_and_endless_headers_are_cut(target: Any) -> None:
    before = resident(target.pid)
    piece = b"x" * MEBIBYTE
    head = f"POST /generate HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n"
    announced = f"{head}Content-Length: {100 * MEBIBYTE}\r\n\r\n"
    chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n"
    for begins, data, wanted in (
        (announced, piece, b"413"),
        (chunked, b"100000\r\n" + piece + b"\r\n", b"413"),
        ("GET /info HTTP/1.1\r\nX: ", piece, b"431"),
        ("GET /" + "a" * 100_000, piece, b"431"),
    ):
        with socket.create_connection(("127.0.0.1", target.port), timeout=60) as connection:
            answer = _flood(connection, begins.encode(), data)
        assert answer == b"" or answer.split()[1] == wanted, answer[:200]
    assert resident(target.pid) - before < 32 * MEBIBYTE


def _flood(connection: socket.socket, head: bytes, data: bytes) -> bytes:
    """Send 100 times, or until it is cut; what was answered, "" where the cut took that with it."""
    try:
        connection.sendall(head)
        for _ in range(100):
            connection.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass
    try:
        return connection.recv(4096)
    except ConnectionResetError:
        return b""


def test_a_hundred_who_are_slow_hold_up_nobody_and_are_ended(target: Any) -> None:
    slow = []
    for index in range(100):
        connection = socket.create_connection(("127.0.0.1", target.port), timeout=60)
        head = f"POST /generate HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n"
        connection.sendall((head if index % 2 else head + 'Content-Length: 99\r\n\r\n{"inp').encode())
        slow.append(connection)
    assert target.get("/info").status_code == 200
    for connection in slow:
        answer = connection.recv(4096)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408"), answer
        connection.close()
    assert target.load()["berth_running_requests"] == 0


def test_noise_on_the_grpc_port_harms_nobody(target: Any) -> None:
    port = next(one["grpc_port"] for one in target.records() if one["message"] == "gateway listening")
    pick, before = random.Random(7), resident(target.pid)  # noqa: S311 - noise, no secret
    for index in range(200):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" if index % 2 else b""
            frame = pick.randbytes(2) + bytes([pick.randrange(12)]) + pick.randbytes(6)
            try:
                connection.sendall(
                    preface + b"\0\0\0\4\0\0\0\0\0" + b"\0" + frame + pick.randbytes(pick.randrange(300))
                )
                connection.shutdown(socket.SHUT_WR)
                connection.recv(4096)
            except ConnectionError:
                continue
    assert resident(target.pid) - before < 16 * MEBIBYTE
