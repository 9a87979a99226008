"""What an image may hold. Checked at every build, since Debian and wheels change under us."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from berth_images.elf import needed
from berth_images.errors import BuildError

if TYPE_CHECKING:
    from berth_images.layers import Layer

# Programs that would let an intruder go on, or change the image.
FORBIDDEN_PROGRAMS = frozenset(
    {
        "apt",
        "apt-get",
        "awk",
        "bash",
        "busybox",
        "cc",
        "curl",
        "dash",
        "dpkg",
        "gcc",
        "ld",
        "make",
        "mawk",
        "perl",
        "pip",
        "pip3",
    }
    | {"sh", "su", "sudo", "wget"}
)
_SETID = 0o6000
_WORLD_WRITABLE = 0o002
_TEMPORARY = "tmp"


def check(layer: Layer, provided: set[str]) -> None:
    """Refuse setuid files, world-writable paths, shells, and libraries that nothing in the image provides.

    Args:
        layer: what is about to be written.
        provided: names of the shared libraries in the layers below it.

    Raises:
        BuildError: names every path that breaks a rule, and the rule.
    """
    problems: list[str] = []
    names = set(provided)
    wanted: dict[str, str] = {}
    for path, entry in layer.entries.items():
        name = PurePosixPath(path).name
        names.add(name)
        if entry.link is None and entry.mode & _SETID:
            problems.append(f"/{path} is setuid or setgid")
        if entry.link is None and entry.mode & _WORLD_WRITABLE and path != _TEMPORARY:
            problems.append(f"/{path} is writable by everybody")
        if name in FORBIDDEN_PROGRAMS and PurePosixPath(path).parent.name in {"bin", "sbin"}:
            problems.append(f"/{path} is a program that no image of ours carries")
        if entry.is_file and (".so" in name or PurePosixPath(path).parent.name == "bin"):
            wanted.update(dict.fromkeys(needed(entry.read()), path))
    problems += [
        f"/{path} needs {library}, which is not in the image"
        for library, path in wanted.items()
        if library not in names
    ]
    if problems:
        raise BuildError("the image would break these rules: " + "; ".join(sorted(problems)[:10]))
