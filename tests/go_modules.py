"""Sources of Go modules that tests and benchmarks read: fetched once, as a go.sum here pins them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from berth.localcluster import SILENT, Progress, cache_folder
from berth.localcluster.gobuild import GoModule
from berth.localcluster.locks import locked
from berth.localcluster.toolchain import ensure_go


def fetched(module: str, pins: Path, *, name: str, within: str = ".", progress: Progress = SILENT) -> Path:
    """Return a folder of a module, in the cache, as `pins`/go.mod and its go.sum name it.

    Args:
        module: its path.
        pins: the folder with go.mod and go.sum.
        name: what it is called in the cache, and to people.
        within: the folder of the module that is kept.
        progress: hears about it.

    Raises:
        BuildError: it cannot be had, or is another one than go.sum says.
    """
    [version] = [line.split()[-1] for line in (pins / "go.mod").read_text().splitlines() if module in line]
    target = cache_folder() / "sources" / f"{name}-{version}"
    if target.is_dir():
        return target
    doing = f"fetching {name}"
    with locked(target.parent / f".{name}.lock", doing, wait_seconds=600), progress.step(doing, 10) as step:
        if target.is_dir():
            return target
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            source = GoModule(ensure_go(progress), pins, scratch)
            source.run(["mod", "download", module], step, lambda _: doing)
            copy = Path(scratch, name)
            # The module cache is read-only, and a copy of its permissions would be too.
            shutil.copytree(source.folder_of(module) / within, copy, copy_function=shutil.copyfile)
            for path in (copy, *copy.rglob("*")):
                path.chmod(0o755 if path.is_dir() else 0o644)
            copy.rename(target)
    return target
