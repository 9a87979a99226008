"""`berth new`: what it makes previews as it is, on every ground."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth.cli import new as command
from berth.cli.new import new
from berth_catalogue.models import models
from berth_stacks.new import ENVIRONMENTS, GROUNDS, CannotError, Wish, choices, stack_text
from click.testing import CliRunner
from jsonschema import Draft202012Validator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CPU_MODEL = "smollm2-135m-instruct-q4_1"


@pytest.mark.parametrize("ground", GROUNDS)
def test_every_combination_is_right_or_refused_with_a_reason(load: Callable[..., Any], ground: Any) -> None:
    made, refused = 0, []
    for device in choices(ground):
        for model in models():
            for environment in ENVIRONMENTS:
                try:
                    text = stack_text(Wish(ground, model, device, environment))
                except CannotError as error:
                    refused.append(str(error))
                    continue
                settings = load(text, {}).settings
                assert settings.environment == environment
                made += 1
    assert made > 20
    assert all(re.search(r"no engine serves|GiB of weights|accelerator cpu|has no ", one) for one in refused)


@pytest.mark.parametrize(
    ("ground", "device", "model"),
    [
        ("own", "cpu", CPU_MODEL),
        ("own", "nvidia-l4", "qwen2.5-7b-instruct"),
        ("aws", "nvidia-l4", "qwen2.5-7b-instruct"),
        ("gcp", "nvidia-l4", "qwen2.5-7b-instruct"),
        ("sagemaker", "nvidia-l4", "qwen2.5-7b-instruct"),
    ],
)
def test_the_program_runs_what_it_makes(
    run: Callable[..., Any], ground: Any, device: str, model: str
) -> None:
    done = run(stack_text(Wish(ground, model, device, "production")), {}, "made", preview=True)
    assert len(done.resources) > 10
    kinds = {one.typ for one in done.resources}
    assert kinds & {"berth:model:ModelServer", "berth:aws:SageMakerEndpoint"}


@pytest.fixture
def stacks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(command, "STACKS", folder)
    return folder


def test_by_flags(stacks: Path, root: Path) -> None:
    flags = ["team-a", "--ground", "aws", "--accelerator", "nvidia-l40s", "--environment", "production"]
    done = CliRunner().invoke(new, flags)
    assert done.exit_code == 0, done.output
    content = yaml.safe_load((stacks / "Pulumi.team-a.yaml").read_text())
    assert content["config"]["berth:sites"]["aws"]["pools"]["main"]["accelerator"] == "nvidia-l40s"
    assert Draft202012Validator(yaml.safe_load((root / "stacks/schema.json").read_text())).is_valid(content)
    again = CliRunner().invoke(new, flags)
    assert "exists" in str(again.exception)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["x"], "--ground is missing; one of aws, gcp, own, sagemaker"),
        (["x", "--ground", "asw"], "did you mean 'aws'"),
        (["x", "--ground", "aws", "--accelerator", "nvidia-l5"], "did you mean 'nvidia-l4"),
        (
            ["x", "--ground", "aws", "--accelerator", "google-tpu-v6e"],
            "allowed there: aws-inferentia2, ",
        ),
        (
            ["x", "--ground", "aws", "--model", "smollm2-135m-instruct-q4_1"],
            "allowed there: qwen2.5",
        ),
        (["x", "--ground", "aws", "--model", "qwen2.5-7b"], "did you mean 'qwen2.5-7b-instruct'"),
        (["X y", "--ground", "aws"], "is no name of a stack"),
        (["x", "--ground", "gcp", "--accelerator", "nvidia-l4", "--model", "qwen2.5-72b-instruct"], ""),
        (["x", "--ground", "aws", "--region", "ap-southeast-4"], "name another region"),
    ],
)
def test_what_cannot_be(stacks: Path, flags: list[str], words: str) -> None:
    done = CliRunner().invoke(new, flags)
    if words:
        assert words in str(done.exception)
        assert not list(stacks.glob("Pulumi.x*.yaml"))
