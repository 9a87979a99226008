"""Python packages of an image: installed from its lock by uv, for the image's Python, never built."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from berth_images.errors import BuildError, FetchError, MissingToolError
from berth_images.store import Store, file_sha256, key_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from berth_catalogue.images import BaseSpec

# Debian 12's C library is 2.36 and 13's 2.41: a wheel for 2.36 runs on both, and where docker builds.
PLATFORM = "x86_64-manylinux_2_36"
_PATIENCE_SECONDS = 900
_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==", re.MULTILINE)


@dataclass(frozen=True)
class PythonPackage:
    """One installed distribution. ``licence`` is its SPDX expression, where its metadata has one."""

    name: str
    version: str
    licence: str = ""


def is_empty(lock: Path) -> bool:
    """Whether a lock asks for nothing."""
    return _PINNED.search(_read(lock)) is None


def tree_key(lock: Path, spec: BaseSpec) -> str:
    """The name under which a lock's unpacked wheels are kept."""
    return key_of("wheels", file_sha256(lock), spec.python, spec.architecture, PLATFORM)


def unpacked(store: Store, lock: Path, spec: BaseSpec, progress: Callable[[str], None] | None = None) -> Path:
    """A folder with the packages of a lock, as ``pip install --target`` lays them; never write to it.

    Call it under the store's lock.

    Raises:
        MissingToolError: uv is absent.
        FetchError: a wheel could not be downloaded, has another hash, or does not exist for this Python.
    """
    target = store.folder("wheels") / tree_key(lock, spec)
    if target.is_dir():
        os.utime(target)
        return target
    if progress is not None:
        progress(f"downloading the Python packages of {lock.parent.name}/{lock.name}")
    with store.work() as scratch:
        made = scratch / "packages"
        _install(lock, spec, made)
        made.replace(target)
    return target


def installed(tree: Path) -> tuple[PythonPackage, ...]:
    """The distributions in an unpacked folder, sorted by name."""
    found = []
    for folder in tree.glob("*.dist-info"):
        fields = dict(
            line.split(": ", 1)
            for line in (folder / "METADATA").read_text(encoding="utf-8").split("\n\n", 1)[0].splitlines()
            if line.startswith(("Name: ", "Version: ", "License-Expression: "))
        )
        licence = fields.get("License-Expression", "")
        found.append(PythonPackage(fields["Name"], fields["Version"], licence))
    return tuple(sorted(found, key=lambda package: package.name.lower()))


def belongs(path: Path) -> bool:
    """Whether a file of an unpacked folder goes into an image.

    Scripts name the interpreter that installed them, and the notes of pip and uv about an installation
    (uv's lock on the folder among them) differ by installer: neither is the package, and both would make
    the bytes depend on the machine.
    """
    if path.parts[0] in {"bin", ".lock"} or "__pycache__" in path.parts:
        return False
    inside_metadata = path.parts[0].endswith(".dist-info")
    return not (
        inside_metadata
        and path.name in {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"}
    )


def _read(lock: Path) -> str:
    try:
        return lock.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BuildError(f"{lock} is absent; images/locks/compile makes it from its .in file") from error


def _install(lock: Path, spec: BaseSpec, target: Path) -> None:
    command = [
        *_uv(), "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:",
        "--python", sys.executable, "--python-version", spec.python, "--python-platform", PLATFORM,
        "--target", str(target), "--requirements", str(lock),
    ]  # fmt: skip
    # An active environment of the caller must not become part of the resolution.
    environment = {
        name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH"}
    }
    if "PIP_INDEX_URL" in environment:
        environment.setdefault(
            "UV_DEFAULT_INDEX", environment["PIP_INDEX_URL"]
        )  # a company's own, set up for pip
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise FetchError(
            f"the packages of {lock} were not there within {_PATIENCE_SECONDS} s; "
            "check the network and run it again"
        ) from error
    if done.returncode != 0:
        raise FetchError(
            f"the packages of {lock} could not be installed for Python {spec.python}; uv said:\n"
            f"{done.stderr.strip()[-1500:]}"
        )
    if not target.is_dir():
        raise BuildError(f"uv installed nothing from {lock}")


def _uv() -> list[str]:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        raise MissingToolError(
            f"uv is absent beside {sys.executable} and on PATH; it installs an image's packages. "
            "Install it with: pip install --require-hashes -r locks/uv.txt"
        )
    return [found]
