"""What the workflows' scripts do, run as GitHub and GitLab run them, with stand-ins for those two."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]
MARKER = "<!-- berth-review -->"

# `gh` as these scripts use it: answers come from files, and what it is told to write is kept.
GH = """\
#!/usr/bin/env python3
import json, os, pathlib, shutil, subprocess, sys

world = pathlib.Path(os.environ["WORLD"])
words = sys.argv[1:]
with (world / "calls").open("a") as file:
    file.write(json.dumps(words) + "\\n")
if words[:2] == ["run", "download"]:
    source = world / "artifact"
    if not source.exists():
        sys.exit("no artifact found")
    shutil.copytree(source, words[words.index("--dir") + 1], symlinks=True)
elif "--input" in words:
    (world / "written.json").write_text(sys.stdin.read())
else:
    path = next(word for word in words if word.startswith("repos/"))
    answer = world / (path.replace("/", "_") + ".json")
    if not answer.exists():
        print('{"message": "Not Found"}')
        sys.exit(1)
    if "--jq" not in words:
        print(answer.read_text())
        sys.exit()
    jq = words[words.index("--jq") + 1]
    done = subprocess.run(["jq", "--raw-output", jq, answer], check=False)
    sys.exit(done.returncode)
"""


class World:
    """A repository's side of GitHub, and a folder in which a step runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "world"
        self.work = folder / "work"
        programs = folder / "bin"
        for one in (self.folder, self.work, programs):
            one.mkdir()
        (programs / "gh").write_text(GH)
        (programs / "gh").chmod(0o755)
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "WORLD": str(self.folder),
            "GH_TOKEN": "canary-of-the-token",
            "GH_REPO": "org/repo",
            "GITHUB_REPOSITORY": "org/repo",
            "GITHUB_OUTPUT": str(folder / "output"),
        }
        self.output = folder / "output"

    def answer(self, path: str, value: Any) -> None:
        (self.folder / (path.replace("/", "_") + ".json")).write_text(json.dumps(value))

    def artifact(self, **files: str) -> Path:
        made = self.folder / "artifact"
        made.mkdir(exist_ok=True)
        for name, text in files.items():
            (made / name.replace("_", ".")).write_text(text)
        return made

    def run(
        self, step: Json, cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=cwd or self.work, env={**self.environment, **environment},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    @property
    def written(self) -> str:
        body: str = json.loads((self.folder / "written.json").read_text())["body"]
        return body

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    if shutil.which("jq") is None:
        pytest.skip("needs jq, which GitHub's runners have")
    return World(tmp_path)


@pytest.fixture
def comment(workflows: dict[str, Json]) -> list[Json]:
    found: list[Json] = workflows["review-comment.yml"]["jobs"]["comment"]["steps"]
    return found


ABOUT_RUN = {
    "NUMBER": "7",
    "RUN_ID": "1",
    "RUN_URL": "https://github.example/org/repo/actions/runs/1",
    "CONCLUSION": "success",
}


def test_the_pull_request_is_found_by_its_head_and_nothing_that_the_review_wrote(
    world: World, comment: list[Json]
) -> None:
    pulls = [
        {"number": 5, "head": {"sha": "older"}},
        {"number": 7, "head": {"sha": "abc"}},
    ]
    world.answer("repos/org/repo/pulls", pulls)
    done = world.run(comment[0], HEAD_SHA="abc", HEAD="someone:a branch;$(touch pwned)")
    assert done.returncode == 0, done.stderr
    assert world.output.read_text() == "number=7\n"
    assert "head=someone:a branch;$(touch pwned)" in world.calls[0]
    assert list(world.work.iterdir()) == []


def test_a_head_that_moved_on_gets_no_comment(world: World, comment: list[Json]) -> None:
    world.answer("repos/org/repo/pulls", [{"number": 7, "head": {"sha": "newer"}}])
    done = world.run(comment[0], HEAD_SHA="abc", HEAD="someone:x")
    assert done.returncode == 0, done.stderr
    assert world.output.read_text() == "number=\n"


def test_a_first_review_makes_a_comment_and_a_second_renews_it(world: World, comment: list[Json]) -> None:
    world.answer("repos/org/repo/pulls/7/files", [{"filename": "stacks/Pulumi.aws-dev.yaml"}])
    world.answer("repos/org/repo/issues/7/comments", [])
    world.artifact(review_md="# What changes\nnothing")
    assert world.run(comment[1], **ABOUT_RUN).returncode == 0
    assert world.calls[-1][2] == "POST"
    assert world.written.startswith(MARKER)
    assert "# What changes\nnothing" in world.written
    assert "changes what reviews it" not in world.written
    others = [
        {"id": 1, "user": {"login": "mallory"}, "body": f"{MARKER} mine"},
        {"id": 2, "user": {"login": "github-actions[bot]"}, "body": "something else"},
        {"id": 3, "user": {"login": "github-actions[bot]"}, "body": f"{MARKER}\nold"},
    ]
    world.answer("repos/org/repo/issues/7/comments", others)
    shutil.rmtree(world.work / "review")
    assert world.run(comment[1], **ABOUT_RUN).returncode == 0
    assert world.calls[-1][2:4] == ["PATCH", "repos/org/repo/issues/comments/3"]


@pytest.mark.parametrize(
    "file",
    [
        {"filename": "policy/exceptions.yaml"},
        {"filename": ".github/workflows/review.yml"},
        {"filename": "berth"},
        {"filename": "elsewhere.py", "previous_filename": "toolkit/berth/review/model.py"},
    ],
)
def test_a_pull_request_that_changes_its_reviewer_is_said_to(
    world: World, comment: list[Json], file: Json
) -> None:
    world.answer("repos/org/repo/pulls/7/files", [{"filename": "stacks/x.yaml"}, file])
    world.answer("repos/org/repo/issues/7/comments", [])
    world.artifact(review_md="all is well")
    assert world.run(comment[1], **ABOUT_RUN).returncode == 0
    assert "**This pull request changes what reviews it**: 1 of its files" in world.written


def test_a_huge_page_is_cut_and_a_link_is_not_followed(world: World, comment: list[Json]) -> None:
    world.answer("repos/org/repo/pulls/7/files", [])
    world.answer("repos/org/repo/issues/7/comments", [])
    world.artifact(review_md="x" * 300_000)
    assert world.run(comment[1], **ABOUT_RUN).returncode == 0
    assert 60_000 < len(world.written) < 65_536
    shutil.rmtree(world.work / "review")
    (world.folder / "artifact" / "review.md").unlink()
    (world.folder / "artifact" / "review.md").symlink_to("/proc/self/environ")
    assert world.run(comment[1], **ABOUT_RUN).returncode == 0
    assert "canary-of-the-token" not in world.written
    assert "It wrote no page" in world.written


def test_a_review_that_wrote_nothing_is_said_to_have_failed(world: World, comment: list[Json]) -> None:
    world.answer("repos/org/repo/pulls/7/files", [])
    world.answer("repos/org/repo/issues/7/comments", [])
    assert world.run(comment[1], **{**ABOUT_RUN, "CONCLUSION": "failure"}).returncode == 0
    assert "ended with: **failure**" in world.written
    assert "It wrote no page" in world.written


MAIN_ONLY = {"protected_branches": True, "custom_branch_policies": False}
ASKS = [{"type": "branch_policy"}, {"type": "required_reviewers"}]


@pytest.mark.parametrize(
    ("stack", "answer", "said"),
    [
        ("aws-prod", {"protection_rules": ASKS, "deployment_branch_policy": MAIN_ONLY}, ""),
        (
            "aws-prod",
            {"protection_rules": ASKS[:1], "deployment_branch_policy": MAIN_ONLY},
            "no required reviewers",
        ),
        ("aws-prod", {"protection_rules": ASKS, "deployment_branch_policy": None}, "any branch may use"),
        ("aws-prod", None, "any branch may use"),
        ("aws-dev", {"protection_rules": [], "deployment_branch_policy": MAIN_ONLY}, ""),
        ("aws-dev", {"protection_rules": [], "deployment_branch_policy": None}, "any branch may use"),
    ],
)
@pytest.mark.usefixtures("checkout")
def test_an_environment_that_protects_nothing_is_refused(
    world: World, workflows: dict[str, Json], stack: str, answer: Json | None, said: str
) -> None:
    plan: list[Json] = workflows["deploy-stack.yml"]["jobs"]["plan"]["steps"]
    [step] = [one for one in plan if "Refuse" in one.get("name", "")]
    if answer is not None:
        world.answer(f"repos/org/repo/environments/{stack}", answer)
    done = world.run(step, STACK=stack, RUNNER_TEMP=str(world.work))
    assert done.returncode == bool(said), done.stdout + done.stderr
    assert said in done.stdout
    assert ("::error::" in done.stdout) == bool(said)


@pytest.fixture
def checkout(world: World) -> None:
    """Give the step a checkout whose launcher is this environment: nothing is installed anew."""
    (world.work / "berth").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m berth.cli "$@"\n')
    (world.work / "berth").chmod(0o755)


class _Notes(http.server.BaseHTTPRequestHandler):
    """The part of GitLab's API that holds the notes of a merge request."""

    notes: list[Json]
    token: str

    def _answer(self, value: Any) -> None:
        assert self.headers["PRIVATE-TOKEN"] == self.token
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> str:
        text: str = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"]
        return text

    def do_GET(self) -> None:
        if self.path.endswith("/user"):
            self._answer({"id": 42})
        else:
            page = int(self.path.rpartition("page=")[2])
            self._answer(self.notes[(page - 1) * 100 : page * 100])

    def do_POST(self) -> None:
        self.notes.append({"id": len(self.notes), "author": {"id": 42}, "body": self._body()})
        self._answer({})

    def do_PUT(self) -> None:
        self.notes[int(self.path.rpartition("/")[2])]["body"] = self._body()
        self._answer({})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        del format, args


@pytest.fixture
def notes() -> Iterator[http.server.ThreadingHTTPServer]:
    handler = type("Notes", (_Notes,), {"notes": [], "token": "glpat-canary"})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_gitlabs_comment_is_made_once_and_then_renewed(
    gitlab: Json, notes: http.server.ThreadingHTTPServer, tmp_path: Path
) -> None:
    kept: list[Json] = notes.RequestHandlerClass.notes  # type: ignore[attr-defined] # made above
    kept += [{"id": index, "author": {"id": 1}, "body": f"{MARKER} not ours"} for index in range(120)]
    (tmp_path / "review").mkdir()
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CI_API_V4_URL": f"http://127.0.0.1:{notes.server_port}/api/v4",
        "CI_PROJECT_ID": "3",
        "CI_MERGE_REQUEST_IID": "9",
        "BERTH_REVIEW_TOKEN": "glpat-canary",
    }
    for text in ("first", "second: ü"):
        (tmp_path / "review" / "review.md").write_text(text)
        for script in gitlab["review-comment"]["script"]:
            done = subprocess.run(
                ["bash", "-eo", "pipefail", "-c", script],
                cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        assert len(kept) == 121
        assert kept[120]["body"] == f"{MARKER}\n{text}"


def test_gitlabs_comment_follows_no_link(gitlab: Json, tmp_path: Path) -> None:
    (tmp_path / "review").mkdir()
    (tmp_path / "review" / "review.md").symlink_to("/proc/self/environ")
    done = subprocess.run(
        ["bash", "-e", "-c", gitlab["review-comment"]["script"][0]], cwd=tmp_path, check=False, timeout=10
    )
    assert done.returncode == 1
