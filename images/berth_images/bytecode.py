"""Byte code for read-only images, compiled by the Python that is in the image.

Without it, every start and every exec probe would compile the standard library again, since a
read-only root cannot keep the result. The files carry no time and are never compared with their
source ("unchecked hash"), so they are the same bytes whenever they are made from the same source.
The image's own interpreter runs through the image's own loader: no chroot, no root, and the
host's Python may be of another version.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from berth_images.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_COMPILE = """
import json, py_compile, sys
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
for line in sys.stdin:
    source, shown, target = json.loads(line)
    try:
        py_compile.compile(source, cfile=target, dfile=shown, doraise=True, invalidation_mode=mode)
    except py_compile.PyCompileError:
        print(shown)
"""
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


def interpreter(root: Path, version: str) -> list[str]:
    """The command that runs the Python of an unpacked base on this machine, without a chroot."""
    loader = root / _LIBRARIES / "ld-linux-x86-64.so.2"
    return [str(loader), "--library-path", str(root / _LIBRARIES), str(root / f"usr/bin/python{version}")]


def compiled_name(path: str, version: str) -> str:
    """Where Python looks for the byte code of a source file."""
    source = PurePosixPath(path)
    return str(source.parent / "__pycache__" / f"{source.stem}.cpython-{version.replace('.', '')}.pyc")


def compile_sources(
    root: Path, version: str, sources: Mapping[str, Path], scratch: Path
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Compile Python files.

    Args:
        root: an unpacked base, whose interpreter is run.
        version: that interpreter's version, as in ``3.13``.
        sources: path in the image, without a leading slash, → the file on this machine.
        scratch: an empty folder that outlives the result.

    Returns:
        Path in the image of each byte code file → the file on this machine, and the sources that
        are no valid Python of this version (packages carry such test data), which have none.
    """
    if not sources:
        return {}, ()
    made: dict[str, Path] = {}
    lines = []
    # One process and one order: the bytes may depend on what was compiled before.
    for number, (path, source) in enumerate(sorted(sources.items())):
        made[compiled_name(path, version)] = target = scratch / f"{number}.pyc"
        lines.append(json.dumps([str(source), f"/{path}", str(target)]))
    done = subprocess.run(
        [*interpreter(root, version), "-S", "-s", "-P", "-c", _COMPILE],
        input="\n".join(lines),
        env={
            "PYTHONHOME": str(root / "usr"),
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "LC_ALL": "C.UTF-8",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BuildError(
            f"the image's Python {version} could not compile its packages "
            f"(exit {done.returncode}); it said:\n"
            f"{done.stderr.strip()[-1500:]}"
        )
    invalid = tuple(path.removeprefix("/") for path in done.stdout.splitlines())
    return {path: file for path, file in made.items() if path not in _names(invalid, version)}, invalid


def _names(paths: Iterable[str], version: str) -> set[str]:
    return {compiled_name(path, version) for path in paths}
