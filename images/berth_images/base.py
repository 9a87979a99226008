"""The base layer: Debian packages unpacked, thinned out, and given the few files that a process needs."""

from __future__ import annotations

import io
import posixpath
import tarfile
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from berth_images.debian import control
from berth_images.errors import BuildError
from berth_images.layers import Layer

if TYPE_CHECKING:
    from pathlib import Path

    from berth_catalogue.images import BaseSpec, DebianSpec, UserSpec

    from berth_images.debian import DebianPackage

_ALIASES = ("bin", "lib", "lib64", "sbin")  # folders that are links into usr/
_DOCUMENTATION = "usr/share/doc/"
_CERTIFICATES = "usr/share/ca-certificates/"
_NSSWITCH = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nservices: files\n"


def base_layer(spec: BaseSpec, user: UserSpec, packages: tuple[DebianPackage, ...], debs: Path) -> Layer:
    """Assemble the base from downloaded packages, without their maintainer scripts and without byte code."""
    layer = Layer()
    bundle: dict[str, bytes] = {}
    for package in packages:
        paragraph, files = control(debs / package.file)
        # Scanners (Trivy, Grype, Syft) read this folder where there is no package database.
        layer.add_file(f"var/lib/dpkg/status.d/{package.name}", _status(paragraph).encode())
        _unpack(files, spec, layer, bundle)
    if not bundle:
        raise BuildError("ca-certificates brought no certificate; TLS would not work in the image")
    for alias in _ALIASES:
        layer.add_link(alias, f"usr/{alias}")
        layer.add_folder(f"usr/{alias}")
    for folder in ("dev", "proc", "run", "sys"):
        layer.add_folder(folder)
    layer.add_folder("tmp", mode=0o1777)
    layer.add_link("usr/bin/python3", f"python{spec.python}")
    layer.add_file("etc/ssl/certs/ca-certificates.crt", b"".join(bundle[name] for name in sorted(bundle)))
    layer.add_file("etc/nsswitch.conf", _NSSWITCH.encode())
    accounts = (
        ("root", 0, 0, "/root"),
        ("nobody", 65534, 65534, "/nonexistent"),
        (user.name, user.uid, user.gid, "/nonexistent"),
    )
    layer.add_file(
        "etc/passwd",
        "".join(
            f"{name}:x:{uid}:{gid}:{name}:{home}:/usr/sbin/nologin\n" for name, uid, gid, home in accounts
        ).encode(),
    )
    groups = (("root", 0), ("nogroup", 65534), (user.name, user.gid))
    layer.add_file("etc/group", "".join(f"{name}:x:{gid}:\n" for name, gid in groups).encode())
    layer.add_file("usr/share/berth/packages.txt", debian_list(packages).encode())
    return layer


def debian_layer(
    spec: BaseSpec, wanted: DebianSpec, packages: tuple[DebianPackage, ...], debs: Path
) -> Layer:
    """What is kept of an image's own packages; their licences and what scanners read come along.

    Raises:
        BuildError: a path that is to be kept is in none of them.
    """
    whole = Layer()
    layer = Layer()
    for package in packages:
        paragraph, files = control(debs / package.file)
        layer.add_file(f"var/lib/dpkg/status.d/{package.name}", _status(paragraph).encode())
        _unpack(files, spec, whole, {})
    missing = {*wanted.keep}
    for path, entry in whole.entries.items():
        kept = [one for one in wanted.keep if path == one or path.startswith(f"{one}/")]
        missing -= {*kept}
        if kept or path.startswith(_DOCUMENTATION):
            layer.entries[path] = entry
    if missing:
        raise BuildError(
            f"no package of the image holds {', '.join(sorted(missing))}, which images.yaml keeps"
        )
    return layer


def debian_list(packages: tuple[DebianPackage, ...]) -> str:
    """The packages as lines of name, version and SHA-256, as the image records them."""
    return "".join(f"{package.name}={package.version} sha256:{package.sha256}\n" for package in packages)


def _status(paragraph: str) -> str:
    lines = paragraph.rstrip("\n").splitlines()
    lines.insert(1, "Status: install ok installed")
    return "\n".join(lines) + "\n"


def _unpack(files: bytes, spec: BaseSpec, layer: Layer, bundle: dict[str, bytes]) -> None:
    with tarfile.open(fileobj=io.BytesIO(files)) as archive:
        for member in archive:
            path = _merged(member.name)
            if path.startswith(_CERTIFICATES) and path.endswith(".crt") and member.isfile():
                bundle[path] = _content(archive, member).rstrip(b"\n") + b"\n"
            if member.isdir() or _is_dropped(path, spec):
                continue
            if member.issym():
                layer.add_link(path, member.linkname)
            elif member.islnk():
                # A second name of a file that came before it; the layer keeps both as files.
                layer.entries[path] = layer.entries[_merged(member.linkname)]
            elif member.isfile():
                layer.add_file(path, _content(archive, member), program=bool(member.mode & 0o111))
            else:
                raise BuildError(
                    f"/{path} is neither file, link nor folder; an image of ours holds nothing else"
                )


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    return stream.read() if stream is not None else b""


def _merged(name: str) -> str:
    """A path as it is where /bin, /lib, /lib64 and /sbin are links into /usr."""
    path = posixpath.normpath(name).lstrip("/").removeprefix("./")
    return f"usr/{path}" if path.split("/", 1)[0] in _ALIASES and "/" in path else path


def _is_dropped(path: str, spec: BaseSpec) -> bool:
    if path in _ALIASES:
        return True
    if path.startswith(_DOCUMENTATION):
        # Licences travel with what they cover; the rest of the documentation does not.
        return posixpath.basename(path) != "copyright" and path.count("/") > _DOCUMENTATION.count("/")
    return any(fnmatchcase(path, pattern) for pattern in spec.drop)
