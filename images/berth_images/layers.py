"""A layer: files with fixed owners, modes and times, written as the same bytes every time."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Protocol

from berth_images.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_MODE = 0o644
PROGRAM_MODE = 0o755
FOLDER_MODE = 0o755


@dataclass(frozen=True)
class Entry:
    """One path of a layer: a file (``source``), a symbolic link (``link``), or a folder (neither)."""

    mode: int
    source: bytes | Path | None = None
    link: str | None = None

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder."""
        return self.source is None and self.link is None

    @property
    def is_file(self) -> bool:
        """Whether this is a regular file."""
        return self.source is not None

    def read(self) -> bytes:
        """The content of a regular file."""
        if self.source is None:
            raise BuildError("only a regular file has content")
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


@dataclass
class Layer:
    """Paths without a leading slash, each with its entry. Parents appear by themselves."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def add_file(self, path: str, source: bytes | Path, *, program: bool = False) -> None:
        """Add a regular file, owned by root and writable by nobody else."""
        self.entries[_clean(path)] = Entry(PROGRAM_MODE if program else FILE_MODE, source=source)

    def add_link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self.entries[_clean(path)] = Entry(0o777, link=target)

    def add_folder(self, path: str, mode: int = FOLDER_MODE) -> None:
        """Add an empty folder; parents need not be added."""
        self.entries[_clean(path)] = Entry(mode)

    def files(self) -> Iterator[tuple[str, Entry]]:
        """The regular files, sorted by path."""
        return ((path, entry) for path, entry in sorted(self.entries.items()) if entry.is_file)

    def complete(self) -> dict[str, Entry]:
        """Every entry and every parent folder, sorted so that a parent comes before what it holds."""
        everything: dict[str, Entry] = {}
        for path, entry in self.entries.items():
            for parent in PurePosixPath(path).parents:
                if str(parent) != ".":
                    everything.setdefault(str(parent), self.entries.get(str(parent), Entry(FOLDER_MODE)))
            everything[path] = entry
        return dict(sorted(everything.items()))

    def extract(self, target: Path) -> None:
        """Unpack into an empty folder, as whoever runs this; for running what is inside."""
        for path, entry in self.complete().items():
            place = target / path
            if entry.is_folder:
                place.mkdir(exist_ok=True)
            elif entry.link is not None:
                place.symlink_to(entry.link)
            else:
                place.write_bytes(entry.read())
                place.chmod(entry.mode)


def _clean(path: str) -> str:
    cleaned = str(PurePosixPath(path.lstrip("/")))
    if cleaned == "." or ".." in PurePosixPath(cleaned).parts:
        raise BuildError(f"{path!r} is not a path inside an image")
    return cleaned


def header(path: str, entry: Entry, size: int) -> tarfile.TarInfo:
    """The tar header of an entry: owner 0:0, time 0, no names, nothing of this machine."""
    info = tarfile.TarInfo(path)
    info.mode = entry.mode
    if entry.is_folder:
        info.type = tarfile.DIRTYPE
    elif entry.link is not None:
        info.type = tarfile.SYMTYPE
        info.linkname = entry.link
    info.size = size
    return info


class _Writable(Protocol):
    def write(self, data: bytes, /) -> int: ...


class _Hashed:
    """A stream that tarfile writes to, which hashes and counts what passes."""

    def __init__(self, target: _Writable) -> None:
        self.digest = hashlib.sha256()
        self.size = 0
        self._target = target

    def write(self, data: bytes, /) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self._target.write(data)

    def tell(self) -> int:
        return self.size


def write_layer(layer: Layer, target: IO[bytes]) -> tuple[str, int]:
    """Write a layer as an uncompressed tar. Returns its SHA-256 as hex and its size in bytes."""
    hashed = _Hashed(target)
    # PAX is what OCI names; without times and names of its own it adds no header to short paths.
    with tarfile.open(fileobj=hashed, mode="w", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]  # tarfile needs write and tell only; its stub asks for a whole IO
        for path, entry in layer.complete().items():
            if isinstance(entry.source, Path):
                with entry.source.open("rb") as stream:
                    archive.addfile(header(path, entry, entry.source.stat().st_size), stream)
            elif entry.source is not None:
                archive.addfile(header(path, entry, len(entry.source)), io.BytesIO(entry.source))
            else:
                archive.addfile(header(path, entry, 0))
    return hashed.digest.hexdigest(), hashed.size
