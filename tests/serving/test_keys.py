"""API keys: which open, when they are reread, and what an empty folder means."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
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
