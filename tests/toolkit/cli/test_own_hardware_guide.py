"""The guide for own hardware: its stack file is valid, its commands exist."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml
from berth.cli import stackfile
from berth.cli.app import COMMANDS
from berth.cli.asking import looks
from berth.cli.stackfile import find_stack, request_for

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def guide(root: Path) -> str:
    return (root / "docs/guides/own-hardware.md").read_text()


def test_its_stack_file_is_valid(
    guide: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "stacks").mkdir()
    (tmp_path / "Pulumi.yaml").write_text((root / "Pulumi.yaml").read_text())
    (tmp_path / "stacks/Pulumi.onprem.yaml").write_text(block)
    monkeypatch.setattr(stackfile, "ROOT", tmp_path)
    monkeypatch.setattr(stackfile, "STACKS", tmp_path / "stacks")
    (look,) = looks(request_for(find_stack("onprem"), {}, {}))
    (pool,) = look.asked.pools
    assert pool.node_selector == {"nvidia.com/gpu.product": "NVIDIA-L4"}
    assert pool.nodes * pool.per_node == 8
    (model,) = look.asked.models
    assert model.replicas * model.accelerators <= pool.nodes * pool.per_node
    assert list(yaml.safe_load(block)) == ["config"]


def test_its_commands_exist(guide: str) -> None:
    named = set(re.findall(r"\./berth ([a-z]+)", guide))
    assert named == {"doctor", "down", "images", "key", "plan", "preview", "up"}
    assert named <= set(COMMANDS)
