"""`berth plan --ask` of an own cluster: accelerators that nobody else holds, kept for the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth.cli import stackfile
from berth.cli.app import cli
from berth.operations import inventory
from berth.operations.inventory import Holder, Inventory, Node, NotRead
from click.testing import CliRunner

if TYPE_CHECKING:
    from pathlib import Path

LABELS = {"nvidia.com/gpu.product": "NVIDIA-L4"}
GPU = "nvidia.com/gpu"
STACK = """
config:
  berth:environment: production
  berth:clients: {cidrs: [10.0.0.0/8]}
  berth:sites:
    own:
      cluster: {kubeconfig: a-fixture}
      pools:
        main:
          accelerator: nvidia-l4
          acceleratorsPerNode: 4
          max: 2
          labels: {nvidia.com/gpu.product: NVIDIA-L4}
  berth:models:
    chat:
      model: qwen2.5-7b-instruct
      sites: [own]
      pool: main
      engine:
        name: vllm
        resources: {cpuRequest: "4", memoryRequest: 16Gi, memoryLimit: 24Gi}
      concurrency: {slots: 8, maxConcurrentRequests: 128}
      tokens: {maxInput: 6144, maxTotal: 8192}
      autoscaling: {min: 2, max: 5}
"""


def node(name: str, gpus: int = 4, **more: Any) -> Node:
    about: dict[str, Any] = {"ready": True, "schedulable": True, "labels": LABELS, **more}
    return Node(name=name, kubelet="v1.35.0", taints=(), allocatable={GPU: gpus}, **about)


def holder(where: str, namespace: str, count: int) -> Holder:
    return Holder(node=where, namespace=namespace, pod="p", requested={GPU: count})


NODES = (node("a"), node("b"), node("c", labels={}), node("d", ready=False))


@pytest.fixture
def stacks(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "stacks"
    folder.mkdir()
    (tmp_path / "Pulumi.yaml").write_text((root / "Pulumi.yaml").read_text())
    (folder / "Pulumi.own.yaml").write_text(STACK)
    monkeypatch.setattr(stackfile, "ROOT", tmp_path)
    monkeypatch.setattr(stackfile, "STACKS", folder)
    monkeypatch.setattr("berth.cli.plan.STACKS", folder)
    monkeypatch.setenv("BERTH_ANSWERS", str(tmp_path / "answers"))
    return folder


@pytest.mark.parametrize(
    ("found", "status", "said"),
    [
        (Inventory("x", nodes=NODES, holders=(holder("a", "others", 3),)), "passed", "5 free of 8"),
        (Inventory("x", nodes=NODES, holders=(holder("a", "others", 4),)), "failed", "4 free of 8"),
        # What the stack itself holds is not taken from it.
        (Inventory("x", nodes=NODES, holders=(holder("a", "berth-own", 4),)), "passed", "8 free of 8"),
        (Inventory("x", nodes=NODES, not_read=(NotRead("pods", "refused"),)), "unknown", "was not asked"),
        (Inventory("x", not_read=(NotRead("cluster", "nobody listens"),)), "unknown", "was not asked"),
    ],
)
def test_free_accelerators_are_counted(
    stacks: Path, monkeypatch: pytest.MonkeyPatch, found: Inventory, status: str, said: str
) -> None:
    asked: list[str] = []

    async def inspect(kubeconfig: str, _context: str = "") -> Inventory:
        asked.append(kubeconfig)
        return found

    monkeypatch.setattr(inventory, "inspect", inspect)
    done = CliRunner().invoke(cli, ["plan", "own", "--ask", "--json"], standalone_mode=False)
    assert done.exception is None, done.exception
    assert asked == ["a-fixture"]
    (check,) = [
        one
        for section in yaml.safe_load(done.stdout)["sections"]
        for one in section["checks"]
        if one["finding"] == "own/main free"
    ]
    assert check["status"] == status
    assert said in check["found"]
    if status == "unknown":
        assert "nobody can say what is free in own/main" in done.stderr
    assert (stacks.parent / "answers" / "answers.json").exists()
