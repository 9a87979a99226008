"""The workflows that users get: what their judges say, and what no judge knows about us."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pulumi
import pytest
import yaml
from berth.cli.app import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Tools

Json = dict[str, Any]


def said(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def jobs(workflows: dict[str, Json]) -> Iterator[tuple[str, Json]]:
    for file, workflow in workflows.items():
        for name, job in workflow["jobs"].items():
            yield f"{file}:{name}", job


def steps(workflows: dict[str, Json], action: Json) -> Iterator[tuple[str, Json]]:
    for name, job in jobs(workflows):
        for step in job.get("steps", []):
            yield name, step
    for step in action["runs"]["steps"]:
        yield "cloud", step


def scripts(workflows: dict[str, Json], action: Json, gitlab: Json) -> Iterator[tuple[str, str]]:
    for name, step in steps(workflows, action):
        if "run" in step:
            yield name, step["run"]
    for name, job in gitlab.items():
        if isinstance(job, dict):
            for part in (*job.get("before_script", []), *job.get("script", [])):
                yield f"gitlab:{name}", part


def commands(text: str, program: str) -> Iterator[list[str]]:
    """The words of each call of a program in a shell script, without what comes after it on its line."""
    for line in text.replace("\\\n", " ").splitlines():
        for found in re.finditer(rf"(?:^|[\s(])({re.escape(program)} [^|;)]*)", line):
            call = re.split(r"\s(?:>>?|&&)\s", found[1])[0]
            yield shlex.split(call)[1:]


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("vendor.github-workflows", ".github/workflows/*.yml"),
        ("custom.github-workflows-require-timeout", ".github/workflows/*.yml"),
        ("vendor.github-actions", ".github/actions/*/action.yml"),
        ("vendor.dependabot", ".github/dependabot.yml"),
        ("vendor.gitlab-ci", ".gitlab-ci.yml"),
    ],
)
def test_schemas_take_them(root: Path, tools: Tools, schema: str, pattern: str) -> None:
    files = sorted(root.glob(pattern))
    assert files
    if "timeout" in schema:
        # A call of another workflow takes none: its jobs have theirs.
        files = [file for file in files if file.name != "deploy.yml"]
    said(tools["check-jsonschema"], "--builtin-schema", schema, *files, cwd=root)


def test_actionlint_finds_nothing(root: Path, tools: Tools) -> None:
    files = sorted((root / ".github" / "workflows").glob("*.yml"))
    said(tools.actionlint, "-shellcheck", tools["shellcheck"], "-pyflakes", "", *files, cwd=root)


def test_actionlint_bites(tools: Tools, tmp_path: Path) -> None:
    file = tmp_path / "bad.yml"
    file.write_text(
        "on: pull_request\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n"
        "      - run: echo ${{ github.event.pull_request.title }} $(ls $x)\n"
    )
    done = subprocess.run(
        [tools.actionlint, "-shellcheck", tools["shellcheck"], file],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "potentially untrusted" in done.stdout
    assert "SC2086" in done.stdout


def test_zizmor_finds_what_is_excepted_and_nothing_else(root: Path, tools: Tools) -> None:
    done = subprocess.run(
        [tools["zizmor"], "--offline", "--no-progress", "--persona=pedantic", "--format=json", ".github"],
        cwd=root, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    findings = json.loads(done.stdout)
    found = set()
    unpinned = set()
    for finding in findings:
        [primary] = [one for one in finding["locations"] if one["symbolic"]["kind"] == "Primary"]
        if finding["ident"] == "unpinned-uses":
            unpinned.add(primary["concrete"]["feature"])
        else:
            found.add((finding["ident"], primary["symbolic"]["key"]["Local"]["verbatim_path"]))
    entries = yaml.safe_load((root / ".github" / "zizmor-exceptions.yaml").read_text())
    assert all(len(entry["reason"]) > 60 for entry in entries)
    assert found == {(entry["ident"], file) for entry in entries for file in entry["files"]}
    listed = yaml.safe_load((root / ".github" / "actions-by-version.yaml").read_text())
    assert unpinned == {f"{one['action']}@{one['version']}" for one in listed}


def test_every_berth_command_in_them_parses(
    root: Path, workflows: dict[str, Json], action: Json, gitlab: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    parsed = set()
    for name, text in scripts(workflows, action, gitlab):
        for words in commands(text, "./berth"):
            given = ["aws-dev" if word.startswith("$") else word for word in words[1:]]
            with click.Context(cli, info_name="berth") as parent:
                command = cli.get_command(parent, words[0])
                assert command is not None, f"{name}: there is no command {words[0]}"
                command.make_context(words[0], given, parent=parent)
            parsed.add(words[0])
    assert parsed == {"preview", "policy", "drift", "explain"}


def test_every_pulumi_option_in_them_is_one_that_pulumis_own_library_passes(
    workflows: dict[str, Json], action: Json, gitlab: Json
) -> None:
    folder = Path(pulumi.__file__).parent / "automation"
    automation = "".join(file.read_text() for file in folder.glob("*.py"))
    seen = set()
    for _, text in scripts(workflows, action, gitlab):
        for words in commands(text, "pulumi"):
            seen.add(words[0])
            for option in (word for word in words if word.startswith("--")):
                assert f'"{option}"' in automation, option
    assert seen == {"preview", "up", "version"}


def test_permissions_are_stated_and_least(workflows: dict[str, Json]) -> None:
    allowed = {
        "review.yml:review": {"contents": "read"},
        "review-comment.yml:comment": {"actions": "read", "pull-requests": "write"},
        "review-comment.yml:code-scanning": {"actions": "read", "security-events": "write"},
        "plan.yml:plan": {"contents": "read", "id-token": "write"},
        "deploy.yml:deploy": {"actions": "read", "contents": "read", "id-token": "write"},
        "deploy-stack.yml:plan": {"actions": "read", "contents": "read", "id-token": "write"},
        "deploy-stack.yml:up": {"actions": "read", "contents": "read", "id-token": "write"},
        "drift.yml:drift": {"contents": "read", "id-token": "write"},
        "drift.yml:cluster": {"contents": "read"},
    }
    assert {name: job["permissions"] for name, job in jobs(workflows)} == allowed
    assert all(workflow["permissions"] == {} for workflow in workflows.values())


def test_no_long_lived_secret_is_used(root: Path) -> None:
    for file in (root / ".github").rglob("*.yml"):
        assert not re.search(r"\bsecrets[.\[]\w|secrets: inherit", file.read_text()), file
    # GitLab has no token of a job that may comment: the one that does is optional, and may do nothing else.
    text = (root / ".gitlab-ci.yml").read_text()
    names = set(re.findall(r"[A-Z_-]*(?:TOKEN|KEY|PASSWORD|SECRET)[A-Z_]*", text))
    assert names <= {
        *("BERTH_REVIEW_TOKEN", "PRIVATE-TOKEN", "TOKEN", "AWS_TOKEN", "GOOGLE_TOKEN"),
        "AWS_WEB_IDENTITY_TOKEN_FILE",
    }


def test_a_role_is_taken_only_in_an_environment_and_never_for_a_fork(workflows: dict[str, Json]) -> None:
    for name, job in jobs(workflows):
        if "id-token" in job["permissions"] and "steps" in job:
            assert job["environment"].startswith("${{"), name
            assert job["environment"].endswith(("-plan", ".stack }}")), name
    assert "head.repo.full_name == github.repository" in workflows["plan.yml"]["jobs"]["plan"]["if"]
    # What a pull request starts never runs with more than it brought.
    assert all("pull_request_target" not in workflow["on"] for workflow in workflows.values())
    started = {file for file, workflow in workflows.items() if "pull_request" in workflow["on"]}
    assert started == {"review.yml", "plan.yml"}


def test_what_may_write_runs_nothing_of_a_pull_request(workflows: dict[str, Json]) -> None:
    for job in workflows["review-comment.yml"]["jobs"].values():
        for step in job["steps"]:
            assert "checkout" not in step.get("uses", "")
            assert "./" not in step.get("run", "")
            assert "${{" not in step.get("run", "")


def test_checkouts_keep_no_token_and_scripts_get_values_by_environment(
    workflows: dict[str, Json], action: Json
) -> None:
    checkouts = 0
    for name, step in steps(workflows, action):
        if step.get("uses", "").startswith("actions/checkout@"):
            checkouts += 1
            assert step["with"]["persist-credentials"] is False, name
        assert "${{" not in step.get("run", ""), name
    assert checkouts >= 6


def test_a_deployment_is_alone_and_never_ended_half_way(workflows: dict[str, Json], gitlab: Json) -> None:
    up = workflows["deploy-stack.yml"]["jobs"]["up"]
    assert up["concurrency"] == {"group": "up-${{ inputs.stack }}", "cancel-in-progress": False}
    assert up["needs"] == "plan"
    assert gitlab["up"]["resource_group"] == "$STACK"
    assert gitlab["default"]["interruptible"] is False
    assert all(rule["when"] == "manual" for rule in gitlab["up"]["rules"])


def test_pulumi_is_the_one_that_the_lock_has(root: Path, action: Json) -> None:
    [step] = [one for one in action["runs"]["steps"] if one.get("uses", "").startswith("pulumi/actions@")]
    locked = re.search(r"^pulumi==(\S+)", (root / "locks" / "up.txt").read_text(), re.MULTILINE)
    assert locked is not None
    assert step["with"]["pulumi-version"] == locked[1]
