"""Pins of weights: which revision of a hub's repository, and which files with which digests.

`berth weights pin MODEL` writes one file per model, stacks/weights/<model>.yaml:

    repo: Qwen/Qwen2.5-7B-Instruct
    revision: <40 hexadecimal digits>
    files:
      - {path: config.json, size: 663, sha256: <64 hexadecimal digits>}

The same files go to the fetcher as its manifest, and it takes nothing else.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import yaml

from berth_catalogue.errors import CatalogueError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SUFFIXES = (".gguf", ".jinja", ".json", ".model", ".safetensors", ".tiktoken", ".txt")
"""Files that a model may bring: weights without code, and what its tokenizer reads. No pickle, no Python."""

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_REVISION = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_KEYS = ("repo", "revision", "files")
_FILE_KEYS = ("path", "size", "sha256")


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file: its path in the repository, its size in bytes, its SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Pins:
    """What of a repository is served, exactly.

    Attributes:
        repo: <owner>/<name>.
        revision: the commit, 40 hexadecimal digits.
        files: by path.
    """

    repo: str
    revision: str
    files: tuple[PinnedFile, ...]

    @property
    def total_bytes(self) -> int:
        """Room that the files take."""
        return sum(file.size for file in self.files)

    @property
    def format(self) -> str:
        """Format of the weights among the files: safetensors or gguf."""
        return "safetensors" if any(file.path.endswith(".safetensors") for file in self.files) else "gguf"

    @property
    def folder(self) -> str:
        """Where they lie in a volume: one folder per revision, so that several can share it."""
        return f"{self.repo.replace('/', '--')}/{self.revision}"

    @property
    def digest(self) -> str:
        """SHA-256 over repository, revision and every file: changes when anything that is served does."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def entries(self) -> list[dict[str, Any]]:
        """The files as plain mappings with the keys path, size and sha256."""
        return [asdict(file) for file in self.files]


def read_pins(file: Path) -> Pins:
    """The pins of a file.

    Raises:
        CatalogueError: it cannot be read, or says something wrong; the message names file, key and value.
        FileNotFoundError: it is not there; the caller knows which command makes it.
    """
    try:
        data = yaml.safe_load(file.read_text("utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CatalogueError(f"{file}: cannot be read: {error}") from None
    return parse_pins(data, str(file))


def parse_pins(data: object, where: str) -> Pins:
    """Pins from plain data.

    Args:
        data: a mapping with the keys repo, revision and files.
        where: what the data are called in messages, such as the file's path.

    Raises:
        CatalogueError: naming `where`, key, value and what is allowed.
    """
    top = _mapping(data, where, _KEYS)
    repo = _matching(top["repo"], _REPO, f"{where}: repo", "<owner>/<name>")
    revision = _matching(
        top["revision"], _REVISION, f"{where}: revision", "a commit: 40 hexadecimal digits, never a branch"
    )
    listed = top["files"]
    if not isinstance(listed, list) or not listed:
        raise CatalogueError(f"{where}: files: must be a list of at least one file, got {listed!r}")
    files = tuple(_file(one, f"{where}: files[{index}]") for index, one in enumerate(listed))
    paths = [file.path for file in files]
    if twice := sorted({path for path in paths if paths.count(path) > 1}):
        raise CatalogueError(f"{where}: files: {', '.join(twice)} is there twice")
    if not any(path.endswith((".safetensors", ".gguf")) for path in paths):
        raise CatalogueError(
            f"{where}: files: none of them is .safetensors or .gguf, so there are no weights"
        )
    return Pins(repo, revision, tuple(sorted(files, key=lambda file: file.path)))


def pins_text(pins: Pins) -> str:
    """The file's text for pins, the same bytes for the same pins."""
    lines = [f"repo: {pins.repo}", f'revision: "{pins.revision}"', "files:"]
    for file in pins.files:
        lines += [f"  - path: {file.path}", f"    size: {file.size}", f'    sha256: "{file.sha256}"']
    return "\n".join(lines) + "\n"


def manifest_text(pins: Pins) -> str:
    """What a fetcher reads: the same bytes for the same pins, so their digest says which files are meant."""
    whole = {"repo": pins.repo, "revision": pins.revision, "files": pins.entries()}
    return json.dumps(whole, indent=1, sort_keys=True)


def _file(data: object, where: str) -> PinnedFile:
    entry = _mapping(data, where, _FILE_KEYS)
    path = _matching(
        entry["path"], _PATH, f"{where}.path", "a relative path of plain names, none of them hidden"
    )
    if PurePosixPath(path).suffix not in SUFFIXES:
        raise CatalogueError(
            f"{where}.path: must end in one of {', '.join(SUFFIXES)} (no pickle, no code), got {path!r}"
        )
    size = entry["size"]
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise CatalogueError(f"{where}.size: must be a number of bytes, got {size!r}")
    sha256 = _matching(entry["sha256"], _SHA256, f"{where}.sha256", "64 hexadecimal digits")
    return PinnedFile(path, size, sha256)


def _mapping(data: object, where: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(data, dict) or set(data) != set(keys):
        given = ", ".join(map(str, data)) if isinstance(data, dict) else repr(data)
        raise CatalogueError(f"{where}: must be a mapping with the keys {', '.join(keys)}, got {given}")
    return data


def _matching(value: object, pattern: re.Pattern[str], where: str, allowed: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise CatalogueError(f"{where}: must be {allowed}, got {value!r}")
    return value
