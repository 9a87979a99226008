"""The workflows as data, and the tools that check them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from berth.judges import judge_program
from berth.localcluster import tool_venv

Json = dict[str, Any]


HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the first of these tests time: it may build the judges while another process builds a cluster."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(1800))


@dataclass(frozen=True)
class Tools:
    """Programs that check workflows."""

    venv: Path
    actionlint: Path

    def __getitem__(self, name: str) -> Path:
        return self.venv / "bin" / name


@pytest.fixture(scope="session")
def tools(root: Path) -> Tools:
    lock = root / "locks" / "tools" / "workflows.txt"
    return Tools(tool_venv("workflows", lock, expected_seconds=15), judge_program() / "actionlint")


@pytest.fixture(scope="session")
def workflows(root: Path) -> dict[str, Json]:
    """Each workflow by its file's name; the key `on` is a boolean to YAML 1.1."""
    files = sorted((root / ".github" / "workflows").glob("*.yml"))
    assert len(files) >= 6
    found = {}
    for file in files:
        read = yaml.safe_load(file.read_text())
        read["on"] = read.pop(True)
        found[file.name] = read
    return found


@pytest.fixture(scope="session")
def action(root: Path) -> Json:
    read: Json = yaml.safe_load((root / ".github" / "actions" / "cloud" / "action.yml").read_text())
    return read


@pytest.fixture(scope="session")
def gitlab(root: Path) -> Json:
    read: Json = yaml.safe_load((root / ".gitlab-ci.yml").read_text())
    return read
