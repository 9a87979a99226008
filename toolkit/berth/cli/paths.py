"""Where things lie: this checkout, and the user's cache."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def cache_folder() -> Path:
    """Return the user's cache folder for Berth: `$BERTH_CACHE`, else the platform's."""
    named = os.environ.get("BERTH_CACHE")
    if named:
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).absolute() if base else Path.home() / ".cache") / "berth"


def log_folder() -> Path:
    """Return the folder of Berth's logs, made if need be."""
    folder = cache_folder() / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cluster_name() -> str:
    """Return the name of the local cluster that stacks and commands mean: `$BERTH_CLUSTER`, else `berth`."""
    return os.environ.get("BERTH_CLUSTER") or "berth"
