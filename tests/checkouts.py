"""Copies of this checkout, whose stack files a test or a benchmark may change."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def copy_of(root: Path, folder: Path) -> Path:
    """Copy what a user has: neither history nor environments, caches and tests."""
    checkout = folder / "berth"
    ignored = shutil.ignore_patterns(".git", ".venv*", "__pycache__", ".*_cache", "tests")
    shutil.copytree(root, checkout, ignore=ignored)
    return checkout


def environment(checkout: Path, cluster: str) -> dict[str, str]:
    """What its command line runs with: this process's, its own rooms first, and its cluster."""
    rooms = [str(path.parent) for path in checkout.glob("*/pyproject.toml")]
    return {**os.environ, "BERTH_CLUSTER": cluster, "PYTHONPATH": os.pathsep.join(rooms)}
