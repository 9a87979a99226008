"""The manifest of weights: every file of a commit that is served, with size and SHA-256."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

import msgspec

SUFFIXES = (".gguf", ".jinja", ".json", ".model", ".safetensors", ".tiktoken", ".txt")
"""Files that a model may bring; the catalogue has the same, and a test holds the two together."""
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_HEX40, _HEX64 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")


class ManifestError(ValueError):
    """The manifest says something that is not allowed; the message names it."""


class ManifestFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file."""

    path: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a repository is served, exactly."""

    repo: str
    revision: str
    files: list[ManifestFile]

    @property
    def digest(self) -> str:
        """SHA-256 over all of it."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


def parse_manifest(body: bytes, where: str) -> Manifest:
    """A manifest from its JSON.

    Raises:
        ManifestError: naming `where`, the entry, its value and what is allowed.
    """
    try:
        made = msgspec.json.decode(body, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ManifestError(f"{where}: {error}") from None
    if not _REPO.fullmatch(made.repo):
        raise ManifestError(f"{where}: repo {made.repo!r}: must be <owner>/<name>")
    if not _HEX40.fullmatch(made.revision):
        raise ManifestError(f"{where}: revision {made.revision!r}: must be a commit, 40 hexadecimal digits")
    if not made.files:
        raise ManifestError(f"{where}: files: must not be empty")
    seen: set[str] = set()
    for file in made.files:
        _check(file, where)
        if file.path in seen:
            raise ManifestError(f"{where}: {file.path!r} is there twice")
        seen.add(file.path)
    return made


def _check(file: ManifestFile, where: str) -> None:
    if not _PATH.fullmatch(file.path):
        raise ManifestError(f"{where}: path {file.path!r}: must be a relative path of plain names")
    if PurePosixPath(file.path).suffix not in SUFFIXES:
        raise ManifestError(
            f"{where}: path {file.path!r}: must end in one of {', '.join(SUFFIXES)}; no pickle, no code"
        )
    if file.size < 0:
        raise ManifestError(f"{where}: {file.path}: size {file.size}: must not be negative")
    if not _HEX64.fullmatch(file.sha256):
        raise ManifestError(f"{where}: {file.path}: sha256 {file.sha256!r}: must be 64 hexadecimal digits")
