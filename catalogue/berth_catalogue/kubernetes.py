"""Versions of Kubernetes that the clouds' managed services support, and until when.

from berth_catalogue.kubernetes import support
support("aws", "1.31", date(2026, 11, 23))  # extended
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from berth_catalogue.errors import CatalogueError, unknown
from berth_catalogue.reading import load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from berth_catalogue.sources import Source

_DATA = "kubernetes.yaml"
_MINOR = re.compile(r"1\.\d{1,3}")

Support = Literal["standard", "extended", "ended"]


@dataclass(frozen=True, slots=True)
class KubernetesVersion:
    """One minor version on one ground.

    Attributes:
        ground: aws (EKS) or gcp (GKE).
        version: such as 1.34.
        standard_until: last day of standard support.
        extended_until: last day of extended support, which costs extra; None where no source says.
        sources: where each day was read, and when.
    """

    ground: str
    version: str
    standard_until: date
    extended_until: date | None
    sources: tuple[Source, ...]


def kubernetes_versions(ground: str) -> Mapping[str, KubernetesVersion]:
    """The versions of a ground that have a source, oldest first.

    Raises:
        CatalogueError: there is no such ground.
    """
    if ground not in _all():
        raise unknown("ground", ground, _all(), _DATA)
    return _all()[ground]


def support(ground: str, version: str, day: date) -> Support | None:
    """What support a version has on a day; None if the data do not have the version.

    Where no source says when extended support ends, it is taken not to have ended.

    Raises:
        CatalogueError: there is no such ground.
    """
    one = kubernetes_versions(ground).get(version)
    if one is None:
        return None
    if day <= one.standard_until:
        return "standard"
    return "extended" if one.extended_until is None or day <= one.extended_until else "ended"


@cache
def _all() -> Mapping[str, Mapping[str, KubernetesVersion]]:
    data = load(_DATA)
    table = data.sources()
    made: dict[str, Mapping[str, KubernetesVersion]] = {}
    for ground, listed in data.entries():
        versions = {}
        for version, entry in listed.entries():
            if not _MINOR.fullmatch(version):
                raise CatalogueError(
                    f"{_DATA}: {ground}: {version!r} must be a minor version, such as '1.34'"
                )
            versions[version] = KubernetesVersion(
                ground=ground,
                version=version,
                standard_until=entry.day("standard_until"),
                extended_until=entry.maybe_day("extended_until"),
                sources=entry.cited(table),
            )
            entry.end()
        made[ground] = MappingProxyType(versions)
    return MappingProxyType(made)
