"""Tools from PyPI that need an environment of their own, made once, into the user's cache.

Their dependencies clash with ours, or they are needed on few machines. Each has a hashed lock; the
environment is keyed by it and becomes visible by one file that is written last.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from pathlib import Path

from .commands import CommandError, run
from .errors import DownloadError
from .locks import locked
from .paths import cache_folder
from .progress import SILENT, Progress

_PRUNE_AFTER_SECONDS = 14 * 24 * 3600
_MADE = ".made"


def tool_venv(name: str, lock: Path, *, expected_seconds: float, progress: Progress = SILENT) -> Path:
    """Return the environment (its programs lie in ``bin``) with exactly what ``lock`` pins, hashes checked.

    It lies in ``venvs/<name>-<key>`` of the cache, made with the Python that runs this.

    Raises:
        DownloadError: it is needed, and PyPI could not be reached.
    """
    key = hashlib.sha256(f"{sys.version}\0".encode() + lock.read_bytes()).hexdigest()[:16]
    store = cache_folder() / "venvs"
    venv = store / f"{name}-{key}"
    if (venv / _MADE).exists():
        return venv
    doing = f"installing {name} from PyPI"
    with locked(store / f".{name}.lock", doing, wait_seconds=1800), progress.step(doing, expected_seconds):
        if (venv / _MADE).exists():
            return venv
        try:
            install_locked(venv, lock)
        except CommandError as error:
            shutil.rmtree(venv, ignore_errors=True)
            raise DownloadError(
                f"{name} could not be installed from PyPI: {error}\nGo online, and start again."
            ) from None
        (venv / _MADE).touch()
        for old in store.glob(f"{name}-*"):
            # Another checkout may use an older one still.
            if old != venv and time.time() - old.stat().st_mtime > _PRUNE_AFTER_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
    return venv


def install_locked(venv: Path, lock: Path) -> None:
    """Make ``venv`` anew with what ``lock`` pins: by uv, or pip, which is slower. Raises `CommandError`."""
    shutil.rmtree(venv, ignore_errors=True)
    env = dict(os.environ)
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if uv:
        run(uv, "venv", "--quiet", "--no-project", "--python", sys.executable, venv, env=env, timeout=120)
        pip: tuple[str | Path, ...] = (uv, "pip", "install", "--quiet", "--python", venv / "bin" / "python")
    else:
        run(sys.executable, "-m", "venv", venv, env=env, timeout=120)
        pip = (venv / "bin" / "python", "-m", "pip", "install", "--quiet")
    run(
        *pip, "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", lock, env=env, timeout=900
    )  # fmt: skip
