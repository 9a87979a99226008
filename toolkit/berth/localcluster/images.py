"""Images: writing the tiny ones of the cluster itself, and what a node's containerd holds."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import subprocess
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .commands import environment, run
from .errors import ImageError
from .pki import write_private

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_NAMESPACE = "k8s.io"
_NOBODY = 65532


@dataclass(frozen=True)
class ScratchImage:
    """An image of one static program and nothing else."""

    role: str
    program: Path

    @property
    def reference(self) -> str:
        """Its name, tagged by the program's content."""
        with self.program.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return f"berth.local/{self.role}:{digest[:16]}"

    def write(self, folder: Path) -> Path:
        """Write the image as an archive into ``folder`` and return the file; the same bytes every time."""
        reference = self.reference
        target = folder / f"{self.role}-{reference.rpartition(':')[2]}.tar"
        if not target.exists():
            write_private(target, _archive(reference, self.program))
        return target


def _archive(reference: str, program: Path) -> bytes:
    layer = _tar({program.name: (program.read_bytes(), 0o755)})
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {"Entrypoint": [f"/{program.name}"], "User": f"{_NOBODY}:{_NOBODY}"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created": "1970-01-01T00:00:00Z"}],
        },
        sort_keys=True,
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    layer_name = f"{digest}/layer.tar"
    manifest = [{"Config": config_name, "RepoTags": [reference], "Layers": [layer_name]}]
    return _tar(
        {
            config_name: (config, 0o644),
            layer_name: (layer, 0o644),
            "manifest.json": (json.dumps(manifest).encode(), 0o644),
        }
    )


def _tar(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (data, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


@dataclass(frozen=True)
class Store:
    """The images of one node, as its kubelet sees them.

    ``ctr`` only talks to containerd's socket; what it asks for (unpacking, overlay mounts) happens in
    containerd's own process and so in the node's own mount namespace.
    """

    ctr: Path
    socket: Path

    def command(self, *words: str) -> list[str]:
        """The command line that asks this containerd."""
        return [str(self.ctr), "--address", str(self.socket), "--namespace", _NAMESPACE, *words]

    def answers(self) -> bool:
        """Whether containerd listens; a socket whose owner was killed stays where it is."""
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket))
            except OSError:
                return False
        return True

    def references(self) -> list[str]:
        """The names of all images, without the ones that are only a digest."""
        listed = run(*self.command("images", "list", "--quiet")).split()
        return sorted(name for name in listed if not name.startswith("sha256:") and "@" not in name)

    def digests(self) -> dict[str, str]:
        """Name -> digest of every image, without the ones whose name is only a digest."""
        lines = run(*self.command("images", "list")).splitlines()[1:]
        named = {words[0]: words[2] for line in lines if len(words := line.split()) > 2}  # noqa: PLR2004 - columns
        return {
            name: digest
            for name, digest in named.items()
            if not name.startswith("sha256:") and "@" not in name
        }

    def has(self, reference: str) -> bool:
        """Whether there is an image of that very name."""
        return reference in run(*self.command("images", "list", "--quiet", f"name=={reference}")).split()

    def add(self, archive: Path) -> list[str]:
        """Import a `docker save` or OCI archive and return the names that it brought, in the archive's order.

        Raises:
            ImageError: there is no such file, it is no image archive, or it names no image.
        """
        expected = references_in(archive)
        with archive.open("rb") as file:
            done = subprocess.run(
                self.command("images", "import", "-"),
                stdin=file,
                capture_output=True,
                text=True,
                env=environment(),
                timeout=900,
                check=False,
            )
        if done.returncode:
            raise ImageError(
                f"{archive}: containerd does not take it: {done.stderr.strip() or done.stdout.strip()}"
            )
        if missing := [name for name in expected if not self.has(name)]:
            raise ImageError(f"{archive}: imported, but {', '.join(missing)} is not there afterwards")
        return list(expected)

    def remove(self, references: Sequence[str]) -> None:
        """Remove images by name; one that is not there is no error."""
        if present := [reference for reference in references if self.has(reference)]:
            run(*self.command("images", "remove", "--sync", *present))


def references_in(archive: Path) -> list[str]:
    """The image names that an archive brings.

    Raises:
        ImageError: there is no such file, it is no image archive, or it names no image.
    """
    try:
        with tarfile.open(archive) as tar:
            names = _names_in(tar)
    except FileNotFoundError:
        raise ImageError(f"{archive}: no such file") from None
    except (tarfile.TarError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ImageError(
            f"{archive}: this is no image archive as `docker save` or an OCI tool writes it: {error}"
        ) from None
    if not names:
        raise ImageError(
            f"{archive}: the image in it has no name, so no pod could ask for it; "
            "save it by its name, as name:tag"
        )
    return names


def _names_in(tar: tarfile.TarFile) -> list[str]:
    """Docker's manifest.json first: an archive that has both means the same by either."""
    for file in ("manifest.json", "index.json"):
        try:
            member = tar.extractfile(file)
        except KeyError:
            continue
        if member is None:
            continue
        content = json.load(member)
        if file == "manifest.json":
            return [name for image in content for name in image.get("RepoTags") or []]
        annotations = [manifest.get("annotations", {}) for manifest in content["manifests"]]
        full, short = "io.containerd.image.name", "org.opencontainers.image.ref.name"
        return [named.get(full) or named[short] for named in annotations if full in named or short in named]
    raise ValueError("it holds neither manifest.json nor index.json")
