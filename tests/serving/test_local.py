"""`./berth serve` without the command: real processes, supervised."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from berth_serving.local import LocalSettings, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = """
import asyncio, dataclasses, json, sys
from pathlib import Path
from berth_serving.local import LocalSettings, serve
wanted = json.loads(sys.argv[1])
for name in ("cache", "key_file"):
    if name in wanted: wanted[name] = Path(wanted[name])
def tell(event): print(json.dumps(dataclasses.asdict(event)), flush=True)
sys.exit(asyncio.run(serve(LocalSettings(**wanted), tell)))
"""


class Served:
    def __init__(self, **wanted: Any) -> None:
        command = [sys.executable, "-c", PROGRAM, json.dumps({"port": 0, "slots": 2, **wanted})]
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def event(self, kind: str) -> dict[str, Any]:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            event = json.loads(line)
            if event["kind"] == kind:
                assert isinstance(event["facts"], dict)
                return dict(event)
        raise AssertionError(f"it ended without saying {kind}")

    def children(self) -> dict[str, int]:
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and f"\nPPid:\t{self.popen.pid}\n" in (entry / "status").read_text():
                    words = (entry / "cmdline").read_bytes().decode().split("\0")
                    found[
                        next(word.rsplit(".", 1)[-1] for word in words if word.startswith("berth_serving."))
                    ] = int(entry.name)
        return found

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGINT)
            try:
                self.popen.wait(30)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        self.popen.wait()
        if self.popen.stdout is not None:
            self.popen.stdout.close()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def served(cache: Path) -> Iterator[Served]:
    one = Served(cache=str(cache))
    yield one
    one.end()


def gone(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def test_it_answers_heals_and_ends_with_ctrl_c(served: Served, until: Any, cache: Path) -> None:
    facts = served.event("ready")["facts"]
    assert facts["url"].startswith("http://127.0.0.1:")
    answer = httpx.post(facts["url"] + "/generate", json={"prompt": "Hi", "max_length": 6}, timeout=60)
    assert answer.json()["output_tokens"] > 0
    assert "berth_queue_depth" in httpx.get(facts["metrics_url"]).text
    assert Path(facts["log"]).stat().st_mode & 0o777 == 0o600

    os.kill(served.children()["llama_cpp"], signal.SIGKILL)
    restarted = served.event("restarted")
    assert restarted["facts"] == {"process": "engine", "exit_code": -9}
    until(lambda: httpx.get(facts["url"] + "/ready").status_code == 200, "ready again")

    children = served.children()
    assert set(children) == {"llama_cpp", "gateway"}
    served.popen.send_signal(signal.SIGINT)
    served.event("stopped")
    assert served.popen.wait(30) == 0
    assert all(gone(pid) for pid in children.values())
    assert (cache / "weights").is_dir()


def test_both_processes_end_with_a_parent_that_is_killed(served: Served, until: Any) -> None:
    served.event("ready")
    children = served.children()
    assert len(children) == 2
    served.popen.kill()
    until(lambda: all(gone(pid) for pid in children.values()), "both are gone")


def test_a_key_file_closes_it_to_others(cache: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("local-canary\n")
    served = Served(cache=str(cache), key_file=str(key))
    try:
        url = served.event("ready")["facts"]["url"]
        assert httpx.get(url + "/info").status_code == 401
        assert httpx.get(url + "/info", headers={"Authorization": "Bearer local-canary"}).status_code == 200
    finally:
        served.end()


@pytest.mark.parametrize(
    ("wanted", "code", "said"),
    [
        ({"host": "0.0.0.0"}, 1, "key file"),  # noqa: S104 - refused, that is the test
        ({"host": "example.com"}, 1, "not an IP address"),
        ({"key_file": Path("/nonexistent")}, 1, "no such file"),
        ({"model": "gpt-5"}, 2, "smollm2-135m-instruct-q4_1"),
        ({"model": "qwen2.5-7b-instruct"}, 2, "models that run here: smollm2-135m-instruct-q4_1"),
    ],
)
async def test_what_cannot_work_is_told_before_anything_starts(
    cache: Path, wanted: dict[str, Any], code: int, said: str
) -> None:
    events: list[Any] = []
    assert await serve(LocalSettings(cache=cache, **wanted), events.append) == code
    assert [event.kind for event in events] == ["failed"]
    assert said in events[0].message


async def test_a_port_that_is_taken_is_named(cache: Path, server: Any) -> None:
    events: list[Any] = []
    began = time.monotonic()
    assert await serve(LocalSettings(cache=cache, port=server.port), events.append) == 1
    assert str(server.port) in events[-1].message
    assert time.monotonic() > began
