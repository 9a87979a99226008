"""The shipped stacks break no rule; what is open is what policy/open-findings.yaml lists.

After a change that is meant:

    BERTH_UPDATE_OPEN_FINDINGS=1 .venv/bin/python -m pytest tests/policy/test_shipped.py
"""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
    }


def test_fixtures_clear_everything_that_is_open(
    planned: Callable[..., dict[str, list[Given]]],
    judge: Callable[..., Results],
    root: Path,
    tmp_path: Path,
) -> None:
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
    for stack, resources in planned(stacks, extra, folder).items():
        left = {one.policy: one.message for one in judge(resources, stack)}
        assert set(left) <= {"open-price"}, left
