"""The cache on disk: written atomically, locked against a second build, pruned.

Layout below ``<user's cache>/images``::

    apt/        a package manager state of our own; the host's is never touched
    bases/      which Debian packages a base was resolved to      <key>.json
    debs/       those packages                                    *.deb
    wheels/     unpacked wheels                                   <key>/
    layers/     what a layer's inputs led to                      <key>.json
    blobs/      layers as uncompressed tar files                  <sha256>.tar
    compressed/ layers as a registry gets them                    <sha256>.tar.gz, .json
    images/     what an image's inputs led to                     <key>.json
    tars/       images that containerd, docker and podman load    <role>-<tag>.tar
    roots/      bases unpacked, whose Python writes byte code     <sha256>/
    work/       what is being made; without a meaning once the lock is free
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_READ_SIZE = 1 << 20


def cache_root() -> Path:
    """The user's cache folder of Berth: $BERTH_CACHE, else $XDG_CACHE_HOME/berth, else ~/.cache/berth."""
    if chosen := os.environ.get("BERTH_CACHE"):
        return Path(chosen).absolute()
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen).absolute() / "berth"
    return Path.home() / ".cache" / "berth"


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, as hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_READ_SIZE):
            digest.update(block)
    return digest.hexdigest()


def key_of(*parts: object) -> str:
    """A short name for a set of inputs; equal inputs give equal names on every machine."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Store:
    """One cache folder. Reading needs no lock; whoever writes holds ``lock()``."""

    root: Path

    @classmethod
    def default(cls) -> Store:
        """The store in the user's cache folder."""
        return cls(cache_root() / "images")

    def folder(self, name: str) -> Path:
        """The named part of the store, made if absent."""
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextlib.contextmanager
    def lock(self, progress: Callable[[str], None] | None = None) -> Iterator[None]:
        """Keep every other build out, in this process or another; leftovers of a killed one are removed."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("a+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if progress is not None:
                    stream.seek(0)
                    progress(
                        f"waiting for another image build (process {stream.read().strip() or 'unknown'})"
                    )
                fcntl.flock(stream, fcntl.LOCK_EX)
            stream.truncate(0)
            stream.write(str(os.getpid()))
            stream.flush()
            shutil.rmtree(self.root / "work", ignore_errors=True)
            yield

    @contextlib.contextmanager
    def work(self) -> Iterator[Path]:
        """A folder of this build's own; call it under the lock."""
        with tempfile.TemporaryDirectory(dir=self.folder("work")) as name:
            yield Path(name)

    def read_record(self, kind: str, key: str, *, touch: bool = True) -> dict[str, Any] | None:
        """What was written under this key, or None where it is absent or unreadable."""
        path = self.root / kind / f"{key}.json"
        try:
            record = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return None
        with contextlib.suppress(OSError):
            if touch:
                os.utime(path)  # pruning goes by last use; on a read-only cache there is nothing to prune
        return record if isinstance(record, dict) else None

    def write_record(self, kind: str, key: str, record: dict[str, Any]) -> None:
        """Write a record so that a reader sees the old one or the new one, never a part."""
        target = self.folder(kind) / f"{key}.json"
        write_atomically(target, json.dumps(record, indent=1, sort_keys=True).encode())


def write_atomically(target: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def move_into_place(made: Path, target: Path) -> None:
    """Give a finished file its name; its bytes are on disk first, so a crash leaves no short file behind."""
    with made.open("rb") as stream:
        os.fsync(stream.fileno())
    made.replace(target)


def remove_older(folder: Path, keep: frozenset[str], *, days: float) -> None:
    """Remove entries that are not named in ``keep`` and were not used for that many days."""
    if not folder.is_dir():
        return
    horizon = time.time() - days * 86400
    for entry in folder.iterdir():
        if entry.name in keep:
            continue
        with contextlib.suppress(OSError):
            if entry.stat().st_mtime > horizon:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
