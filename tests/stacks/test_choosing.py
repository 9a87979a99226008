"""Choosing an architecture: who fits, in which order, why not, and a stack file that is right."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth.cli import choose as command
from berth.cli import new as new_command
from berth.cli.app import cli
from berth_stacks.choosing import Option, compare, needs_of, read_needs
from berth_stacks.new import CannotError
from click.testing import CliRunner
from jsonschema import Draft202012Validator

if TYPE_CHECKING:
    from pathlib import Path

NEEDS: dict[str, Any] = {
    "model": "qwen2.5-7b-instruct",
    "load": {"requestsPerSecond": 2, "inputTokens": 1000, "outputTokens": 250},
    "ownAccelerators": {"nvidia-l40s": 4},
}


def options(folder: Path, **more: Any) -> dict[str, Option]:
    return {one.name: one for one in compare(needs_of({**NEEDS, **more}, "needs"), folder)}


def price(folder: Path, *machines: tuple[str, str, str, float]) -> None:
    """Fixtures: nobody asks these."""
    day = datetime.now(UTC).date().isoformat()
    listed = [
        {
            **dict(zip(("ground", "region", "machine"), where, strict=True)),
            "capacity": "on-demand",
            "usd_per_hour": usd,
            "source": "a fixture",
            "date": day,
        }
        for *where, usd in machines
    ]
    (folder / "prices.yaml").write_text(yaml.safe_dump({"prices": listed}))


def test_all_ways_fit_and_their_files_are_right(folder: Path, root: Path) -> None:
    found = options(folder)
    assert [*found] == ["own", "hybrid", "aws", "gcp", "sagemaker"]
    schema = Draft202012Validator(json.loads((root / "stacks" / "schema.json").read_text()))
    for one in found.values():
        assert one.fits, one
        assert one.unknown
        content = yaml.safe_load(one.text)
        assert not [*schema.iter_errors(content)]
        assert content["config"]["berth:models"]["chat"]["load"] == NEEDS["load"] | {"utilisation": 0.8}
    both = yaml.safe_load(found["hybrid"].text)["config"]
    assert [*both["berth:sites"]] == both["berth:models"]["chat"]["sites"]
    assert both["berth:models"]["chat"]["sites"][0] == "own"
    assert len(both["berth:sites"]) == 2
    front = both["berth:routers"]["front"]
    assert (front["site"], front["hybrid"]["sites"]) == ("own", [*both["berth:sites"]])
    assert front["hybrid"]["costCapPerHour"] == 10
    assert "costCapPerHour" in found["hybrid"].text.split("config:")[0]


def test_requests_that_may_not_leave_stay(folder: Path) -> None:
    found = options(folder, residency="own")
    assert {name for name, one in found.items() if one.fits} == {"own"}
    assert "no request may leave own hardware" in found["aws"].reasons
    assert found["aws"].text == ""


def test_without_own_hardware_only_clouds_fit(folder: Path) -> None:
    found = options(folder, ownAccelerators={}, clouds=["gcp"])
    assert {name for name, one in found.items() if one.fits} == {"gcp"}
    assert "there is no own hardware with room" in found["hybrid"].reasons
    assert "there is no account at aws" in found["sagemaker"].reasons


def test_own_hardware_that_is_too_small_is_helped_by_a_cloud(folder: Path) -> None:
    found = options(folder, ownAccelerators={"nvidia-l40s": 2})
    assert next(iter(found)) == "hybrid"
    assert "2 x nvidia-l40s are there, and 4 are needed at the most" in found["own"].reasons


def test_who_does_not_run_kubernetes_is_told(folder: Path) -> None:
    found = options(folder, operatesKubernetes=False)
    assert "nobody runs Kubernetes" in found["own"].reasons
    assert any("somebody has to know Kubernetes" in reason for reason in found["aws"].reasons)
    assert found["sagemaker"].fits


def test_the_cheapest_comes_first_and_the_budget_holds(folder: Path) -> None:
    """Own nodes at 2 and machines of AWS at 0.5 USD/h: 4 replicas and 6 system nodes are 3,650 a month."""
    aws = [("aws", "eu-central-1", name, 0.5) for name in ("g5.2xlarge", "g5.xlarge", "m6i.large")]
    price(folder, ("own", "own", "main", 2.0), *aws)
    found = options(folder)
    assert [*found][:2] == ["aws", "own"]
    assert found["aws"].usd_per_month == pytest.approx((4 * 0.5 * 730, 10 * 0.5 * 730))
    assert found["own"].usd_per_month == pytest.approx((10 * 730, 10 * 730))
    tight = options(folder, budgetPerMonth=5000)
    assert tight["aws"].fits
    assert "7,300 USD a month at the most; the budget is 5,000" in tight["own"].reasons


def test_a_model_too_large_for_what_is_there_is_out(folder: Path) -> None:
    found = options(folder, model="qwen2.5-72b-instruct", ownAccelerators={"nvidia-l4": 1})
    assert not found["own"].fits
    assert found["own"].reasons[1:]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"model": 1}, "needs: model"),
        ({"load": None}, "needs: load"),
        ({"x": 1}, "needs: x"),
        ({"clouds": ["azure"]}, "needs: clouds.0"),
        ({"ownAccelerators": {"nvidia-l99": 1}}, "ownAccelerators: is nvidia-l99; allowed: cpu,"),
        ({"ownAccelerators": {"nvidia-l4": 0.5}}, "ownAccelerators.nvidia-l4"),
        ({"budgetPerMonth": "much"}, "budgetPerMonth"),
    ],
)
def test_wrong_needs_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(CannotError) as caught:
        needs_of({**NEEDS, **wrong}, "needs")
    assert words in str(caught.value)


@pytest.fixture
def stacks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (command, new_command):
        monkeypatch.setattr(module, "STACKS", folder)
    return folder


def test_the_command_writes_what_it_says(stacks: Path, tmp_path: Path) -> None:
    file = tmp_path / "needs.yaml"
    file.write_text(yaml.safe_dump(NEEDS))
    done = CliRunner().invoke(cli, ["choose", str(file), "--write", "team-a"], standalone_mode=False)
    assert done.exception is None, done.output
    assert done.stdout.startswith("1. fits: own hardware, nvidia-l40s\n")
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80
    written = yaml.safe_load((stacks / "Pulumi.team-a.yaml").read_text())
    assert [*written["config"]["berth:sites"]] == ["own"]
    words = ["choose", str(file), "--write", "team-b", "--option", "gcp", "--json"]
    done = CliRunner().invoke(cli, words, standalone_mode=False)
    assert json.loads(done.stdout)[3]["stack"] == (stacks / "Pulumi.team-b.yaml").read_text()
    again = CliRunner().invoke(cli, ["choose", str(file), "--write", "team-a"], standalone_mode=False)
    assert "exists" in str(again.exception)


def test_where_nothing_fits_nothing_is_written(stacks: Path, tmp_path: Path) -> None:
    file = tmp_path / "needs.yaml"
    file.write_text(yaml.safe_dump({**NEEDS, "ownAccelerators": {}, "clouds": []}))
    done = CliRunner().invoke(cli, ["choose", str(file)], standalone_mode=False)
    assert done.return_value == 1
    words = ["choose", str(file), "--write", "team-a"]
    for more, said in (([], "nothing was written"), (["--option", "aws"], "there are: none")):
        done = CliRunner().invoke(cli, [*words, *more], standalone_mode=False)
        assert said in str(done.exception)
    assert not (stacks / "Pulumi.team-a.yaml").exists()


def test_wrong_words(stacks: Path) -> None:
    assert stacks.is_dir()
    done = CliRunner().invoke(cli, ["choose"], standalone_mode=False)
    assert "name a FILE" in str(done.exception)
    done = CliRunner().invoke(cli, ["choose", "--option", "aws"], standalone_mode=False)
    assert "--option goes with --write" in str(done.exception)


def test_answers_at_a_terminal_are_needs(stacks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stacks.is_dir()
    monkeypatch.setattr(command.sys, "stdin", type("Terminal", (), {"isatty": staticmethod(lambda: True)})())
    answers = iter(["qwen2.5-7b-instruct", 2.0, 1000, 250, "production", "nvidia-l40s=4", "aws", 9000.0])
    monkeypatch.setattr(command.click, "prompt", lambda *_, **__: next(answers))
    monkeypatch.setattr(command.click, "confirm", lambda *_, default=False, **__: default)
    found = command._asked()
    assert (found.own_accelerators, found.clouds, found.budget_per_month) == (
        {"nvidia-l40s": 4},
        ["aws"],
        9000,
    )
    assert found.operates_kubernetes
    assert found.residency == "anywhere"


def test_the_example_of_the_docs_is_compared(folder: Path, root: Path, tmp_path: Path) -> None:
    page = (root / "docs" / "choose.md").read_text()
    block = page.partition("```yaml\n")[2].partition("```")[0]
    file = tmp_path / "needs.yaml"
    file.write_text(block)
    shutil.copytree(root / "stacks" / "measurements", folder / "measurements")
    assert compare(read_needs(file), folder)[0].fits
    file.write_text("model: [")
    with pytest.raises(CannotError, match=r"needs\.yaml: cannot be read"):
        read_needs(file)
