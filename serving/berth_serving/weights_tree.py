"""Weights of many files: brought, or found on a volume, and compared with a manifest either way.

One folder holds one commit. What it holds is brought by one fetcher at a time: a lock that ends with its
process lets the others wait and then find everything there. A file becomes visible when its digest was right;
what is half brought is kept under its digest, and goes on where it stopped. When all is there a marker is
written, last, with the manifest's digest and each file's size and time of change: as long as they are the
same, the next start reads no file again.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import stat
import time
from typing import TYPE_CHECKING, Protocol

from berth_serving.hub import Hub, HubError
from berth_serving.manifest import Manifest, ManifestError, ManifestFile, parse_manifest
from berth_serving.object_store import SCHEMES, ObjectStore
from berth_serving.oci_artifact import OciArtifact
from berth_serving.weights_settings import (
    MANIFEST_BESIDE,
    OCI_SOURCE,
    VOLUME_SOURCE,
    TreeError,
    TreeSettings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = logging.getLogger("berth.weights")

MARKER = ".berth-complete"
_MOST_MANIFEST = 16_000_000
_PARTS = ".berth-parts"
_AT_ONCE = 4
_CHUNK = 4 * 1024 * 1024
_SPARE_BYTES = 64 * 1024 * 1024
_MOST_HEADER = 100_000_000
# What an engine might run, or unpickle, if it lay beside the weights.
_DANGEROUS = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth", ".py", ".so")


class _StoppedError(Exception):
    """Another file failed, so this one is not needed any more."""


class _Source(Protocol):
    """Where bytes come from."""

    def read(self, path: str, sha256: str, start: int) -> Iterator[bytes]:
        """The bytes of a file from an offset on; raises `HubError`."""


class _HubFiles:
    """A commit of a hub's repository."""

    def __init__(self, hub: Hub, manifest: Manifest) -> None:
        self._hub = hub
        self._manifest = manifest

    def read(self, path: str, sha256: str, start: int) -> Iterator[bytes]:
        """See `_Source`."""
        del sha256
        return self._hub.read(self._manifest.repo, self._manifest.revision, path, start)


def _source(settings: TreeSettings, manifest: Manifest, deadline: float) -> _Source:
    if settings.source == OCI_SOURCE:
        return OciArtifact(settings.url, docker_config=settings.docker_config, deadline=deadline)
    if settings.source in SCHEMES:
        return _store(settings, deadline)
    return _HubFiles(Hub(settings.hub, token=_token(settings), deadline=deadline), manifest)


def _store(settings: TreeSettings, deadline: float) -> ObjectStore:
    return ObjectStore(
        settings.source,
        settings.url,
        endpoint=settings.endpoint,
        anonymous=settings.anonymous,
        deadline=deadline,
    )


def bring(settings: TreeSettings) -> Path:
    """Bring the files, or verify that they are there; the folder that they have.

    Raises:
        TreeError: no space, no such file, a wrong digest, no permission. Nothing wrong is visible then.
    """
    manifest = _manifest(settings)
    target = settings.root / settings.folder
    try:
        if settings.source == VOLUME_SOURCE:
            return _found(settings, manifest, target)
        settings.root.mkdir(parents=True, exist_ok=True)
        with _alone(settings):
            if _is_complete(target, manifest):
                log.info("weights already there", extra={"folder": str(target)})
                return target
            _fetch(settings, manifest, target)
    except HubError as error:
        raise TreeError(str(error)) from None
    except OSError as error:
        raise TreeError(_in_words(error, settings)) from None
    return target


def _in_words(error: OSError, settings: TreeSettings) -> str:
    if error.errno == errno.ENOSPC:
        return f"{settings.root}: no space left; give the volume a larger size"
    return (
        f"{error.filename or settings.root}: {error.strerror}; BERTH_WEIGHTS_DIR={str(settings.root)!r} "
        f"must be a folder that this user may {'read' if settings.source == VOLUME_SOURCE else 'write to'}"
    )


def _manifest(settings: TreeSettings) -> Manifest:
    where = str(settings.manifest or f"{settings.url or settings.root / settings.folder}/{MANIFEST_BESIDE}")
    try:
        body = _manifest_bytes(settings)
        found = hashlib.sha256(body).hexdigest()
        if settings.manifest_sha256 not in {"", found}:
            raise TreeError(
                f"{where}: SHA-256 is {found}, wanted {settings.manifest_sha256} "
                "(BERTH_WEIGHTS_MANIFEST_SHA256); `berth weights manifest` writes the one that is wanted"
            )
        return parse_manifest(body, where)
    except (ManifestError, HubError) as error:
        raise TreeError(str(error)) from None
    except OSError as error:
        raise TreeError(
            f"BERTH_WEIGHTS_MANIFEST={where!r}: {error.strerror}; `berth weights manifest` writes it"
        ) from None


