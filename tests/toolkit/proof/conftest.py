"""The plans of all shipped stacks, once, as a proof takes them."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from berth.cli import proving
from berth.cli.console import Console
from berth.cli.previews import plan_offline
from berth.cli.stackfile import stack_names

if TYPE_CHECKING:
    from pathlib import Path

    from berth.operations.proof import Facts, Resource


@pytest.fixture(scope="session")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Resource]]:
    """Return the resources of every stack, planned where nothing was ever built or deployed."""
    home: Path = tmp_path_factory.mktemp("home")
    before = dict(os.environ)
    os.environ.update({"HOME": str(home), "BERTH_CACHE": str(home / "cache"), "BERTH_CLUSTER": "nonesuch"})
    try:
        reports = asyncio.run(plan_offline(stack_names(), Console(quiet=True)))
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert all(report.ok for report in reports)
    return {report.stack: proving.resources(report) for report in reports}


@pytest.fixture(scope="session")
def facts() -> Facts:
    """Return what our own parts export."""
    return proving.facts()
