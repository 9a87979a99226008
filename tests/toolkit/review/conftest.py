"""A copy of this checkout with a prepared change, and the review of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# The change: in which file, what (as a pattern), and what instead. Every kind of thing that a reviewer must
# not miss.
CHANGE = (
    # a bigger pool
    ("stacks/Pulumi.aws-prod.yaml", r"max: 7\b", "max: 9"),
    ("stacks/Pulumi.gcp-dev.yaml", r"max: 3\b", "max: 5"),
    # a new flag of the engine
    ("stacks/bases/chat-7b.yaml", "prefixCaching: true", "prefixCaching: false"),
    # a renamed component
    (
        "stacks/berth_stacks/program.py",
        r'scaled = f"\{at.name\}-autoscaler"',
        'scaled = f"{at.name}-scaler"',
    ),
    # a removed probe
    (
        "components/berth_components/model_server_pod.py",
        r"(?m)^ +readiness_probe=pods\.http_probe\((?:[^()]|\([^()]*\))*\),\n",
        "",
    ),
    # a looser security context
    (
        "components/berth_components/pods.py",
        "read_only_root_filesystem=True",
        "read_only_root_filesystem=False",
    ),
)
ROOMS = ("agents", "catalogue", "components", "images", "planner", "policy", "serving", "stacks", "toolkit")


@dataclass(frozen=True)
class Copy:
    """A checkout of its own, with a history of one commit."""

    folder: Path
    cache: Path

    def git(self, *words: str) -> str:
        names = ("-c", "user.name=A Tester", "-c", "user.email=tester@example.invalid")
        done = subprocess.run(
            ["git", *names, *words], cwd=self.folder, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def berth(self, *words: str, expect: int = 0) -> str:
        done = self.run(*words)
        assert done.returncode == expect, f"{done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "berth.cli", *words]

    @property
    def environment(self) -> dict[str, str]:
        rooms = os.pathsep.join(str(self.folder / room) for room in ROOMS)
        return {**os.environ, "PYTHONPATH": rooms, "BERTH_CACHE": str(self.cache)}

    def edit(self, file: str, what: str, instead: str) -> None:
        path = self.folder / file
        text = path.read_text()
        changed, count = re.subn(what, lambda _: instead, text)
        assert count, f"{file} has no {what!r}"
        path.write_text(changed)

    def prepare(self) -> None:
        """Make the prepared change."""
        for change in CHANGE:
            self.edit(*change)

    def reset(self) -> None:
        self.git("reset", "--hard", "--quiet", "main")
        self.git("clean", "-fdq")


@pytest.fixture(scope="session")
def copy(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """Copy what git knows of this checkout, changes that are not committed included."""
    made = Copy(tmp_path_factory.mktemp("checkout") / "berth", tmp_path_factory.mktemp("cache"))
    listed = subprocess.run(
        [
            "git",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            *ROOMS,
            "Pulumi.yaml",
            "docs",
        ],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.split("\0"):
        if name and (root / name).is_file():
            (made.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, made.folder / name)
    (made.folder / ".venv").symlink_to(root / ".venv")  # where the policy pack looks for its interpreter
    (made.folder / ".gitignore").write_text("/.venv\n__pycache__\n")
    made.git("init", "--quiet", "--initial-branch=main")
    made.git("add", "--all", "--force")
    made.git("commit", "--quiet", "--message=before")
    return made


@pytest.fixture(scope="session")
def reviewed(copy: Copy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Review the prepared change on all stacks; the folder of its files."""
    folder = tmp_path_factory.mktemp("review")
    copy.prepare()
    copy.berth("preview", "--all", "--base", "main", "--report", str(folder), expect=1)
    copy.reset()
    return folder