def _manifest_bytes(settings: TreeSettings) -> bytes:
    if settings.manifest is not None:
        return settings.manifest.read_bytes()
    if settings.source == VOLUME_SOURCE:
        return (settings.root / settings.folder / MANIFEST_BESIDE).read_bytes()
    store = _store(settings, time.monotonic() + settings.seconds)
    body = b""
    for piece in store.read(MANIFEST_BESIDE, settings.manifest_sha256, 0):
        body += piece
        if len(body) > _MOST_MANIFEST:
            raise TreeError(f"{settings.url}/{MANIFEST_BESIDE}: more than {_MOST_MANIFEST} bytes")
    return body


def _token(settings: TreeSettings) -> str:
    if settings.token_file is None:
        return ""
    try:
        token = settings.token_file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise TreeError(f"BERTH_WEIGHTS_TOKEN_FILE={str(settings.token_file)!r}: cannot be read") from None
    if not token or not token.isprintable() or " " in token:
        raise TreeError(f"BERTH_WEIGHTS_TOKEN_FILE={str(settings.token_file)!r}: holds no token, one word")
    return token


@contextlib.contextmanager
def _alone(settings: TreeSettings) -> Iterator[None]:
    """Hold the folder's lock; it ends with the process, however that ends."""
    path = settings.root / f".{settings.folder.replace('/', '--')}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another fetcher brings these weights; waiting", extra={"folder": settings.folder})
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_complete(target: Path, manifest: Manifest) -> bool:
    """Whether the marker is of this manifest, and nothing changed since it was written."""
    try:
        marked = json.loads((target / MARKER).read_bytes())
    except (OSError, ValueError):
        return False
    if not isinstance(marked, dict) or marked.get("manifest") != manifest.digest:
        return False
    return marked.get("files") == _state(target, manifest)


def _state(target: Path, manifest: Manifest) -> dict[str, list[int]] | None:
    """Size and time of change of every file; None where one is missing or is no plain file."""
    found: dict[str, list[int]] = {}
    for file in manifest.files:
        try:
            there = os.lstat(target / file.path)
        except OSError:
            return None
        if not stat.S_ISREG(there.st_mode):
            return None
        found[file.path] = [there.st_size, there.st_mtime_ns]
    return found


def _fetch(settings: TreeSettings, manifest: Manifest, target: Path) -> None:
    began = time.monotonic()
    _plain_folder(settings.root, target)
    parts = target / _PARTS
    parts.mkdir(exist_ok=True)
    (target / MARKER).unlink(missing_ok=True)
    _remove_strangers(target, manifest)
    missing = [file for file in manifest.files if not _is_right(target / file.path, file)]
    _check_space(settings, parts, missing)
    source = _source(settings, manifest, began + settings.seconds)
    fetcher = _Fetcher(source, manifest, target, parts)
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        jobs = [pool.submit(fetcher.bring, file) for file in missing]
        done, _ = concurrent.futures.wait(jobs, return_when=concurrent.futures.FIRST_EXCEPTION)
        fetcher.stopped = any(job.exception() for job in done)
    failures = [error for job in jobs if (error := job.exception()) is not None]
    if failures:
        # The others ended because one failed: its reason is the one to tell.
        raise next((error for error in failures if not isinstance(error, _StoppedError)), failures[0])
    for left in parts.iterdir():
        left.unlink()
    parts.rmdir()
    _mark(target, manifest)
    log.info(
        "weights fetched",
        extra={
            "folder": str(target),
            "files": len(missing),
            "bytes": sum(file.size for file in missing),
            "seconds": round(time.monotonic() - began, 3),
        },
    )


def _plain_folder(root: Path, target: Path) -> None:
    """Make the folder; on the way to it no link leads elsewhere."""
    where = root
    for name in target.relative_to(root).parts:
        where /= name
        if where.is_symlink():
            where.unlink()
        where.mkdir(exist_ok=True)


def _remove_strangers(target: Path, manifest: Manifest) -> None:
    """Remove what the manifest does not name: an engine loads what it finds."""
    wanted = {target / file.path for file in manifest.files}
    for path in sorted(target.rglob("*"), reverse=True):
        if path == target / _PARTS or target / _PARTS in path.parents or path in wanted:
            continue
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        elif not any(path in one.parents for one in wanted):
            path.rmdir()  # deepest first, so it is empty


def _is_right(path: Path, file: ManifestFile) -> bool:
    try:
        there = os.lstat(path)
    except OSError:
        return False
    if not stat.S_ISREG(there.st_mode) or there.st_size != file.size:
        return False
    return _digest(path) == file.sha256


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_space(settings: TreeSettings, parts: Path, missing: list[ManifestFile]) -> None:
    there = 0
    for file in missing:
        with contextlib.suppress(OSError):
            there += (parts / file.sha256).stat().st_size
    needed = sum(file.size for file in missing) - there + (_SPARE_BYTES if missing else 0)
    free = _free_bytes(settings.root)
    if free < needed:
        raise TreeError(
            f"{settings.root}: {free} bytes are free, {needed} are needed; "
            "make room or give the volume a larger size"
        )


