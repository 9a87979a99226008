"""Another revision of this checkout, as a git worktree in the cache that lasts as long as it is used."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from berth.cli.errors import UserError
from berth.cli.paths import ROOT, cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHORT = 10  # characters of a commit
# A hook of the user's own, that calls us, may have set them for another worktree.
_NOT_FOR_GIT = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR"})
# Nothing of the user's runs because of a worktree that only we look at.
_QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "advice.detachedHead=false")


@dataclass(frozen=True)
class Checkout:
    """A revision on disk: its folder, and how people name it."""

    root: Path
    name: str
    changed: tuple[str, ...] = ()  # paths that differ here, new files that git does not know yet included

    @property
    def rooms(self) -> tuple[Path, ...]:
        """The folders that hold its own packages; first on a program's path, they hide the installed ones."""
        return tuple(sorted({found.parent.parent for found in self.root.glob("*/berth*/__init__.py")}))


def _git(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in _NOT_FOR_GIT}
    try:
        return subprocess.run(
            ["git", *_QUIET, "-C", str(ROOT), *words],
            capture_output=True,
            text=True,
            check=False,
            env={**environment, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise UserError("--base needs git, which is not installed; or compare by --against") from None


def this_checkout() -> str:
    """How people name what is being reviewed: the commit, and whether more than that is in the files."""
    with contextlib.suppress(UserError):
        commit = _git("rev-parse", "--short=10", "HEAD").stdout.strip()
        if commit:
            changed = _git("status", "--porcelain", "--untracked-files=normal", "--", ".").stdout.strip()
            return f"{commit} with changes" if changed else commit
    return "this checkout"


@contextlib.contextmanager
def checked_out(revision: str) -> Iterator[Checkout]:
    """A revision in a folder of its own, removed at the end; what killed runs left is removed first.

    Raises:
        UserError: this is no git checkout, or has no such revision.
    """
    inside = _git("rev-parse", "--show-prefix")
    if inside.returncode:
        said = inside.stderr.strip().removeprefix("fatal: ")
        raise UserError(f"--base {revision}: {ROOT} is no git checkout ({said}); or compare by --against")
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    commit = found.stdout.strip()
    if not commit:
        raise UserError(
            f"--base {revision}: there is no such revision here. In a shallow clone, fetch it first: "
            f"git fetch --depth 1 origin {revision}, then --base FETCH_HEAD"
        )
    store = cache_folder() / "revisions"
    store.mkdir(parents=True, exist_ok=True)
    _sweep(store)
    folder = store / f"{commit[:_SHORT]}-{os.getpid()}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            made = _git("worktree", "add", "--detach", "--force", str(folder), commit)
            if made.returncode:
                raise UserError(f"--base {revision}: git could not check it out: {made.stderr.strip()}")
            listed = _git("diff", "--name-only", "--relative", "-z", commit, "--", ".").stdout
            listed += _git("ls-files", "--others", "--exclude-standard", "-z", "--", ".").stdout
            short = commit[:_SHORT]
            name = short if commit.startswith(revision) else f"{revision} ({short})"
            changed = tuple(path for path in listed.split("\0") if path)
            yield Checkout(folder / inside.stdout.strip(), name, changed)
        finally:
            _remove(folder)


def _sweep(store: Path) -> None:
    """Remove what runs left that were killed: their locks are free."""
    for path in store.glob("*.lock"):
        with contextlib.suppress(OSError), path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(path.with_suffix(""))


def _remove(folder: Path) -> None:
    """Remove a worktree, also from the repository that it is of, which may be another checkout's."""
    with contextlib.suppress(OSError):
        pointer = (folder / ".git").read_text().removeprefix("gitdir:").strip()
        if Path(pointer).parent.name == "worktrees":
            shutil.rmtree(pointer, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_suffix(".lock").unlink(missing_ok=True)
