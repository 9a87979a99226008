"""What goes into an image: which files, from where, and the names under which the result is kept."""

from __future__ import annotations

import os
import subprocess
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from berth_images import base, bytecode, debian, rules, wheels
from berth_images.errors import BuildError
from berth_images.layers import Layer
from berth_images.store import Store, file_sha256, key_of

if TYPE_CHECKING:
    from berth_catalogue.images import ImageCatalogue, ImageSpec, WeightsSpec

    from berth_images.debian import DebianPackage

# The kinds of layer, in their order in an image: what changes most often comes last.
BASE, DEBIAN, PYTHON = "debian base", "debian packages", "python packages"
WEIGHTS, OURS = "weights", "berth packages"


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


class Contents:
    """The inputs of every image, as they are on disk now."""

    def __init__(self, store: Store, catalogue: ImageCatalogue, root: Path | None = None) -> None:
        self.store = store
        self.catalogue = catalogue
        self._root = root or workspace()

    @cached_property
    def _recipe(self) -> str:
        """The builder itself is an input: a change of it must not find what the old one made."""
        sources = sorted(Path(__file__).parent.glob("*.py"))
        return key_of(*(file_sha256(path) for path in sources))

    def locks(self, spec: ImageSpec) -> tuple[Path, ...]:
        """The locks whose packages an image needs unpacked."""
        own = () if wheels.is_empty(self._lock(spec)) else (self._lock(spec),)
        return own if spec.weights is None else (*own, self._root / spec.weights.lock)

    def keys(self, spec: ImageSpec, packages: tuple[DebianPackage, ...]) -> dict[str, str]:
        """Kind of layer → the name of everything that it is made from, in the order of the layers."""
        place = self.catalogue
        base_key = key_of(
            BASE,
            self._recipe,
            asdict(place.base),
            asdict(place.user),
            [asdict(package) for package in packages],
        )
        # The base is an input of all byte code: its Python writes it.
        keys = {BASE: base_key}
        if spec.debian is not None:
            found = [asdict(one) for one in self.debian_packages(spec)]
            keys[DEBIAN] = key_of(DEBIAN, base_key, asdict(spec.debian), found)
        lock = self._lock(spec)
        if not wheels.is_empty(lock):
            keys[PYTHON] = key_of(PYTHON, base_key, place.site, wheels.tree_key(lock, place.base))
        if spec.weights is not None:
            weights_lock = file_sha256(self._root / spec.weights.lock)
            keys[WEIGHTS] = key_of(WEIGHTS, self._recipe, weights_lock, asdict(spec.weights))
        if spec.packages:
            sources = {path: file_sha256(file) for path, file in self._sources(spec).items()}
            keys[OURS] = key_of(OURS, base_key, place.site, sources)
        return keys

    def debian_packages(self, spec: ImageSpec) -> tuple[DebianPackage, ...]:
        """The image's own packages of Debian, as they were resolved; none where they were not yet."""
        if spec.debian is None:
            return ()
        return debian.resolved_named(self.store, self.catalogue.base, spec.debian.packages) or ()

    def image_key(self, spec: ImageSpec, keys: dict[str, str]) -> str:
        """The name of everything that an image is made from."""
        return key_of("image", keys, asdict(spec))

    def python_packages(self, spec: ImageSpec) -> tuple[wheels.PythonPackage, ...]:
        """The distributions of others in an image."""
        return () if wheels.is_empty(self._lock(spec)) else wheels.installed(self._tree(self._lock(spec)))

    def python_files(self, spec: ImageSpec) -> dict[str, Path]:
        """Others' files: path in the image → file."""
        tree = self._tree(self._lock(spec))
        files = (path.relative_to(tree) for path in tree.rglob("*") if path.is_file())
        return self._in_site({str(path): tree / path for path in files if wheels.belongs(path)})

    def our_files(self, spec: ImageSpec) -> dict[str, Path]:
        """Our files: path in the image → file."""
        return self._in_site(self._sources(spec))

    def weights_file(self, weights: WeightsSpec) -> Path:
        """The weights file.

        Raises:
            BuildError: its SHA-256 is not the one that the spec names.
        """
        file = self._tree(self._root / weights.lock) / weights.member
        found = file_sha256(file) if file.is_file() else "nothing"
        if found != weights.sha256:
            raise BuildError(
                f"{weights.member} of {weights.lock} has SHA-256 {found}; images.yaml says {weights.sha256}"
            )
        return file

    def _lock(self, spec: ImageSpec) -> Path:
        return self._root / "images" / "locks" / f"{spec.role}.txt"

    def _tree(self, lock: Path) -> Path:
        return wheels.unpacked(self.store, lock, self.catalogue.base)

    def _in_site(self, files: dict[str, Path]) -> dict[str, Path]:
        site = self.catalogue.site.lstrip("/")
        return {f"{site}/{path}": file for path, file in files.items()}

    def _sources(self, spec: ImageSpec) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for package in spec.packages:
            folder = self._root / package
            if not (folder / "__init__.py").is_file():
                raise BuildError(f"image {spec.role}: {folder} is no Python package; images.yaml names it")
            for place, folders, files in os.walk(folder):
                folders[:] = sorted(name for name in folders if name[0] != "." and name != "__pycache__")
                for name in sorted(files):
                    path = Path(place, name)
                    if name[0] != "." and path.suffix not in {".pyc", ".pyo"}:
                        found[str(Path(folder.name) / path.relative_to(folder))] = path
        return found


