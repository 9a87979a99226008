"""API keys: which open, when they are reread, and what an empty folder means."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from berth_serving.errors import Overloaded
from berth_serving.keys import ANONYMOUS, KeyRing, KeysError

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 2
        return self.now


def ring(folder: Path | None, *, anonymous: bool = False) -> KeyRing:
    return KeyRing(folder, allow_anonymous=anonymous, clock=Clock())


def name(keys: KeyRing, authorization: str | None) -> str | None:
    found = keys.whose(authorization)
    return found and found.name


def test_a_key_opens_by_its_exact_content(tmp_path: Path) -> None:
    (tmp_path / "alice").write_text("secret-a\n")
    (tmp_path / "bob").write_text("secret-b")
    keys = ring(tmp_path)
    assert name(keys, "Bearer secret-a") == "alice"
    assert name(keys, "bearer secret-b") == "bob"
    almost = ("Bearer SECRET-A", "Bearer secret-", "Bearer secret-aa", "Bearer secret-a secret-b")
    for wrong in (None, "", "secret-a", "Basic secret-a", "Bearer", "Bearer ", *almost):
        assert keys.whose(wrong) is None


def test_a_mounted_secret_is_reread_when_kubernetes_swaps_it(tmp_path: Path) -> None:
    def mount(version: str, **keys: str) -> None:
        folder = tmp_path / version
        folder.mkdir()
        for name, key in keys.items():
            (folder / name).write_text(key)
        (tmp_path / "..data_tmp").symlink_to(version)
        os.replace(tmp_path / "..data_tmp", tmp_path / "..data")  # noqa: PTH105 - as the kubelet does it
        for name in keys:
            if not (tmp_path / name).is_symlink():
                (tmp_path / name).symlink_to(f"..data/{name}")

    mount("..1", alice="old-a", bob="same-b")
    keys = ring(tmp_path)
    assert name(keys, "Bearer old-a") == "alice"
    mount("..2", alice="new-a", bob="same-b")
    assert keys.whose("Bearer old-a") is None
    assert name(keys, "Bearer new-a") == "alice"
    assert name(keys, "Bearer same-b") == "bob"


def test_without_a_key_it_does_not_start(tmp_path: Path) -> None:
    for folder in (None, tmp_path, tmp_path / "missing"):
        with pytest.raises(KeysError, match="BERTH_ALLOW_ANONYMOUS"):
            ring(folder)
    (tmp_path / "blank").write_text(" \n")
    (tmp_path / "two-words").write_text("a b")
    (tmp_path / ".hidden").write_text("abc")
    (tmp_path / "folder").mkdir()
    with pytest.raises(KeysError):
        ring(tmp_path)


def test_anonymous_ends_with_the_first_key_and_does_not_come_back(tmp_path: Path) -> None:
    keys = ring(tmp_path, anonymous=True)
    assert keys.whose(None) == ANONYMOUS
    (tmp_path / "alice").write_text("secret-a")
    assert keys.whose(None) is None
    assert name(keys, "Bearer secret-a") == "alice"
    (tmp_path / "alice").unlink()
    assert keys.whose(None) is None, "a Secret emptied by mistake must not open the door"


def test_keys_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "alice").write_text("canary-secret")
    assert "canary" not in repr(ring(tmp_path))
    assert "canary" not in str(vars(ring(tmp_path)))


def test_a_rotated_key_counts_without_a_restart(make_gateway: Any, engine: Any, until: Any) -> None:
    gateway = make_gateway(engine.url)
    until(gateway.is_ready, "the gateway is ready")
    assert gateway.get("/info").status_code == 200
    (gateway.keys / "tests").write_text("rotated-key")
    until(lambda: gateway.get("/info").status_code == 401, "the old key is refused")
    assert gateway.get("/info", headers={"Authorization": "Bearer rotated-key"}).status_code == 200


def test_the_gateway_refuses_to_start_open(make_gateway: Any, engine: Any) -> None:
    gateway = make_gateway(engine.url, BERTH_API_KEYS_DIR="")
    assert gateway.exit_code() == 2
    assert gateway.log.read_text().startswith("berth-gateway: BERTH_API_KEYS_DIR is unset")


def test_a_key_in_json_has_scopes_and_limits(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("secret-a")
    (tmp_path / "narrow").write_text(json.dumps({"key": "secret-b", "scopes": ["feedback"]}))
    limited = {"key": "secret-c", "requests_per_minute": 60, "max_concurrent": 2}
    (tmp_path / "limited").write_text(json.dumps(limited) + "\n")
    keys = {key.name: key for key in ring(tmp_path).keys}
    assert keys["plain"].scopes == keys["limited"].scopes == {"generate", "read", "feedback"}
    assert keys["narrow"].scopes == {"feedback"}
    assert (keys["limited"].requests_per_minute, keys["limited"].max_concurrent) == (60, 2)


@pytest.mark.parametrize(
    "content",
    [
        '{"key": "half-writ',
        '{"scopes": ["generate"]}',
        '{"key": "x", "scopes": ["root"]}',
        '{"key": "x", "scopes": []}',
        '{"key": "x", "sopes": ["admin"]}',
        '{"key": "two words"}',
        '{"key": "x", "requests_per_minute": -1}',
        '{"key": ""}',
        "x" * 4097,
        "a\nb",
    ],
)
def test_a_file_that_is_no_key_opens_nothing(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "good").write_text("secret-a")
    (tmp_path / "wrong").write_text(content)
    keys = ring(tmp_path)
    assert [key.name for key in keys.keys] == ["good"]
    for tried in ("x", content.strip(), "half-writ", '{"key":'):
        assert keys.whose(f"Bearer {tried}") is None
    assert "half-writ" not in caplog.text


def test_a_rotation_that_is_half_written_opens_nothing_meanwhile(tmp_path: Path) -> None:
    file = tmp_path / "alice"
    whole = json.dumps({"key": "secret-new", "scopes": ["generate"]})
    file.write_text("secret-old")
    keys = ring(tmp_path)
    for end in range(len(whole)):
        file.write_text(whole[:end])
        assert keys.whose("Bearer secret-old") is None
        assert keys.whose("Bearer secret-new") is None
    file.write_text(whole)
    assert name(keys, "Bearer secret-new") == "alice"


def test_names_that_no_secret_can_have_are_ignored(tmp_path: Path) -> None:
    for strange in ("a b", "a\nb", 'a"b', "é", "x" * 254):
        (tmp_path / strange).write_text("secret-" + str(len(strange)))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / os.fsdecode(b"\xff\xfe")).write_text("secret-bytes")
    (tmp_path / "good").write_text("secret-good")
    assert [key.name for key in ring(tmp_path).keys] == ["good"]


def test_of_two_files_with_the_same_key_the_first_counts(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("same-key")
    (tmp_path / "a").write_text(json.dumps({"key": "same-key", "scopes": ["read"]}))
    keys = ring(tmp_path)
    assert name(keys, "Bearer same-key") == "a"
    assert len(keys.keys) == 1


def test_requests_per_minute_refill_steadily(tmp_path: Path) -> None:
    (tmp_path / "alice").write_text(json.dumps({"key": "k", "requests_per_minute": 2}))
    now = [0.0]
    keys = KeyRing(tmp_path, allow_anonymous=False, clock=lambda: now[0])
    alice = keys.whose("Bearer k")
    assert alice is not None
    keys.charge(alice)
    keys.charge(alice)
    with pytest.raises(Overloaded) as caught:
        keys.charge(alice)
    assert (caught.value.retry_after, caught.value.code) == (30, "rate_limit_exceeded")
    now[0] += 30
    keys.charge(alice)
    with pytest.raises(Overloaded):
        keys.charge(alice)


def test_scopes_are_kept_at_the_gateway(make_gateway: Any, engine: Any, until: Any) -> None:
    gateway = make_gateway(engine.url)
    for scope in ("generate", "read", "feedback", "admin"):
        (gateway.keys / scope).write_text(json.dumps({"key": f"only-{scope}", "scopes": [scope]}))
    until(gateway.is_ready, "the gateway is ready")

    def status(scope: str, method: str, path: str, body: Any = None, port: int = 0) -> int:
        url = f"http://127.0.0.1:{port or gateway.port}{path}"
        headers = {"Authorization": f"Bearer only-{scope}"}
        return httpx.request(method, url, json=body, headers=headers, timeout=30).status_code

    until(lambda: status("read", "GET", "/info") == 200, "the new keys are known")
    generate = ("POST", "/generate", {"inputs": "x", "parameters": {"max_new_tokens": 1}})
    feedback = ("POST", "/feedback", {"request_id": "r", "event": "liked"})
    allowed = {
        "generate": [generate],
        "read": [("GET", "/info"), ("GET", "/v1/models"), ("POST", "/tokenize", {"inputs": "x"})],
        "feedback": [feedback],
        "admin": [],
    }
    for scope in allowed:
        for owner, requests in allowed.items():
            for request in requests:
                found = status(scope, *request)
                assert found in ((200, 202) if scope == owner else (403,)), (scope, request)
    for path in ("/admin/keys", "/admin/settings", "/admin/log-level"):
        assert status("admin", "GET", path) == 404, "not on the port for clients"
        assert status("read", "GET", path, port=gateway.metrics_port) == 403
        assert status("nobody", "GET", path, port=gateway.metrics_port) == 401
        assert status("admin", "GET", path, port=gateway.metrics_port) == 200
    shown = httpx.get(
        f"http://127.0.0.1:{gateway.metrics_port}/admin/keys", headers={"Authorization": "Bearer only-admin"}
    )
    assert {one["name"] for one in shown.json()} == {"tests", *allowed}
    assert "only-" not in shown.text
    assert status("admin", "PUT", "/admin/log-level", {"level": "no"}, gateway.metrics_port) == 422
    assert status("admin", "PUT", "/admin/log-level", {"level": "debug"}, gateway.metrics_port) == 200


async def test_a_key_has_its_own_limit_in_flight(stand_in: Any, before_stand_in: Any) -> None:
    gateway = await before_stand_in(BERTH_ENGINE_SLOTS="4")
    (gateway.keys / "tests").write_text(json.dumps({"key": gateway.key, "max_concurrent": 1}))
    (gateway.keys / "other").write_text("other-key")
    body = {"inputs": "x", "parameters": {"max_new_tokens": 2}}
    async with gateway.session() as session:

        async def ask(**more: Any) -> int:
            async with session.post("/generate", json=body, **more) as response:
                if response.status == 429:
                    assert int(response.headers["Retry-After"]) >= 1
                return int(response.status)

        other = {"Authorization": "Bearer other-key"}
        async with asyncio.timeout(30):
            while (await session.get("/info", headers=other)).status != 200:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        first = asyncio.create_task(ask())
        await stand_in.until(lambda made: len(made.begun) == 1)
        assert await ask() == 429
        second = asyncio.create_task(ask(headers=other))
        await stand_in.until(lambda made: len(made.begun) == 2)
        for work in stand_in.begun:
            work.released.release()
            work.released.release()
        assert await first == await second == 200
        stand_in.free_running = True
        assert await ask() == 200
