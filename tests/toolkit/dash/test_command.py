"""`./berth dash`, as a person or a pipeline starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from bench.dashboards_parts.watched import Watched
    from tests.toolkit.dash.conftest import StandIn

PATIENCE = 240.0
COMMAND = (sys.executable, "-m", "berth.cli", "dash")


def run(*words: str, root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], cwd=root, capture_output=True, text=True, check=False, timeout=300
    )


def settled(watched: Watched, root: Path) -> subprocess.CompletedProcess[str]:
    """The check, once nothing is silent: rates need two readings, and a busy machine takes its time."""
    deadline = time.monotonic() + PATIENCE
    while True:
        done = run("--prometheus", watched.url, "--check", "--json", root=root)
        if done.returncode == 0 or time.monotonic() > deadline:
            return done
        time.sleep(2)


def test_a_check_tells_of_every_panel(watched: Watched, root: Path) -> None:
    done = settled(watched, root)
    told = json.loads(done.stdout)
    states = [one["state"] for one in told["panels"]]
    assert [one for one in told["panels"] if one["state"] not in {"data", "waits", "no source"}] == []
    assert states.count("data") > 80
    assert done.returncode == 0
    assert all(one["reason"] for one in told["panels"] if one["state"] != "data")
    missing = next(one for one in told["panels"] if one["panel"] == "GPU temperature")
    assert "dcgm" in missing["reason"]


def test_a_check_is_read_in_eighty_columns(watched: Watched, root: Path) -> None:
    settled(watched, root)
    done = run("--prometheus", watched.url, "--check", root=root)
    assert "need a source that is not deployed" in done.stdout
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["dashboard", "data", "empty"]
    assert max(len(line) for line in lines[:9]) <= 80


def test_a_silent_source_is_a_failure(stand_in: StandIn, root: Path) -> None:
    """Every source is there by its `up`, and says nothing."""
    labels = {"site": "home", "model": "chat", "variant": "main", "engine": "llama.cpp", "job": "node"}
    one = {"metric": labels, "value": [1, "NaN"]}
    stand_in.body["data"] = {"resultType": "vector", "result": [one]}
    done = run("--prometheus", stand_in.url, "--check", root=root)
    assert done.returncode == 1
    assert "have no data, though their source is deployed" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((), 2, "name a stack, such as `berth dash local`, or a Prometheus: --prometheus URL"),
        (("--prometheus", "localhost:9090"), 2, "an address such as http://127.0.0.1:9090 is meant"),
        (("--prometheus", "file:///etc/passwd"), 2, "an address such as http://127.0.0.1:9090 is meant"),
        (("--prometheus", "http://127.0.0.1:1"), 1, "is it running?"),
        (("--prometheus", "http://127.0.0.1:1", "--json"), 2, "--json goes with --check"),
        (("nosuchstack",), 2, "nosuchstack"),
        (("--port", "70000", "local"), 2, "--port"),
        (("aws-prod", "--site", "moon"), 2, "--site moon: the stack serves models at"),
    ],
)
def test_what_cannot_be_shown_is_said(words: tuple[str, ...], code: int, says: str, root: Path) -> None:
    done = run(*words, root=root)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_prometheus_of_others_is_told_apart(stand_in: StandIn, root: Path) -> None:
    done = run("--prometheus", stand_in.url, root=root)
    assert done.returncode == 2
    assert "scrapes no model server" in done.stderr


def test_it_serves_until_it_is_interrupted(watched: Watched, root: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "--prometheus", watched.url, "--port", "0"],
        cwd=root,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        try:
            address = process.stdout.readline().split()[1]
            told = httpx.get(f"{address}api/pages", timeout=60).json()
            assert told["source"] == watched.url
            assert len(told["pages"]) == 8
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
