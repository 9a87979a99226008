"""A prepared change of the stacks here, reviewed as a person does it: the review says exactly that."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth.cli import revisions
from berth.cli.errors import UserError
from berth.cli.previews import preview

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Copy

CONTAINER = r"spec\.template\.spec\.(initContainers|containers)\[name=[\w-]+\]"
# By what was changed: the type, the path, and the values before and after.
EXPECTED = {
    "a bigger pool on AWS": ("aws:eks/nodeGroup:NodeGroup", r"scalingConfig\.maxSize", 7, 9),
    "a bigger pool on Google Cloud": ("gcp:container/nodePool:NodePool", r"autoscaling\.\w+", 3, 5),
    "a new flag": (
        "kubernetes:apps/v1:Deployment",
        CONTAINER + r"\.args\[\d+\]",
        "--enable-prefix-caching",
        "--no-enable-prefix-caching",
    ),
    "a new flag on SageMaker": (
        "aws:sagemaker/model:Model",
        r"primaryContainer\.environment\.BERTH_ENGINE_COMMAND\(JSON\)\[\d+\]",
        "--enable-prefix-caching",
        "--no-enable-prefix-caching",
    ),
    "a looser security context": (
        "kubernetes:apps/v1:(Deployment|StatefulSet|DaemonSet)",
        CONTAINER + r"\.securityContext\.readOnlyRootFilesystem",
        True,
        False,
    ),
}
PROBE = CONTAINER.replace(r"[\w-]+", "gateway") + r"\.readinessProbe"


@pytest.fixture
def review(reviewed: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((reviewed / "review.json").read_text())
    return found


def which(entry: dict[str, Any], change: dict[str, Any]) -> str:
    if re.fullmatch(PROBE, change["path"]) and change["kind"] == "delete":
        return "a removed probe"
    for name, (type_, path, before, after) in EXPECTED.items():
        of_it = re.fullmatch(type_, entry["type"]) and (change["before"], change["after"]) == (before, after)
        if of_it and re.fullmatch(path, change["path"]):
            return name
    return f"unexpected: {entry['urn']} {change['path']}"


def test_every_property_that_changes_is_one_that_was_changed(review: dict[str, Any]) -> None:
    found: dict[str, set[str]] = {}
    for stack in review["stacks"]:
        for entry in stack["entries"]:
            if entry["op"] in {"update", "replace"}:
                for change in entry["changes"]:
                    found.setdefault(which(entry, change), set()).add(stack["stack"])
    every = {stack["stack"] for stack in review["stacks"]}
    assert found == {
        "a bigger pool on AWS": {"aws-prod"},
        "a bigger pool on Google Cloud": {"gcp-dev"},
        "a new flag": {"aws-dev", "aws-prod", "gcp-dev", "gcp-prod", "hybrid-dev", "hybrid-prod"},
        "a new flag on SageMaker": {"aws-prod"},
        "a looser security context": every,
        "a removed probe": every,
    }


def test_a_renamed_component_is_deleted_and_made_anew_with_a_hint(review: dict[str, Any]) -> None:
    for stack in review["stacks"]:
        entries = {entry["urn"]: entry for entry in stack["entries"]}
        gone = [entry for entry in entries.values() if entry["op"] == "delete" and entry["custom"]]
        come = [entry for entry in entries.values() if entry["op"] == "create" and entry["custom"]]
        assert gone
        assert len(gone) == len(come) == stack["counts"]["delete"]
        for entry in gone:
            assert entry["type"].endswith(":HorizontalPodAutoscaler")
            assert entries[entry["twin"]]["name"] == entry["name"].replace("-autoscaler-", "-scaler-")
            assert "pulumi.Alias" in entries[entry["parent"]]["notes"][0]
            assert any("may delete what it has just made" in note for note in entry["notes"])


def test_the_policies_that_the_change_breaks_are_new(review: dict[str, Any]) -> None:
    for stack in review["stacks"]:
        new = {
            one["policy"]
            for one in stack["findings"]
            if one["since"] == "new" and one["status"] == "violated"
        }
        assert {"pods-readiness", "pods-read-only-root"} <= new, stack["stack"]
        assert not stack["ok"]
        assert all(not pack["error"] and pack["policies"] for pack in stack["packs"])


def test_the_comment_tells_it_in_a_few_lines(reviewed: Path) -> None:
    text = (reviewed / "review.md").read_text()
    assert len(text.encode()) < 40_000
    assert "**delete `berth:model:Autoscaler` with 1 resource in it" in text
    assert "→ `aws-chat-scaler`" in text
    assert text.count("readinessProbe.httpGet.path") <= 3, "the same change of many stacks is told once"
    assert (
        text.index("### Destroyed and replaced") < text.index("### Policies") < text.index("### What changes")
    )
    assert "may replace: the provider decides" in text


def test_no_secret_is_in_any_file(reviewed: Path, copy: Copy) -> None:
    key = (copy.cache / "keys" / "local").read_text().strip()
    assert len(key) > 30, "the stack `local` was planned with it"
    texts = [path.read_text() for path in reviewed.iterdir()]
    assert len(texts) == 5
    encoded = base64.b64encode(key.encode()).decode()
    assert not any(form in text for text in texts for form in (key, encoded))


def test_a_killed_review_leaves_what_the_next_one_removes_and_says_the_same(
    copy: Copy, reviewed: Path, tmp_path: Path
) -> None:
    """Kill one as soon as its worktree is there; the next one has the same bytes as the review of all."""
    copy.prepare()
    command = copy.command("preview", "onprem", "--base", "main", "--report", str(tmp_path / "killed"))
    running = subprocess.Popen(
        command,
        cwd=copy.folder,
        env=copy.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    revisions = copy.cache / "revisions"
    until = time.monotonic() + 60
    while not list(revisions.glob("*/stacks/__main__.py")):
        assert time.monotonic() < until
        assert running.poll() is None
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert len(list(revisions.iterdir())) == 2
    assert len(copy.git("worktree", "list").splitlines()) == 2
    copy.berth("preview", "onprem", "--base", "main", "--report", str(tmp_path), expect=1)
    copy.reset()
    assert list(revisions.iterdir()) == []
    assert len(copy.git("worktree", "list").splitlines()) == 1
    (stack,) = json.loads((tmp_path / "review.json").read_text())["stacks"]
    (same,) = (
        one
        for one in json.loads((reviewed / "review.json").read_text())["stacks"]
        if one["stack"] == "onprem"
    )
    assert stack == same


def test_new_and_gone_stacks_exceptions_and_a_limit(copy: Copy, tmp_path: Path) -> None:
    file = copy.folder / "stacks" / "Pulumi.onprem.yaml"
    file.rename(file.with_name("Pulumi.fresh.yaml"))
    entry = {"rule": "pods-readiness", "stack": "fresh", "object": "urn:x", "reason": "r", "owner": "me"}
    exceptions = copy.folder / "policy" / "exceptions.yaml"
    there = yaml.safe_load(exceptions.read_text()) or []
    exceptions.write_text(yaml.safe_dump([*there, {**entry, "expires": "2099-01-01"}]))
    words = ("preview", "fresh", "onprem", "--base", "main", "--report", str(tmp_path))
    copy.berth(*words, "--fail-on", "create", expect=1)
    copy.reset()
    found = json.loads((tmp_path / "review.json").read_text())
    states = {one["stack"]: one for one in found["stacks"]}
    assert states["fresh"]["state"] == "new"
    assert states["fresh"]["counts"]["create"] > 20
    assert states["onprem"]["state"] == "gone"
    assert sum(states["onprem"]["counts"].values()) == 0
    assert "stay until `down`" in states["onprem"]["note"]
    assert [(one["kind"], one["rule"]) for one in found["exceptions"]] == [("add", "pods-readiness")]


def test_a_base_whose_program_fails_is_no_empty_base(copy: Copy, tmp_path: Path) -> None:
    copy.edit(
        "stacks/berth_stacks/program.py", r"def main\(", "raise RuntimeError('broken base')\n\n\ndef main("
    )
    copy.edit("stacks/Pulumi.local.yaml", "berth:environment: local", "berth:environment: [")
    copy.git("checkout", "--quiet", "-b", "broken")
    copy.git("commit", "--quiet", "--all", "--message=broken")
    copy.git("checkout", "--quiet", "main")
    words = ("preview", "onprem", "local", "--base", "broken", "--report", str(tmp_path))
    text = copy.berth(*words, expect=1)
    stacks = json.loads((tmp_path / "review.json").read_text())["stacks"]
    assert [one["state"] for one in stacks] == ["not compared"] * 2
    assert any("broken base" in error for error in stacks[0]["errors"])
    assert any("Pulumi.local.yaml" in error for error in stacks[1]["errors"])
    assert str(copy.cache) not in json.dumps(stacks), "where a revision lay is no part of a review"
    assert "NOT COMPARED" in text
    assert "create" not in json.dumps(stacks[0]["entries"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--all", "--base", "nowhere"), "there is no such revision"),
        (("--all", "--base", "-x"), "there is no such revision"),
        (("nothing", "--base", "main"), "there is no stack 'nothing'"),
        (("--base", "main"), "name stacks to review, or --all"),
        (("--all", "local", "--base", "main"), "leave out local"),
        (("local", "onprem"), "make a review"),
        (("local", "--base", "main", "--live"), "compares with one thing"),
        (("local", "--base", "main", "--diff"), "a review goes without"),
        (("local", "--base", "main", "--context", "x"), "--context names the cluster of --live"),
        (("local", "--base", "main", "--fail-on", "explode"), "--fail-on explode"),
        (("local", "--base", "main", "--report", "Pulumi.yaml/x"), "name a folder that can be written"),
        (("local", "--against", "nowhere.json"), "no such file"),
        (("local", "onprem", "--against", "Pulumi.yaml"), "is one file"),
        (("local", "--against", "Pulumi.yaml"), "is not JSON"),
        (("local", "--against", "docs"), "has no export of local"),
        (("local", "--against", "docs/plan.schema.json"), "no export of a stack"),
    ],
)
def test_wrong_input_is_said_and_nothing_is_planned(
    copy: Copy, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(copy.folder)
    monkeypatch.setattr(revisions, "ROOT", copy.folder)
    monkeypatch.setenv("BERTH_CACHE", str(copy.cache))
    with pytest.raises(UserError, match=re.escape(told)) as refused:
        preview.main(list(words), standalone_mode=False)
    assert refused.value.exit_code == 2


def test_without_git_it_is_said_what_else_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisions, "ROOT", tmp_path)
    with pytest.raises(UserError, match=r"no git checkout .*--against"):
        preview.main(["--all", "--base", "main"], standalone_mode=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="needs git"):
        preview.main(["--all", "--base", "main"], standalone_mode=False)
