"""A folder of rendered files: what was written last time and is no longer wanted goes, nothing else does."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from .errors import RenderError

if TYPE_CHECKING:
    from collections.abc import Mapping

LIST = ".berth-render"
_HEAD = "# Files that `berth render` wrote here; it replaces and removes these and no others.\n"
_NAME = re.compile(r"[^A-Za-z0-9.-]+")
_LONGEST = 200


def file_name(*parts: str) -> str:
    """One name of a file from the parts, with a hash where characters had to be replaced."""
    wanted = "-".join(part for part in parts if part)
    name = _NAME.sub("-", wanted).strip("-")[:_LONGEST].lower()
    if name == wanted.lower():
        return name
    return f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"


def check(folder: Path) -> None:
    """Refuse a folder that `write` would refuse.

    Raises:
        RenderError: it holds what was not rendered, or is a file.
    """
    _known(folder)


def write(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Make the folder hold these files, by path in it; returns those that were written or removed.

    Raises:
        RenderError: the folder holds what was not rendered, or cannot be written.
    """
    try:
        known = _known(folder)
        changed = []
        for name in sorted(known - files.keys()):
            (folder / name).unlink(missing_ok=True)
            changed.append(name)
        for name, text in sorted(files.items()):
            if _put(folder / name, text):
                changed.append(name)
        _put(folder / LIST, _HEAD + "".join(f"{name}\n" for name in sorted(files)))
        _drop_empty(folder, known - files.keys())
    except OSError as error:
        where = error.filename or folder
        raise RenderError(
            f"--out {folder}: {where}: {error.strerror}; name a folder that can be written", 2
        ) from None
    return changed


def _known(folder: Path) -> set[str]:
    if not folder.exists():
        return set()
    if not folder.is_dir():
        raise RenderError(f"--out {folder}: that is a file; name a folder", 2)
    record = folder / LIST
    if not record.is_file():
        if any(folder.iterdir()):
            raise RenderError(
                f"--out {folder}: it is not empty, and `berth render` did not write what is in it. Name "
                "another folder, or empty this one",
                2,
            )
        return set()
    lines = [line for line in record.read_text(errors="replace").splitlines() if line and line[0] != "#"]
    return {line for line in lines if _is_inside(line)}


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and name != LIST


def _put(file: Path, text: str) -> bool:
    """Write a file where it differs, all of it or nothing."""
    content = text.encode()
    if file.is_file() and not file.is_symlink() and file.read_bytes() == content:
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=file.parent, prefix=".berth-")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
        Path(scratch).chmod(0o644)
        Path(scratch).replace(file)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
    return True


def _drop_empty(folder: Path, gone: set[str]) -> None:
    for parent in sorted({parent for name in gone for parent in PurePosixPath(name).parents}, reverse=True):
        place = folder / parent
        if place != folder and place.is_dir() and not any(place.iterdir()):
            place.rmdir()
