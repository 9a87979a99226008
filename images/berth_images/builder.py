"""Builds images from their specs, or finds them built: the public face of this package."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from berth_catalogue.endpoints import container_build
from berth_catalogue.images import ImageSpec, load_images

from berth_images import debian, oci, sbom, wheels
from berth_images.contents import Bench, Contents
from berth_images.errors import BuildError, UnknownRoleError
from berth_images.layers import write_layer
from berth_images.prune import prune
from berth_images.store import Store, move_into_place

if TYPE_CHECKING:
    from collections.abc import Container, Iterable
    from pathlib import Path

Progress = Callable[[str], None]
SBOM_NAME = "sbom.cdx.json"


@dataclass(frozen=True)
class BuiltImage:
    """One image on disk.

    Attributes:
        role: its name in images.yaml.
        reference: ``berth.local/<role>:<tag>``; the tag is the start of ``digest``.
        digest: the digest of its configuration (the image's identity), ``sha256:…``.
        tar: an OCI layout that containerd, docker and podman load.
        size: of that file, in bytes.
        packages: ``kind:name=version`` of every Debian and Python package inside.
    """

    role: str
    reference: str
    digest: str
    tar: Path
    size: int
    packages: tuple[str, ...]


def roles() -> tuple[str, ...]:
    """The roles that images.yaml names, in its order."""
    return tuple(load_images().images)


def cluster_roles() -> tuple[str, ...]:
    """Those of them that a cluster runs."""
    return tuple(role for role, spec in load_images().images.items() if not spec.endpoint)


def roles_for(settings: Container[str]) -> tuple[str, ...]:
    """The roles that a stack may run that has these settings, by their keys without `berth:`."""
    images = load_images().images.items()
    return tuple(
        role
        for role, spec in images
        if not spec.endpoint and (spec.only_with is None or spec.only_with in settings)
    )


def build(role: str, *, progress: Progress | None = None, refresh: bool = False) -> BuiltImage:
    """Build one image, or find it built. See ``build_all``."""
    return build_all((role,), progress=progress, refresh=refresh)[role]


def build_all(
    wanted: Iterable[str] | None = None,
    *,
    progress: Progress | None = None,
    refresh: bool = False,
    store: Store | None = None,
) -> dict[str, BuiltImage]:
    """Build images, or find them built; nothing is read from the network where nothing is missing.

    Args:
        wanted: roles; those that a cluster runs where None.
        progress: told each step in a few words, from the calling thread.
        refresh: ask Debian for newer packages of the base first. Otherwise an image stays as it
            was first built on this machine until its lock, its sources or its spec change.
        store: another cache than the user's.

    Raises:
        ImagesError: see ``berth_images.errors``; the message names the next step.
    """
    builder = _Builder(store or Store.default(), progress or _silent)
    chosen = [builder.spec(role) for role in (wanted if wanted is not None else cluster_roles())]
    found = {} if refresh else builder.lookup(chosen)
    missing = [spec for spec in chosen if spec.role not in found]
    if missing:
        found |= builder.make(missing, refresh=refresh)
    return {spec.role: found[spec.role] for spec in chosen}


def find(*, store: Store | None = None) -> dict[str, BuiltImage]:
    """A cluster's images, by role, that are built and up to date; builds and downloads nothing."""
    builder = _Builder(store or Store.default(), _silent)
    return builder.lookup(builder.spec(role) for role in cluster_roles())


def bill_of_materials(image: BuiltImage) -> bytes:
    """What is in an image, as CycloneDX JSON.

    Raises:
        BuildError: its tar has none.
    """
    found = oci.Archive(image.tar).attached(sbom.MEDIA_TYPE)
    if found is None:
        raise BuildError(f"{image.tar} has no SBOM; build it again")
    return found


def prepare(
    wanted: Iterable[str] | None = None, *, progress: Progress | None = None, store: Store | None = None
) -> None:
    """Download everything that images need without building them; made to run beside other work.

    Raises:
        ImagesError: see ``build_all``.
    """
    builder = _Builder(store or Store.default(), progress or _silent)
    chosen = [builder.spec(role) for role in (wanted if wanted is not None else cluster_roles())]
    if all(spec.role in builder.lookup(chosen) for spec in chosen):
        return
    with builder.store.lock(builder.progress):
        builder.fetch(chosen, refresh=False)


def _silent(_: str) -> None:
    pass


class _Builder:
    """One call of build_all or prepare: what it reads once is kept for its duration."""

    def __init__(self, store: Store, progress: Progress) -> None:
        self.store = store
        self.progress = progress
        self.catalogue = load_images()
        self._contents = Contents(store, self.catalogue)
        # Whether this builder has read Debian's index, which one build reads once.
        self._updated = False
        self._packages: tuple[debian.DebianPackage, ...] | None = debian.resolved(store, self.catalogue.base)

    def spec(self, role: str) -> ImageSpec:
        """The spec of a role."""
        try:
            return self.catalogue.images[role]
        except KeyError:
            if command := container_build(role):
                raise UnknownRoleError(
                    f"image {role!r} stands on the engine's official one, so a container builder makes it: "
                    f"{command}"
                ) from None
            known = ", ".join(self.catalogue.images)
            raise UnknownRoleError(f"there is no image {role!r}; images.yaml has {known}") from None

    def lookup(self, specs: Iterable[ImageSpec]) -> dict[str, BuiltImage]:
        """The images that are built already; reads small files only."""
        if self._packages is None:
            return {}
        found = {}
        for spec in specs:
            if spec.debian is not None and not self._contents.debian_packages(spec):
                continue
            key = self._contents.image_key(spec, self._contents.keys(spec, self._packages))
            record = self.store.read_record("images", key)
            if record is None:
                continue
            tar = self.store.root / "tars" / str(record["tar"])
            if tar.is_file() and tar.stat().st_size == record["size"]:
                found[spec.role] = BuiltImage(
                    role=spec.role,
                    reference=record["reference"],
                    digest=record["digest"],
                    tar=tar,
                    size=record["size"],
                    packages=tuple(record["packages"]),
                )
        return found

    def fetch(self, specs: Iterable[ImageSpec], *, refresh: bool) -> tuple[debian.DebianPackage, ...]:
        """Have every download of these images on disk; under the lock."""
        packages = None if refresh else debian.resolved(self.store, self.catalogue.base)
        if packages is None or not debian.present(self.store, packages):
            packages = debian.resolve(self.store, self.catalogue.base, self.progress)
            self._updated = True
        for spec in specs:
            if spec.debian is not None:
                self._fetch_named(spec.debian.packages, refresh=refresh)
        self._packages = packages
        for spec in specs:
            for lock in self._contents.locks(spec):
                wheels.unpacked(self.store, lock, self.catalogue.base, self.progress)
        return packages

    def _fetch_named(self, names: tuple[str, ...], *, refresh: bool) -> None:
        """Have an image's own packages of Debian on disk."""
        base = self.catalogue.base
        found = None if refresh else debian.resolved_named(self.store, base, names)
        if found is None or not debian.present(self.store, found):
            debian.resolve_named(self.store, base, names, self.progress, update=not self._updated)
            self._updated = True

    def make(self, specs: list[ImageSpec], *, refresh: bool) -> dict[str, BuiltImage]:
        """Build what is missing, keep it, and prune what is old."""
        with self.store.lock(self.progress), ExitStack() as stack:
            self._packages = debian.resolved(self.store, self.catalogue.base)
            if refresh:
                self.fetch(specs, refresh=True)
            # Whoever held the lock before may have built the very same.
            made = self.lookup(specs)
            left = [spec for spec in specs if spec.role not in made]
            if left:
                packages = self.fetch(left, refresh=False)
                bench = Bench(self._contents, packages, stack.enter_context(self.store.work()))
                for spec in left:
                    made[spec.role] = self._assemble(spec, bench)
                prune(self.store, frozenset(self._inputs(packages) | bench.root_names()))
        return made

    def _inputs(self, packages: tuple[debian.DebianPackage, ...]) -> set[str]:
        """Files in the store that present images are made from."""
        base = self.catalogue.base
        found = {f"{debian.base_key(base)}.json", *(package.file for package in packages)}
        for spec in self.catalogue.images.values():
            if spec.debian is not None:
                found.add(f"{debian.named_key(base, spec.debian.packages)}.json")
                found |= {package.file for package in self._contents.debian_packages(spec)}
        return found

    def _assemble(self, spec: ImageSpec, bench: Bench) -> BuiltImage:
        keys = self._contents.keys(spec, bench.packages)
        blobs = []
        for kind, key in keys.items():
            blobs.append(self._blob(kind, key, spec, bench))
            bench.use_base(blobs[0].path)
        python = self._contents.python_packages(spec)
        installed = (*bench.packages, *self._contents.debian_packages(spec))
        listed = {
            "debian": [f"{package.name}={package.version}" for package in installed],
            "python": [f"{package.name}={package.version}" for package in python],
        }
        config = oci.image_config(self.catalogue, spec, blobs, listed)
        reference = oci.reference_of(spec.role, config)
        digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
        bill = sbom.document(
            self.catalogue,
            spec,
            reference=reference,
            digest=digest,
            debian=installed,
            python=python,
        )
        self.progress(f"writing image {spec.role}")
        file = f"{reference.rsplit('/', 1)[1].replace(':', '-')}.tar"
        written = bench.scratch / file
        with written.open("wb") as stream:
            attached = (sbom.MEDIA_TYPE, SBOM_NAME, bill)
            oci.write_archive(stream, reference, config, blobs, attached)
        size = written.stat().st_size
        tar = self.store.folder("tars") / file
        move_into_place(written, tar)
        built = BuiltImage(
            role=spec.role,
            reference=reference,
            digest=digest,
            tar=tar,
            size=size,
            packages=tuple(f"{kind}:{name}" for kind, names in listed.items() for name in names),
        )
        record = {**asdict(built), "tar": file, "layers": [blob.digest for blob in blobs], "keys": keys}
        self.store.write_record("images", self._contents.image_key(spec, keys), record)
        return built

    def _blob(self, kind: str, key: str, spec: ImageSpec, bench: Bench) -> oci.Blob:
        record = self.store.read_record("layers", key)
        if record is not None:
            path = self.store.root / "blobs" / f"{record['digest']}.tar"
            if path.is_file() and path.stat().st_size == record["size"]:
                os.utime(path)
                return oci.Blob(record["digest"], record["size"], path, kind)
        self.progress(f"building the layer of {kind} for {spec.role}")
        layer = bench.layer(kind, spec)
        written = bench.scratch / f"{key}.tar"
        with written.open("wb") as stream:
            digest, size = write_layer(layer, stream)
        if self._contents.keys(spec, bench.packages)[kind] != key:
            raise BuildError(
                f"image {spec.role}: its files changed while the layer of {kind} was made; run this again"
            )
        path = self.store.folder("blobs") / f"{digest}.tar"
        move_into_place(written, path)
        self.store.write_record("layers", key, {"digest": digest, "size": size, "kind": kind})
        return oci.Blob(digest, size, path, kind)
