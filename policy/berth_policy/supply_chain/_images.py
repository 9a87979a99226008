"""Names of images."""

import re
from dataclasses import dataclass

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
UNPINNED = "unpinned.invalid"
"""Host of images that nobody has named yet: reserved, so that nothing is ever pulled from it (RFC 6761)."""


@dataclass(frozen=True)
class Name:
    """An image's name, in parts; "" for what it has not.

    Attributes:
        repository: host and path.
        tag: the version.
        digest: sha256:….
    """

    repository: str
    tag: str
    digest: str


def parse(image: str) -> Name:
    """The parts of an image's name; a digest that is none counts as absent."""
    name, _, digest = image.partition("@")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, ""
    return Name(repository, tag, digest if _DIGEST.fullmatch(digest) else "")
