"""The command line where there is no cluster: what it says, prints and returns."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from berth.cli.app import COMMANDS, EXPECTED, FAILURES

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def berth(tmp_path: Path) -> Berth:
    return Berth(tmp_path)


class Berth:
    """The command line with a cache of its own, so without any cluster or image."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder / "cache"
        self._environment = {**os.environ, "BERTH_CACHE": str(self.cache), "BERTH_CLUSTER": "nonesuch"}

    def __call__(
        self, *words: str, interpreter: tuple[str, ...] = ("-m", "berth.cli")
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *interpreter, *words],
            env=self._environment, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(berth: Berth, command: str) -> None:
    done = berth(command, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: berth {command}")
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_every_expected_error_exists() -> None:
    for name in EXPECTED | FAILURES:
        module, kind = name.rsplit(".", 1)
        subprocess.run([sys.executable, "-c", f"from {module} import {kind}"], check=True)


def test_a_preview_without_a_cluster_plans_every_object(berth: Berth) -> None:
    done = berth("preview", "local", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    report = json.loads(done.stdout)
    assert {step["op"] for step in report["steps"] if step["object"]} == {"create"}
    assert "planned without it" in done.stderr
    assert "not built yet" in done.stderr


def test_down_and_outputs_without_a_cluster_say_so(berth: Berth) -> None:
    down = berth("down", "local")
    assert down.returncode == 0
    assert "nothing to remove" in down.stderr
    outputs = berth("outputs", "local", "--json")
    assert (outputs.returncode, outputs.stdout) == (2, "")
    assert "no local cluster" in outputs.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("up", "lokal"), "Did you mean 'local'?"),
        (("preview", "onprem", "--context", "nobody"), "no context of that name"),
        (("up", "onprem", "--simulated-gpus", "2"), "only a local stack simulates hardware"),
        (("up", "aws-dev"), "add --engine pulumi"),
        (("outputs", "gcp-prod"), "add --engine pulumi"),
        (("preview",), "name one stack, or --all of them"),
        (("preview", "--all", "--context", "x"), "go with one stack"),
        (("preview", "local", "--summary"), "goes with --all"),
        (("up", "onprem", "--create"), "goes with --engine pulumi"),
        (("key", "local", "--add", "a"), "makes its key by itself"),
        (("key", "onprem", "--add", "No Name"), "make a name"),
        (("cluster", "status", "--name", "No Name"), "cluster name 'No Name'"),
        (("images", "build", "nothing"), "no image 'nothing'"),
        (("key", "../up"), "no stack's name"),
        (("test", "nowhere"), "rooms with tests"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_mistakes_are_named_without_a_traceback(berth: Berth, words: tuple[str, ...], said: str) -> None:
    done = berth(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_an_api_key_is_kept_encrypted_in_the_stacks_file(root: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "berth"
    for part in ("toolkit", "stacks", "Pulumi.yaml"):
        if (root / part).is_dir():
            shutil.copytree(root / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(root / part, checkout / part)
    rooms = [
        checkout / "toolkit",
        checkout / "stacks",
        *(path.parent for path in root.glob("*/pyproject.toml")),
    ]
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(map(str, rooms)), "PULUMI_CONFIG_PASSPHRASE": "of a test"
    }  # fmt: skip

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "berth.cli", *words]
        return subprocess.run(
            command, env=environment, cwd=checkout, capture_output=True, text=True, check=False, timeout=120
        )

    keys = [run("key", "onprem", "--add", name).stdout.strip() for name in ("team-a", "team-b")]
    assert all(len(key) > 40 for key in keys)
    text = (checkout / "stacks" / "Pulumi.onprem.yaml").read_text()
    assert "secure: v1:" in text
    assert not any(key in text for key in keys)
    assert "# " in text, "comments stay"
    assert "has a key of 'team-a' already" in run("key", "onprem", "--add", "team-a").stderr
    del environment["PULUMI_CONFIG_PASSPHRASE"]
    planned = run("preview", "onprem", "--offline")
    assert planned.returncode == 0, planned.stderr + planned.stdout
    assert "onprem-smollm2-api-keys" in planned.stdout
    assert "has no keys of clients" not in planned.stdout


def test_without_root_nothing_is_changed(berth: Berth) -> None:
    # The interpreter may lie where only root can run it, so the user is pretended, not the answer.
    pretend = "import os; os.geteuid = lambda: 65534; from berth.cli.app import main; main()"
    done = berth("up", "local", "--yes", interpreter=("-c", pretend))
    assert done.returncode == 2, done.stderr
    assert "needs root" in done.stderr
    assert "Nothing was changed" in done.stderr
    assert not berth.cache.exists()


def test_a_cache_that_cannot_be_written_is_named(berth: Berth) -> None:
    berth.cache.write_text("a file where a folder should be")
    done = berth("preview", "local")
    assert done.returncode == 2, done.stderr
    assert str(berth.cache) in done.stderr
    assert "Traceback" not in done.stderr


def test_the_key_file_is_private(berth: Berth) -> None:
    assert berth("preview", "local").returncode == 0
    file = berth.cache / "keys" / "local"
    assert file.stat().st_mode & 0o777 == 0o600
    printed = berth("key", "local").stdout.strip()
    assert printed == file.read_text().strip()
    assert len(printed) > 30
