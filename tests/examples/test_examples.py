"""The three programs of docs/compose.md do what it says, planned by the deployer without any cluster."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from berth.deployer import Report, Step

EXAMPLES = ("in-your-program", "own-node-pool", "own-engine")
CANARY = "0123456789abcdef0123456789abcdef"


def one(report: Report, kind: str, name: str = "") -> Step:
    found = [step for step in report.steps if step.type.endswith(f":{kind}") and name in step.name]
    assert len(found) == 1, [step.name for step in found]
    return found[0]


def container(report: Report, name: str) -> dict[str, Any]:
    spec = one(report, "Deployment").inputs["spec"]["template"]["spec"]
    both = [*spec["containers"], *spec["initContainers"]]
    (found,) = (each for each in both if each["name"] == name)
    return dict(found)


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_plans_without_a_cluster_and_keeps_its_key_secret(planned: Any, name: str) -> None:
    report = planned(name)
    assert report.ok, report.errors
    assert {step.op.value for step in report.changes} == {"create"}
    assert any(step.type == "berth:model:ModelServer" for step in report.steps)
    assert CANARY not in json.dumps(report.to_json())
    for step in report.steps:
        if step.type.startswith("kubernetes:") and step.custom:
            metadata = step.inputs["metadata"]
            cluster_wide = step.type.endswith((":Namespace", ":NodePool"))
            assert metadata["name"], step.urn
            assert cluster_wide or metadata["namespace"], step.urn


def test_a_foreign_program_uses_the_servers_outputs(planned: Any) -> None:
    report = planned("in-your-program", namespace="corner")
    settings = one(report, "ConfigMap", "settings")
    assert settings.inputs["metadata"]["namespace"] == "corner"
    assert settings.inputs["data"]["MODEL_URL"] == "http://assistant.corner-models.svc:80"
    policy = one(report, "NetworkPolicy", "assistant")
    assert '"corner"' in json.dumps(policy.inputs["spec"]["ingress"])
    assert settings.parent.endswith("::shop-dev")


def test_an_own_pool_places_pods_as_the_others_do(planned: Any) -> None:
    report = planned("own-node-pool")
    pool = one(report, "NodePool", "h100-nodes").inputs
    assert pool["spec"]["instanceType"] == "gd-8xh100ib-i128"
    assert (pool["spec"]["minNodes"], pool["spec"]["maxNodes"]) == (1, 4)
    pod = one(report, "Deployment").inputs["spec"]["template"]["spec"]
    assert pod["nodeSelector"].items() <= pool["spec"]["nodeLabels"].items()
    tolerated = {(each["key"], each["effect"]) for each in pod["tolerations"]}
    assert {(each["key"], each["effect"]) for each in pool["spec"]["nodeTaints"]} <= tolerated
    assert container(report, "engine")["resources"]["limits"]["nvidia.com/gpu"] in {8, "8"}
    assert report.outputs["replicasAtMost"] == 4


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"minNodes": "5"}, "argument 'min_nodes' is 5; allowed: at most max_nodes, 4"),
        ({"instanceType": ""}, "argument 'instance_type'"),
        ({"capacityType": "spot"}, "is 'spot'; allowed: one of on-demand, reserved"),
    ],
)
def test_an_own_pool_refuses_as_the_others_do(planned: Any, config: dict[str, str], text: str) -> None:
    report = planned("own-node-pool", **config)
    assert not report.ok
    assert text in report.errors[0].message
    assert "Traceback" not in report.errors[0].message


def test_an_own_engine_sets_the_images_start_and_budget(planned: Any) -> None:
    report = planned("own-engine")
    engine = container(report, "engine")
    assert engine["image"] == "registry.example.com/inference/vllm-tuned:2026.11"
    words = " ".join(engine["args"])
    assert "--gpu-memory-utilization 0.92" in words
    assert "--kv-cache-dtype fp8_e5m2" in words
    assert "--enable-prefix-caching" in words
    probe = engine["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 2 * 210
    assert report.outputs["engine"] == "vLLM with our kernels"


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_command_of_each_readme_works_as_written(root: Path, name: str) -> None:
    text = (root / "examples" / name / "README.md").read_text()
    (command,) = re.findall(r"^\.venv/bin/python -m berth\.deployer(?:.*\\\n)*.*$", text, re.MULTILINE)
    done = subprocess.run(
        shlex.split(command.replace("\\\n", " ")), cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "to create" in done.stdout


def test_the_code_of_the_page_runs(root: Path, tmp_path: Path) -> None:
    page = (root / "docs" / "compose.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "my-program").mkdir()
    (tmp_path / "my-program" / "__main__.py").write_text(
        "import pulumi_aws as aws\naws.cloudwatch.LogGroup('logs', name='/logs')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "logs:CreateLogGroup" in done.stdout


def test_the_page_names_every_example(root: Path) -> None:
    page = (root / "docs" / "compose.md").read_text()
    for name in EXAMPLES:
        assert f"examples/{name}" in page


def test_examples_are_linted(root: Path) -> None:
    """They are what teams copy; each is type-checked in its own folder by hand, which takes too long here."""
    command = [str(Path(sys.executable).with_name("ruff")), "check", str(root / "examples")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
