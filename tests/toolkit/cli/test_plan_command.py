"""`berth plan`: every shipped stack, its exit codes, and what it says of wrong input."""

from __future__ import annotations

import json

import pytest
from berth.cli.app import cli
from click.testing import CliRunner

# What no source says: memory on Inferentia2 and on TPUs. Everything else of the shipped stacks fits.
OPEN = {("aws-prod", "aws/batch"), ("gcp-prod", "google/chat")}


@pytest.fixture(scope="module")
def plans() -> dict[str, dict[str, object]]:
    done = CliRunner().invoke(cli, ["plan", "--all", "--json"], standalone_mode=False)
    assert done.return_value == 3, done.output
    return {one["stack"]: one for one in json.loads(done.stdout)}


def test_shipped_stacks_fit_but_for_what_nobody_measured(plans: dict[str, dict[str, object]]) -> None:
    assert {"local", "onprem", "aws-dev", "aws-prod", "gcp-dev", "gcp-prod"} <= plans.keys()
    found = {
        (stack, section["subject"], check["status"])
        for stack, plan in plans.items()
        for section in plan["sections"]  # type: ignore[attr-defined] - JSON
        for check in section["checks"]
        if check["status"] != "passed"
    }
    assert found == {(*one, "unknown") for one in OPEN}


def test_every_figure_says_its_formula_and_constants_their_source(
    plans: dict[str, dict[str, object]],
) -> None:
    for plan in plans.values():
        for section in plan["sections"]:  # type: ignore[attr-defined] - JSON
            assert section["figures"]
            for figure in section["figures"]:
                assert figure["formula"]
                assert figure["low"] <= figure["value"] <= figure["high"]
                assert figure["sources"] or figure["formula"] != "measured" or figure["name"] == "base"


def test_one_page_of_80_columns() -> None:
    done = CliRunner().invoke(cli, ["plan", "aws-dev"], standalone_mode=False)
    assert done.return_value == 0
    assert done.stdout.startswith("aws-dev (development)\n")
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("words", [["plan"], ["plan", "aws-dev", "--all"], ["plan", "aws-devv"]])
def test_wrong_input_is_said(words: list[str]) -> None:
    done = CliRunner().invoke(cli, words, standalone_mode=False)
    assert type(done.exception).__name__ == "UserError"
    assert "aws-dev" in str(done.exception)
