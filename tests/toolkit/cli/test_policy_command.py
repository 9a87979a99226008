"""`berth policy`: what it prints, and its exit code, which a pipeline goes by."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from berth.cli import policy
from berth.cli.app import cli
from berth.cli.policy import Verdict
from berth.deployer import Diagnostic, PolicyInfo, PolicyPackRun, PolicyResult, Report
from click.testing import CliRunner

if TYPE_CHECKING:
    from pathlib import Path

PACK = """
from pulumi_policy import *
def finds(args, report):
    if args.resource_type == "kubernetes:apps/v1:Deployment":
        report(args.name)
def quiet(args, report):
    pass
PolicyPack("mine", [
    ResourceValidationPolicy("open-ends", "What is open.", finds, EnforcementLevel.ADVISORY),
    ResourceValidationPolicy("closed", "What is shut.", quiet, EnforcementLevel.MANDATORY),
])
"""


def result(policy: str, level: str, status: str) -> PolicyResult:
    return PolicyResult("mine", policy, level, status, "urn:pulumi:s::p::a:b:C::d", "said")


@pytest.mark.parametrize(
    ("environment", "results", "state"),
    [
        ("production", [], "clean"),
        ("production", [("open-digest", "advisory", "violated")], "open"),
        ("production", [("other", "advisory", "violated")], "clean"),
        ("local", [("rule", "mandatory", "violated"), ("open-digest", "advisory", "violated")], "failed"),
        ("local", [("open-digest", "mandatory", "violated")], "failed"),
        ("local", [("open-digest", "advisory", "broken")], "failed"),
        ("local", [("rule", "advisory", "broken")], "failed"),
        ("production", [("rule", "mandatory", "unevaluated")], "failed"),
        ("development", [("rule", "mandatory", "unevaluated")], "clean"),
        ("production", [("rule", "advisory", "unevaluated")], "clean"),
        ("production", [("rule", "mandatory", "remediated")], "clean"),
    ],
)
def test_the_verdict(environment: str, results: list[tuple[str, str, str]], state: str) -> None:
    found = tuple(result(*one) for one in results)
    ok = not any(one.fails for one in found)
    report = Report("preview", "p", "s", ok=ok, policy_results=found)
    assert Verdict(environment, report).state == state


def test_a_pack_or_a_program_that_failed_is_no_clean_stack() -> None:
    broken = PolicyPackRun("mine", "1", (PolicyInfo("rule", "mandatory"),), error="it did not serve")
    said = [Diagnostic("error", "policy pack 'mine' did not run", code="policy")]
    report = Report("preview", "p", "s", ok=False, policy_packs=(broken,), diagnostics=said)
    assert Verdict("local", report).state == "failed"
    crashed = Report("preview", "p", "s", ok=False, diagnostics=[Diagnostic("error", "boom")])
    assert Verdict("local", crashed).to_json()["errors"] == ["boom"]


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "PulumiPolicy.yaml").write_text("runtime: python\nversion: 2.0.0\n")
    (folder / "__main__.py").write_text(PACK)
    return folder


def berth(*words: str) -> Any:
    return CliRunner().invoke(cli, words)


def test_json_and_the_exit_code_of_open_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    async def planned(names: list[str], *_: Any) -> list[Report]:
        pack = PolicyPackRun("mine", "1", (PolicyInfo("open-ends", "advisory"),), 7)
        said = (result("open-ends", "advisory", "violated"),)
        return [
            Report("preview", "p", name, policy_packs=(pack,), policy_results=said * (name == "onprem"))
            for name in names
        ]

    monkeypatch.setattr(policy, "plan_offline", planned)
    done = berth("policy", "onprem", "local", "--json")
    assert done.exit_code == 3, done.output
    document = json.loads(done.stdout)
    assert document["state"] == "open"
    found = [(one["stack"], one["environment"], one["state"]) for one in document["stacks"]]
    assert found == [("onprem", "production", "open"), ("local", "local", "clean")]
    assert document["stacks"][0]["policyResults"][0]["policy"] == "open-ends"
    assert document["stacks"][0]["policyPacks"][0]["analyzed"] == 7
    assert berth("policy", "local").exit_code == 0


def test_levels_of_a_file_decide_and_the_text_is_narrow(pack: Path, tmp_path: Path) -> None:
    levels = tmp_path / "levels.json"
    levels.write_text('{"open-ends": "mandatory"}')
    done = berth("policy", "onprem", "--pack", str(pack), "--config", str(levels))
    assert done.exit_code == 1, done.output
    assert "violated: open-ends (mandatory)" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "2 policies over" in done.stdout
    *_, head, row = done.stdout.splitlines()
    assert head.split()[0] == "stack"
    assert row.split()[0] == "onprem"
    assert row.endswith("failed")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("policy",), "name stacks, or --all of them"),
        (("policy", "local", "--all"), "name stacks, or --all of them"),
        (("policy", "lokal"), "Did you mean 'local'?"),
        (("policy", "local", "--pack", "/nowhere"), "is no policy pack"),
        (("policy", "local", "--config", "/nowhere"), "/nowhere does not exist"),
        (("policy", "local", "--policy-seconds", "0"), "--policy-seconds"),
        (("preview", "local", "--policy-pack", "docs"), "is no policy pack"),
        (
            ("preview", "local", "--policy-pack-config", "x.json"),
            "is given 1 times and --policy-pack 0 times",
        ),
        (("up", "local", "--policy-pack", "docs"), "is no policy pack"),
    ],
)
def test_wrong_input_names_what_is_wrong(words: tuple[str, ...], said: str) -> None:
    done = berth(*words)
    assert done.exit_code != 0
    assert said in f"{done.output} {done.exception}"
