"""`berth plan`: every shipped stack, its exit codes, and what it says of wrong input."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest
from berth.cli.app import cli
from berth.cli.plan import read_stack
from berth.cli.proving import quotas
from berth.cli.stackfile import find_stack
from berth_planner.answers import ANSWERS, Answer, Question, write_answers
from berth_planner.cost import cost
from berth_planner.prices import Price
from berth_stacks.fleets import fleets
from click.testing import CliRunner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Exactly what this machine cannot ask: no source says what engines take on Inferentia2 and TPUs, nobody
# measured these engines, and no cloud was asked for its quotas, zones and prices. Everything else passes.
OPEN = {
    "local": set[str](),
    "onprem": {"onprem/smollm2 replicas", "onprem/smollm2 price"},
    "aws-dev": {
        *("aws/chat replicas", "aws/chat quota", "aws/chat offer", "aws/system quota"),
        *("aws/chat price", "aws/system price"),
    },
    "aws-prod": {
        *("aws/batch memory", "aws/batch replicas", "aws/chat replicas", "sagemaker/chat replicas"),
        *("aws/chat quota", "aws/inferentia quota", "aws/system quota", "sagemaker/chat quota"),
        *("aws/chat offer", "aws/inferentia offer"),
        *("aws/chat price", "aws/inferentia price", "aws/system price", "sagemaker/chat price"),
    },
    "gcp-dev": {"google/chat replicas", "google/chat quota", "google/chat price", "google/system price"},
    "gcp-prod": {
        *("google/chat memory", "google/chat replicas", "google/large replicas", "google/chat quota"),
        *("google/chat price", "google/large price", "google/system price"),
    },
}
# Machines that the shipped stacks pay for: their prices are nobody's data.
MACHINES = {
    "aws-dev": {"aws/chat": (1, 2), "aws/system": (2, 4)},
    "aws-prod": {
        "aws/chat": (2, 6),
        "aws/inferentia": (2, 3),
        "sagemaker/chat": (2, 6),
        "aws/system": (3, 6),
    },
    "gcp-dev": {"google/chat": (1, 2), "google/system": (1, 2)},
    "gcp-prod": {"google/large": (1, 2), "google/chat": (2, 4), "google/system": (3, 6)},
    "onprem": {"onprem/smollm2": (2, 6)},
}


@pytest.fixture(scope="module", autouse=True)
def no_prices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERTH_ANSWERS", str(tmp_path_factory.mktemp("answers")))
        patch.setattr("berth_stacks.planned.PRICES_FILE", "no-such-file.yaml")
        yield


@pytest.fixture(scope="module")
def plans() -> dict[str, dict[str, object]]:
    done = CliRunner().invoke(cli, ["plan", "--all", "--json"], standalone_mode=False)
    assert done.return_value == 3, done.output
    return {one["stack"]: one for one in json.loads(done.stdout)}


def test_what_is_open_is_exactly_what_this_machine_cannot_ask(plans: dict[str, dict[str, object]]) -> None:
    assert OPEN.keys() <= plans.keys()
    found = {
        stack: {
            check["finding"]: check["status"]
            for section in plans[stack]["sections"]  # type: ignore[attr-defined] - JSON
            for check in section["checks"]
            if check["status"] != "passed"
        }
        for stack in OPEN
    }
    assert found == {stack: dict.fromkeys(sorted(keys), "unknown") for stack, keys in OPEN.items()}


def test_every_machine_is_priced_or_said_to_be_unknown(plans: dict[str, dict[str, object]]) -> None:
    """Sums wait for all of them; with prices they are machines times prices."""
    for name, machines in MACHINES.items():
        settings = read_stack(find_stack(name)).settings
        found = fleets(settings)
        assert {one.subject: (one.fewest, one.most) for one in found} == machines
        [section] = [one for one in plans[name]["sections"] if one["subject"] == "cost"]  # type: ignore[attr-defined] - JSON
        assert {check["status"] for check in section["checks"]} == {"unknown"}
        assert not section["figures"]
        today = date(2026, 11, 28)
        priced = cost(found, {one.key: Price(2.0, "a fixture", today) for one in found}, today)
        sums = {one.name: one.value for one in priced.figures}
        assert sums["at the fewest"] == pytest.approx(2 * sum(fewest for fewest, _ in machines.values()))
        assert sums["at the most"] == pytest.approx(2 * sum(most for _, most in machines.values()))
    assert "cost" not in {one["subject"] for one in plans["local"]["sections"]}  # type: ignore[attr-defined] - JSON


def test_every_figure_says_its_formula_and_constants_their_source(
    plans: dict[str, dict[str, object]],
) -> None:
    for plan in plans.values():
        for section in plan["sections"]:  # type: ignore[attr-defined] - JSON
            assert section["figures"] or section["unknown"] or section["checks"]
            for figure in section["figures"]:
                assert figure["formula"]
                assert figure["low"] <= figure["value"] <= figure["high"]
                assert figure["sources"] or figure["formula"] != "measured" or figure["name"] == "base"


def test_one_page_of_80_columns() -> None:
    done = CliRunner().invoke(cli, ["plan", "aws-dev"], standalone_mode=False)
    assert done.return_value == 3
    assert done.stdout.startswith("aws-dev (development)\n")
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("words", [["plan"], ["plan", "aws-dev", "--all"], ["plan", "aws-devv"]])
def test_wrong_input_is_said(words: list[str]) -> None:
    done = CliRunner().invoke(cli, words, standalone_mode=False)
    assert type(done.exception).__name__ == "UserError"
    assert "aws-dev" in str(done.exception)


def test_a_price_of_the_users_closes_what_was_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "prices.yaml"
    day = datetime.now(UTC).date().isoformat()
    file.write_text(
        "prices:\n  - {ground: own, region: onprem, machine: replica, capacity: on-demand, "
        f'usd_per_hour: 0.5, source: a fixture, date: "{day}"}}\n'
    )
    monkeypatch.setattr("berth_stacks.planned.PRICES_FILE", str(file))
    done = CliRunner().invoke(cli, ["plan", "onprem"], standalone_mode=False)
    assert done.return_value == 3, done.output  # nobody measured it
    assert "0 failed, 1 unknown" in done.stdout
    assert "at the fewest                 1.00 USD/h" in done.stdout
    assert "at the most, a month      2,190.00 USD" in done.stdout
    file.write_text("prices: 1")
    done = CliRunner().invoke(cli, ["plan", "onprem"], standalone_mode=False)
    assert type(done.exception).__name__ == "PlannerError"


def test_a_model_by_its_config(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(
        json.dumps(
            {
                "model_type": "llama",
                "num_hidden_layers": 32,
                "hidden_size": 4096,
                "intermediate_size": 14336,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "max_position_embeddings": 131072,
                "vocab_size": 128256,
                "torch_dtype": "bfloat16",
            }
        )
    )
    words = ["plan", "--config", str(file), "--on", "nvidia-l4", "--slots", "4", "--tokens", "4096"]
    done = CliRunner().invoke(cli, words, standalone_mode=False)
    assert done.return_value == 0, done.output
    assert "weights                      14.96 GiB" in done.stdout
    done = CliRunner().invoke(cli, [*words, "local"], standalone_mode=False)
    assert "--config FILE goes with --on" in str(done.exception)


@pytest.mark.parametrize(
    ("stack", "said"), [("aws-dev", "are there credentials"), ("gcp-dev", "$GOOGLE_API_KEY is not set")]
)
def test_a_cloud_that_cannot_be_asked_leaves_its_prices_unknown(
    stack: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    done = CliRunner().invoke(cli, ["plan", stack, "--ask"], standalone_mode=False)
    assert done.return_value == 3, done.output
    assert said in done.stderr


def test_a_proof_takes_the_quota_that_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """24 vCPUs of spot machines with 8 each."""
    monkeypatch.setenv("BERTH_ANSWERS", str(tmp_path))
    assert quotas("aws-dev") == {}
    question = Question("quota", "aws", "eu-central-1", "g6.2xlarge", "spot")
    day = datetime.now(UTC).date()
    answer = Answer(24, None, "vCPUs", ("All G and VT Spot Instance Requests",), "a fixture", day)
    write_answers(tmp_path / ANSWERS, {question: answer})
    (found,) = quotas("aws-dev").items()
    assert (found[0], found[1].nodes) == ("aws-chat", 3)
    assert "All G and VT Spot Instance Requests" in found[1].source
