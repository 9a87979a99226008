"""The stacks' manifests, and the judges, built on first use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from berth import judges

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the first of these tests time: it may build the judges while another process builds a cluster."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def manifests(previews: dict[str, dict[str, Any]]) -> list[judges.Manifest]:
    return [manifest for report in previews.values() for manifest in judges.manifests_of(report)]


@pytest.fixture(scope="session")
def program() -> Path:
    return judges.judge_program()


@pytest.fixture(scope="session")
def exceptions(root: Path) -> judges.Exceptions:
    return judges.read_exceptions(root / "policy" / "judges" / "exceptions.yaml")
