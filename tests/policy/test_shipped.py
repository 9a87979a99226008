"""The shipped stacks break no rule; what is open is what policy/open-findings.yaml lists.

After a change that is meant:

    BERTH_UPDATE_OPEN_FINDINGS=1 .venv/bin/python -m pytest tests/policy/test_shipped.py
"""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import yaml
from berth_catalogue.planning import Range
from berth_planner.answers import ANSWERS, PRICES, Answer, read_answers, write_answers
from berth_planner.answers import folder as answers_folder
from berth_planner.capacity import offer_question, quota_question
from berth_planner.measurements import Measurement, Point
from berth_planner.prices import Price, write_asked
from berth_stacks.fleets import fleets
from berth_stacks.load import read
from berth_stacks.planned import asked, known_prices

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from berth_policy.testing import Given, Results

UPDATE = "BERTH_UPDATE_OPEN_FINDINGS"
HEAD = """\
# What only another place can answer, by stack and policy: exactly what `./berth policy --all` reports of the
# shipped stacks. A real run is refused while it is open (docs/stacks.md). After a change that is meant:
#
#     BERTH_UPDATE_OPEN_FINDINGS=1 .venv/bin/python -m pytest tests/policy/test_shipped.py

"""


def _found(message: str) -> str:
    """Which object, and what was found, of a message."""
    return message.split("\n")[1].rpartition("; wanted: ")[0]


def _open(results: Results) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in results:
        found.setdefault(one.policy, []).append(_found(one.message))
    return {policy: sorted(lines) for policy, lines in sorted(found.items())}


def test_no_rule_is_broken_and_what_is_open_is_listed(
    plans: dict[str, list[Given]], judge: Callable[..., Results], root: Path
) -> None:
    results = {stack: judge(resources, stack) for stack, resources in plans.items()}
    odd = [
        (stack, one.status, one.policy, one.message)
        for stack, found in results.items()
        for one in found
        if one.status != "violated" or not one.policy.startswith("open-") or one.level != "advisory"
    ]
    assert odd == []
    file = root / "policy" / "open-findings.yaml"
    listed = {stack: _open(found) for stack, found in results.items()}
    if os.environ.get(UPDATE):
        text = yaml.safe_dump(listed, sort_keys=False, allow_unicode=True, width=116)
        file.write_text(HEAD + text, encoding="utf-8")
    assert yaml.safe_load(file.read_text(encoding="utf-8")) == listed


def _fixtures(sites: dict[str, Any]) -> dict[str, str]:
    """Answers that are fixtures: no such image, account, project or key exists."""
    digest = "@sha256:" + "a" * 64
    roles = ("model-server", "engine-llama-cpp", "weights-smollm2", "metrics-adapter", "engine-vllm")
    roles += ("engine-vllm-neuron", "engine-vllm-tpu")
    roles += ("prometheus", "alertmanager", "node-exporter", "grafana", "kube-state-metrics")
    roles += ("dcgm-exporter", "collector")
    told = {"team": {"kind": "webhook"}}
    ways = {"egress": [{"cidr": "198.51.100.0/24", "port": 443}]}
    refs = {role: f"registry.example/{role}{digest}" for role in roles}
    refs["sagemaker-vllm"] = f"111122223333.dkr.ecr.eu-central-1.amazonaws.com/fixture{digest}"
    for site in sites.values():
        if "eks" in site:
            site["eks"]["adminArns"] = ["arn:aws:iam::111122223333:role/fixture"]
            site["eks"]["autoscaler"] = {"image": f"registry.example/autoscaler{digest}"}
            site["devicePlugins"] = {"neuron": {"image": f"registry.example/neuron{digest}"}}
        if "gke" in site:
            site["gke"] |= {"project": "fixture-project", "projectNumber": "111122223333"}
            for pool in site["pools"].values():
                if pool.get("capacity") == "reserved":
                    pool.setdefault("gke", {})["reservation"] = "fixture"
    return {
        "berth:images": json.dumps({"refs": refs}),
        "berth:apiKeys": json.dumps({"fixture": "0123456789abcdef-fixture"}),
        "berth:sites": json.dumps(sites),
        "berth:monitoring": json.dumps({"mode": "bundled", "receivers": told, "alertmanager": ways}),
        "berth:alertSecrets": json.dumps({"team": "https://fixture.example/hook"}),
        "berth:monitoringSecrets": json.dumps({"grafana": "0123456789abcdef-fixture"}),
    }


