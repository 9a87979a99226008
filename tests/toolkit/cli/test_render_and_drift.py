"""`berth render` and `berth drift` as people and programs call them: files, JSON, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def berth(home: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command with nothing of this machine: no cluster, no cache, no kubeconfig, no network."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "BERTH_CACHE": str(home / "cache"),
        "BERTH_CLUSTER": "nonesuch",
    }
    return subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "berth.cli", *map(str, words)],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: unshare --net keeps the command from the network")
def test_a_stack_is_rendered_without_anything_and_again_without_a_change(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = berth(tmp_path, "render", "onprem", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["changed"] == said["files"] == sorted(said["files"])
    assert {str(path.relative_to(out)) for path in out.iterdir()} == {*said["files"], ".berth-render"}
    assert said["secrets"] == [
        {
            "namespace": "berth-monitoring",
            "name": "berth-grafana-password",
            "type": "Opaque",
            "keys": ["admin-password"],
            "remoteKey": "",
        },
        {
            "namespace": "berth-onprem",
            "name": "smollm2-api-keys",
            "type": "Opaque",
            "keys": [],
            "remoteKey": "",
        },
    ]
    assert any(finding.startswith("berth:apiKeys has no keys") for finding in said["findings"])
    assert len(said["placeholderImages"]) == 7
    assert said["leftOut"] == []
    again = berth(tmp_path, "render", "onprem", "--out", out)
    assert again.returncode == 0, again.stderr
    assert f"{len(said['files'])} files, 0 changed" in " ".join(again.stdout.split())
    assert "open: berth:apiKeys has no keys of clients" in again.stdout
    assert max(map(len, again.stdout.splitlines())) <= max(80, len(str(out)) + 30)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: unshare --net keeps the command from the network")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("render", "onprem", "--out", "/etc"), 2, "it is not empty"),
        (("render", "onprem", "--out", "x", "--values-for", "local"), 2, "--format helm"),
        (("render", "onprem", "--out", "x", "--secrets", "external"), 2, "--secret-store"),
        (("drift", "local"), 1, "nothing was compared"),
        (("drift", "onprem"), 1, "no kubeconfig"),
        (("drift", "onprem", "--expected", "stacks/Pulumi.onprem.yaml"), 2, "a list of entries"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_is_said_with_the_right_exit_code(
    tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    done = berth(tmp_path, *words)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in done.stderr
    assert "no drift" not in done.stdout
    assert not (ROOT / "x").exists()