def _free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


class _Fetcher:
    """Brings files of one commit, several at once."""

    def __init__(self, source: _Source, manifest: Manifest, target: Path, parts: Path) -> None:
        self._source = source
        self._manifest = manifest
        self._target = target
        self._parts = parts
        self.stopped = False

    def bring(self, file: ManifestFile) -> None:
        """Bring one file.

        Raises:
            TreeError: its bytes are not those of the manifest.
            HubError: the source does not give them.
        """
        began = time.monotonic()
        # Named by what it will be, so that what another fetcher had half brought is gone on with.
        part = self._parts / file.sha256
        resumed = part.exists()
        done, found = self._download(file, part)
        if resumed and found != file.sha256:
            # A crash may have left bytes that were never written out.
            part.unlink()
            done, found = self._download(file, part)
        if done != file.size or found != file.sha256:
            part.unlink()
            sizes = f"more than {file.size} bytes" if done > file.size else f"{done} bytes"
            raise TreeError(
                f"{self._manifest.repo}/{file.path} at {self._manifest.revision}: {sizes} with SHA-256 "
                f"{found}, wanted {file.size} with {file.sha256}; it is damaged or another file, and was not "
                "kept"
            )
        if (problem := _wrong_format(part, file.path)) is not None:
            part.unlink()
            raise TreeError(f"{self._manifest.repo}/{file.path}: {problem}; it was not kept")
        path = self._target / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        part.replace(path)
        _sync_folder(path.parent)
        seconds = round(time.monotonic() - began, 3)
        log.info("file fetched", extra={"file": file.path, "bytes": file.size, "seconds": seconds})

    def _download(self, file: ManifestFile, part: Path) -> tuple[int, str]:
        """Bring what is missing of a file; how many bytes there are now, at most one piece too many."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(part, flags, 0o644), "r+b") as sink:  # noqa: PTH123 - opened without following a link
            digest, done = hashlib.sha256(), 0
            while piece := sink.read(_CHUNK):
                digest.update(piece)
                done += len(piece)
            if done < file.size:
                for piece in self._source.read(file.path, file.sha256, done):
                    if self.stopped:
                        raise _StoppedError
                    done += len(piece)
                    digest.update(piece)
                    if done > file.size:
                        break
                    sink.write(piece)
            sink.flush()
            os.fsync(sink.fileno())
        return done, digest.hexdigest()


def _wrong_format(path: Path, name: str) -> str | None:
    """What is wrong with a file that should be weights, or None."""
    with path.open("rb") as file:
        head = file.read(9)
    if name.endswith(".gguf") and head[:4] != b"GGUF":
        return f"no GGUF file (it begins with {head[:4]!r})"
    if name.endswith(".safetensors"):
        length = int.from_bytes(head[:8], "little")
        if len(head) < 9 or head[8:] != b"{" or not 0 < length <= min(_MOST_HEADER, path.stat().st_size - 8):  # noqa: PLR2004 - eight bytes of length, then JSON
            return f"no safetensors file (it begins with {head[:8]!r})"
    return None


def _mark(target: Path, manifest: Manifest) -> None:
    marker = {"manifest": manifest.digest, "files": _state(target, manifest)}
    draft = target / f"{MARKER}.draft"
    with draft.open("w") as file:
        json.dump(marker, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(target / MARKER)
    _sync_folder(target)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _found(settings: TreeSettings, manifest: Manifest, target: Path) -> Path:
    """Verify a folder that somebody else filled; nothing is written."""
    began = time.monotonic()
    root = settings.root.resolve()
    for file in manifest.files:
        path = target / file.path
        # A hub's cache is full of links; they may lead anywhere in the volume, and nowhere else.
        if not path.resolve().is_relative_to(root):
            raise TreeError(f"{path}: a link that leads out of the volume")
        if not path.is_file():
            raise TreeError(f"{path}: is not there; fill the volume, or fetch with source hub")
        size = path.stat().st_size
        if size != file.size:
            raise TreeError(
                f"{path}: has {size} bytes, {file.size} are wanted; it is damaged or another file"
            )
        found = _digest(path)
        if found != file.sha256:
            raise TreeError(
                f"{path}: SHA-256 is {found}, wanted {file.sha256}; it is damaged or another file"
            )
        if (problem := _wrong_format(path, file.path)) is not None:
            raise TreeError(f"{path}: {problem}")
    wanted = {target / file.path for file in manifest.files}
    strangers = sorted(
        path.name for path in target.rglob("*") if path.suffix in _DANGEROUS and path not in wanted
    )
    if strangers:
        raise TreeError(f"{target}: holds {', '.join(strangers)}, which could be run; remove them")
    log.info("weights verified", extra={"folder": str(target), "seconds": round(time.monotonic() - began, 3)})
    return target