def _plannable(folder: Path, stack: str, config: dict[str, str]) -> None:
    """Prices, quotas, zones and measurements of everything that a stack runs: fixtures, nobody said so."""
    settings = read(folder, stack, config_of(folder, stack) | config).settings
    today = datetime.now(UTC).date()
    prices, answers = known_prices(folder), read_answers(answers_folder(folder) / ANSWERS)
    for fleet in fleets(settings):
        prices[fleet.key] = Price(1.0, "a fixture", today)
        if question := quota_question(fleet):
            unit = "instances" if fleet.key.machine.startswith("ml.") else "accelerators"
            answers[question] = Answer(1000, None, unit, ("fixture",), "a fixture", today)
        if question := offer_question(fleet):
            answers[question] = Answer(0, None, "", (*fleet.zones, "fixture"), "a fixture", today)
    write_answers(answers_folder(folder) / ANSWERS, answers)
    write_asked(answers_folder(folder) / PRICES, prices)
    (folder / "measurements").mkdir(exist_ok=True)
    for one in asked(settings):
        if one.load is None:
            continue
        rate = Range(one.load.requests_per_second, *[one.load.requests_per_second * 2] * 2)
        tokens = Range(*(value * one.load.output_tokens for value in (rate.low, rate.expected, rate.high)))
        quick = Range(0.1, 0.2, 0.3)
        point = Point(
            concurrency=one.slots,
            repeats=3,
            requests_per_second=rate,
            tokens_per_second=tokens,
            first_token_p50=quick,
            first_token_p95=quick,
        )
        made = Measurement(
            model=one.name,
            quantisation=one.quantised_as,
            engine=one.engine,
            version=one.version,
            accelerator=one.accelerator or "cpu",
            count=one.accelerators or one.cpus,
            machine="a fixture",
            input_tokens=one.load.input_tokens,
            output_tokens=one.load.output_tokens,
            points=(point,),
            memory_gib=None,
            load_seconds=None,
            day=today,
            source="a fixture",
        )
        name = f"{stack}-{one.subject.replace('/', '-')}.yaml"
        (folder / "measurements" / name).write_text(yaml.safe_dump(made.to_data()))


def config_of(folder: Path, stack: str) -> dict[str, str]:
    """A stack file's settings as Pulumi hands them to a program."""
    config = yaml.safe_load((folder / f"Pulumi.{stack}.yaml").read_text())["config"]
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}


# No source says what engines take on Inferentia2 and TPUs: a stack must go over those findings by name.
OVERRIDES = {"aws-prod": "aws/batch memory", "gcp-prod": "google/chat memory"}


def test_fixtures_clear_everything_that_is_open(
    planned: Callable[..., dict[str, list[Given]]],
    judge: Callable[..., Results],
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BERTH_ANSWERS", str(tmp_path / "answers"))
    folder = tmp_path / "stacks"
    shutil.copytree(root / "stacks", folder)
    pins = {
        "revision": "1" * 40,  # fixtures: no such revision, no such files
        "files": [{"path": "model.safetensors", "size": 1000, "sha256": "2" * 64}],
    }
    (folder / "weights").mkdir(exist_ok=True)
    for model, repo in (("qwen2.5-7b-instruct", "Qwen2.5-7B"), ("qwen2.5-72b-instruct", "Qwen2.5-72B")):
        text = yaml.safe_dump({"repo": f"Qwen/{repo}-Instruct", **pins})
        (folder / "weights" / f"{model}.yaml").write_text(text)
    stacks = ("onprem", "aws-prod", "gcp-prod")
    extra = {}
    for stack in stacks:
        config = yaml.safe_load((folder / f"Pulumi.{stack}.yaml").read_text())["config"]
        extra[stack] = _fixtures(config["berth:sites"])
        _plannable(folder, stack, extra[stack])
        if finding := OVERRIDES.get(stack):
            one = {"finding": finding, "reason": "a fixture", "expires": "2999-12-31"}
            extra[stack]["berth:overrides"] = json.dumps([one])
    for stack, resources in planned(stacks, extra, folder).items():
        left = [(one.policy, _found(one.message)) for one in judge(resources, stack)]
        (environment,) = [one for one in resources if one.type == "berth:stacks:Environment"]
        assert environment.inputs["cost"]["usdPerHourMost"] > 1
        if finding := OVERRIDES.get(stack):
            ((policy, found),) = left
            assert policy == "open-settings"
            assert f"{finding} is unknown, and gone over until 2999-12-31: a fixture" in found
        else:
            assert left == []