def _is_program(file: Path) -> bool:
    """Whether the loader runs it: a program or a library."""
    with file.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


class Bench:
    """Where layers are made: a scratch folder, and a base unpacked once, since its Python must run."""

    def __init__(self, contents: Contents, packages: tuple[DebianPackage, ...], scratch: Path) -> None:
        self.packages = packages
        self.scratch = scratch
        self._contents = contents
        self._spec = contents.catalogue.base
        self._count = 0
        self._base_blob = Path()

    def use_base(self, blob: Path) -> None:
        """Name the finished base layer; every other layer is made with the Python inside it."""
        self._base_blob = blob

    def root_names(self) -> set[str]:
        """What of the store's roots folder is in use."""
        return {self._base_blob.stem}

    def layer(self, kind: str, spec: ImageSpec) -> Layer:
        """The content of one layer of an image.

        Raises:
            BuildError: it breaks one of the rules in ``berth_images.rules``.
        """
        if kind == BASE:
            return self._make_base()
        if kind == DEBIAN and spec.debian is not None:
            packages = self._contents.debian_packages(spec)
            layer = base.debian_layer(self._spec, spec.debian, packages, self._contents.store.root / "debs")
            rules.check(layer, {path.name for path in self._finished_root.rglob("*.so*")})
            return layer
        if kind == WEIGHTS and spec.weights is not None:
            layer = Layer()
            layer.add_file(spec.weights.path, self._contents.weights_file(spec.weights))
            return layer
        files = self._contents.python_files(spec) if kind == PYTHON else self._contents.our_files(spec)
        layer = Layer()
        for path, file in files.items():
            layer.add_file(path, file, program=_is_program(file))
        sources = {path: file for path, file in files.items() if path.endswith(".py")}
        self._compile_into(layer, sources, self._finished_root)
        rules.check(layer, {path.name for path in self._finished_root.rglob("*.so*")})
        return layer

    def _make_base(self) -> Layer:
        debs = self._contents.store.root / "debs"
        layer = base.base_layer(self._spec, self._contents.catalogue.user, self.packages, debs)
        root = self.scratch / "thin"
        root.mkdir()
        layer.extract(root)
        library = f"usr/lib/python{self._spec.python}/"
        sources = [path for path, _ in layer.files() if path.startswith(library) and path.endswith(".py")]
        self._compile_into(layer, {path: root / path for path in sources}, root)
        rules.check(layer, set())
        return layer

    @cached_property
    def _finished_root(self) -> Path:
        root = self._contents.store.folder("roots") / self._base_blob.stem
        if not root.is_dir():
            made = self.scratch / "root"
            made.mkdir()
            subprocess.run(["tar", "--extract", "--file", self._base_blob, "--directory", made], check=True)
            made.replace(root)
        return root

    def _compile_into(self, layer: Layer, sources: dict[str, Path], root: Path) -> None:
        self._count += 1
        scratch = self.scratch / f"bytecode-{self._count}"
        scratch.mkdir()
        compiled, _ = bytecode.compile_sources(root, self._spec.python, sources, scratch)
        for path, file in compiled.items():
            layer.add_file(path, file)
