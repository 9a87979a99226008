"""The process that runs programs, and the folders that hold its sockets."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from berth.deployer import Interpreter, RunRequest, preview
from berth.deployer.program import private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for that of a socket: pytest's own does not always."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        yield Path(folder)


def test_a_folder_that_a_dead_process_left_a_day_ago_is_removed(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(short))
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    left = [short / f"berth-{pid}-x" for pid in (dead.stdout.decode().strip(), os.getpid())]
    fresh = short / f"berth-{dead.stdout.decode().strip()}-fresh"
    for folder in (*left, fresh):
        folder.mkdir()
        (folder / "2.sock").touch()
    for folder in left:
        os.utime(folder, (0, 0))
    made = private_folder()
    assert sorted(short.iterdir()) == sorted([left[1], fresh, made])


async def test_a_killed_interpreter_fails_its_program_and_is_started_again(tmp_path: Path) -> None:
    (tmp_path / "kills.py").write_text("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n")
    (tmp_path / "fine.py").write_text("import pulumi\npulumi.export('a', 1)\n")
    interpreter = Interpreter()
    try:
        failed = await preview(
            RunRequest(tmp_path / "kills.py", "demo", "dev", offline=True), interpreter=interpreter
        )
        assert [error.code for error in failed.errors] == ["program"]
        assert "killed" in failed.errors[0].message
        report = await preview(
            RunRequest(tmp_path / "fine.py", "demo", "dev", offline=True), interpreter=interpreter
        )
        assert report.outputs == {"a": 1}
    finally:
        interpreter.close()
