"""Images of others that are run as they are, beside the engines' own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from berth_catalogue.reading import load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth_catalogue.sources import Source


@dataclass(frozen=True, slots=True)
class Official:
    """One image.

    Attributes:
        role: what it is used as.
        image: registry and name.
        version: its tag.
        sources: where both were read.
    """

    role: str
    image: str
    version: str
    sources: tuple[Source, ...]

    @property
    def reference(self) -> str:
        """The image by its version."""
        return f"{self.image}:{self.version}"


@cache
def official() -> Mapping[str, Official]:
    """Every such image by role.

    Raises:
        CatalogueError: the file says something wrong.
    """
    file = load("official.yaml")
    sources = file.sources()
    found = {}
    for role, entry in file.entries():
        image, version = entry.text("image"), entry.text("version")
        found[role] = Official(role, image, version, entry.cited(sources))
        entry.end()
    return found
