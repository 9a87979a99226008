"""The manifest of weights: every file of a commit that is served, with size and SHA-256."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

SUFFIXES = (".gguf", ".jinja", ".json", ".model", ".safetensors", ".tiktoken", ".txt")
"""Files that a model may bring; the catalogue has the same, and a test holds the two together."""
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_HEX40, _HEX64 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")


class ManifestError(ValueError):
    """The manifest says something that is not allowed; the message names it."""


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What of a repository is served, exactly."""

    repo: str
    revision: str
    files: list[ManifestFile]

    @property
    def digest(self) -> str:
        """SHA-256 over all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def parse_manifest(body: bytes, where: str) -> Manifest:
    """A manifest from its JSON.

    Raises:
        ManifestError: naming `where`, the entry, its value and what is allowed.
    """
    try:
        data = json.loads(body)
    except ValueError as error:
        raise ManifestError(f"{where}: no JSON: {error}") from None
    top = _typed(data, {"repo": str, "revision": str, "files": list}, where)
    entries = [
        _typed(one, {"path": str, "size": int, "sha256": str}, f"{where}: files[{index}]")
        for index, one in enumerate(top["files"])
    ]
    made = Manifest(top["repo"], top["revision"], [ManifestFile(**one) for one in entries])
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


def _typed(value: object, keys: dict[str, type], where: str) -> dict[str, Any]:
    """A mapping with exactly these keys, each of its type."""
    if not isinstance(value, dict) or set(value) != set(keys):
        raise ManifestError(f"{where}: must have the keys {', '.join(keys)} and no other")
    for key, kind in keys.items():
        if type(value[key]) is not kind:
            raise ManifestError(f"{where}: {key}: must be a {kind.__name__}, got {value[key]!r}")
    return value
