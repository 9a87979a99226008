"""Who may wake a model is whom its gateways let in: the router reads their keys as they do."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from berth_agents.router.keys import KeyFolder
from berth_serving.keys import KeyRing

if TYPE_CHECKING:
    from pathlib import Path

CONTENTS = [
    b"a-key", b"a-key\n", b"  a-key \n", b"", b"\n", b"two words", b"k\xc3\xa9y", b"\xff\xfe", b"a" * 4096,
    b"a" * 4097, b"a" * 9000, b"[1]", b"{", b"{}", b"null",
    *(
        json.dumps(one).encode()
        for one in (
            {"key": "a-key"},
            {"key": "a-key", "scopes": ["generate"]},
            {"key": "a-key", "scopes": ["read", "admin"]},
            {"key": "a-key", "scopes": []},
            {"key": "a-key", "scopes": ["write"]},
            {"key": "a-key", "scopes": "generate"},
            {"key": "a-key", "scopes": [1]},
            {"key": "a-key", "scopes": None},
            {"key": "a-key", "requests_per_minute": 60, "max_concurrent": 4},
            {"key": "a-key", "requests_per_minute": -1},
            {"key": "a-key", "requests_per_minute": 1.5},
            {"key": "a-key", "requests_per_minute": True},
            {"key": "a-key", "max_concurrent": None},
            {"key": "a-key", "more": 1},
            {"key": "two words"},
            {"key": ""},
            {"key": 1},
            {"key": "k\u00e9y"},
            {"scopes": ["generate"]},
        )
    ),
]  # fmt: skip
GIVEN = [
    None, "", "a-key", "Bearer", "Bearer ", "Bearer a-key", "bearer  a-key ", "Basic a-key", "Bearer b-key",
    "Bearer two words", "Bearer {", "Bearer [1]", "Bearer null", "Bearer " + "a" * 4096,
    "Bearer " + "a" * 4097, "Bearer k\u00e9y",
]  # fmt: skip


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: ascii(content[:60])[1:])
def test_a_file_is_the_key_that_it_is_to_the_gateway(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tests.key-1_A").write_bytes(content)
    gateway, router = KeyRing(tmp_path, allow_anonymous=False, needed=False), KeyFolder(tmp_path)
    for given in GIVEN:
        # Both libraries give a header's bytes, each in its own way.
        raw = (given or "").encode()
        known = gateway.whose(None if given is None else raw.decode("latin-1"))
        may = router.scopes(None if given is None else raw.decode("utf-8", "surrogateescape"))
        assert may == (known.scopes if known else None), given


@pytest.mark.parametrize("name", ["..data", ".key", "a key", "k\u00e9y"])
def test_a_name_that_no_secret_has_is_no_key(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"a-key")
    gateway = KeyRing(tmp_path, allow_anonymous=False, needed=False)
    assert gateway.whose("Bearer a-key") is None
    assert KeyFolder(tmp_path).scopes("Bearer a-key") is None


def test_a_changed_secret_counts_a_second_later_and_a_folder_may_be_missing(tmp_path: Path) -> None:
    now = [0.0]
    folder = tmp_path / "keys"
    keys = KeyFolder(folder, lambda: now[0])
    assert keys.scopes("Bearer a-key") is None
    folder.mkdir()
    (folder / "one").write_text("a-key")
    os.mkfifo(folder / "pipe")  # what is no file is left alone, and never waited for
    assert keys.scopes("Bearer a-key") is None, "it is looked at once a second"
    now[0] = 1.0
    assert keys.scopes("Bearer a-key") == {"generate", "read", "feedback"}
    (folder / "one").unlink()
    now[0] = 2.0
    assert keys.scopes("Bearer a-key") is None
    assert "a-key" not in repr(keys)
    assert KeyFolder(None).scopes("Bearer a-key") is None
