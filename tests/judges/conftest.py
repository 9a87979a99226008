"""The stacks' manifests, and the judges, built on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from berth import judges

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def manifests(previews: dict[str, dict[str, Any]]) -> list[judges.Manifest]:
    return [manifest for report in previews.values() for manifest in judges.manifests_of(report)]


@pytest.fixture(scope="session")
def program() -> Path:
    return judges.judge_program()


@pytest.fixture(scope="session")
def exceptions(root: Path) -> judges.Exceptions:
    return judges.read_exceptions(root / "policy" / "judges" / "exceptions.yaml")
