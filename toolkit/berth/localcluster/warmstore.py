"""The images of the first node, laid ready for further nodes.

A cloud's node may come with its images on its disk (a boot disk from a snapshot, GKE's secondary boot
disks). Here such a disk is a containerd root with nothing but images, made once for a set of images: a new
node gets copies of its two small databases, hard links to its blobs, and links to its unpacked layers, which
nobody ever writes to. That takes hundredths of a second where an import takes seconds.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from . import node, units
from .commands import environment
from .errors import ImageError
from .images import Store
from .parts import wait_for
from .paths import SCRATCH_PREFIX, remove_remains, run_folder
from .pki import write_private
from .units import Program, Unit

if TYPE_CHECKING:
    from .addresses import Node
    from .parts import Parts

UNIT = "images"
_BLOBS = Path("io.containerd.content.v1.content/blobs/sha256")
_IMAGES = Path("io.containerd.metadata.v1.bolt/meta.db")
_SNAPSHOTTER = Path("io.containerd.snapshotter.v1.overlayfs")
_TIMEOUT_SECONDS = 600


def ensure(parts: Parts) -> Path:
    """Lay the first node's images ready, if they are not yet; return the folder.

    Raises:
        ImageError: they could not be copied.
    """
    first = parts.store(parts.nodes[0])
    images = first.digests()
    names = sorted(images)
    key = hashlib.sha256("".join(f"{name} {images[name]}\n" for name in names).encode()).hexdigest()[:16]
    folder = parts.paths.warm_images / key
    if folder.exists():
        return folder
    parts.paths.warm_images.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Of a process that was killed here: its containerd would still run, on a folder that goes now.
    units.stop(parts.paths.units / f"{UNIT}.sh")
    remove_remains(parts.paths.warm_images)
    scratch = parts.paths.warm_images / f"{SCRATCH_PREFIX}{key}"
    _fill(parts, scratch, first, names)
    scratch.rename(folder)
    _remove_unused(parts, folder)
    return folder


def _fill(parts: Parts, root: Path, source: Store, names: list[str]) -> None:
    """Run a containerd on ``root`` just for taking the images in."""
    socket = run_folder(parts.plan.slot) / "images.sock"
    settings = root / "containerd.toml"
    root.mkdir(mode=0o700)
    write_private(settings, _settings(root, socket).encode())
    socket.unlink(missing_ok=True)
    unit = Unit(
        UNIT,
        parts.paths.units,
        parts.paths.logs,
        [Program("containerd", [parts.packages.find("usr/bin/containerd"), "--config", settings])],
        own_mounts=True,
        path=tuple(parts.packages.path),
    )
    store = Store(source.ctr, socket)
    unit.ensure()
    try:
        problem = "it does not listen yet"
        wait_for(parts, lambda _: None, "containerd", lambda: None if store.answers() else problem, unit)
        _copy(source, store, names)
    finally:
        unit.stop()
        for file in (unit.script, *socket.parent.glob(f"{socket.name}*")):
            file.unlink(missing_ok=True)
        shutil.rmtree(root / "state", ignore_errors=True)


def _settings(root: Path, socket: Path) -> str:
    # Without what runs containers: this one only keeps images.
    return f"""\
version = 2
root = "{root}"
state = "{root}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]

[debug]
  level = "warn"

[grpc]
  address = "{socket}"
"""


def _copy(source: Store, target: Store, names: list[str]) -> None:
    with subprocess.Popen(
        source.command("images", "export", "-", *names), stdout=subprocess.PIPE, env=environment()
    ) as export:
        done = subprocess.run(
            target.command("images", "import", "-"),
            stdin=export.stdout,
            capture_output=True,
            text=True,
            env=environment(),
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    missing = set(names) - set(target.references())
    if export.returncode or done.returncode or missing:
        said = done.stderr.strip() or done.stdout.strip() or "nothing was said"
        raise ImageError(
            f"images could not be laid ready for further nodes ({', '.join(sorted(missing))}): {said}"
        )


def _remove_unused(parts: Parts, newest: Path) -> None:
    """Remove what was laid ready before, unless a node's layers are links to it."""
    used = {newest.name}
    for one in parts.nodes[1:]:
        snapshots = node.containerd_root(parts.paths, one) / _SNAPSHOTTER / "snapshots"
        for link in snapshots.glob("*"):
            if link.is_symlink():
                used.add(link.readlink().relative_to(parts.paths.warm_images).parts[0])
                break
    for folder in parts.paths.warm_images.iterdir():
        if folder.name not in used:
            shutil.rmtree(folder)


def install(parts: Parts, one: Node, ready: Path) -> None:
    """Give a node that was never started the images that lie ready: all of them, or none."""
    root = node.containerd_root(parts.paths, one)
    scratch = root.with_name(f"{root.name}.new")
    for folder in (_BLOBS, _IMAGES.parent, _SNAPSHOTTER / "snapshots"):
        (scratch / folder).mkdir(parents=True, mode=0o700)
    for blob in (ready / _BLOBS).iterdir():
        os.link(blob, scratch / _BLOBS / blob.name)
    for database in (_IMAGES, _SNAPSHOTTER / "metadata.db"):
        shutil.copyfile(ready / database, scratch / database)
    for layer in (ready / _SNAPSHOTTER / "snapshots").iterdir():
        (scratch / _SNAPSHOTTER / "snapshots" / layer.name).symlink_to(layer)
    scratch.rename(root)
