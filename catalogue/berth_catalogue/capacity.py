"""Capacity: what notice a node gets before its cloud takes it, by how the node was bought.

from berth_catalogue.capacity import capacity
capacity("aws", "spot").notice_seconds  # 120
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from berth_catalogue.errors import CatalogueError, unknown
from berth_catalogue.reading import load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth_catalogue.sources import Source

_DATA = "capacity.yaml"
TYPES = ("on-demand", "spot", "reserved")
"""How a node can be bought."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """One way to buy nodes on one ground.

    Attributes:
        ground: aws, gcp or own.
        type: on-demand, spot or reserved.
        notice_seconds: from the notice until the machine is stopped; None if it is not taken at short notice.
        pod_grace_seconds: of that, what a pod gets that is not critical; None if only the notice cuts its
            own grace period short.
        longest_notice_seconds: how far a pool's own setting can stretch the notice; None if nothing can.
        sources: where each figure was read, and when.
    """

    ground: str
    type: str
    notice_seconds: int | None
    pod_grace_seconds: int | None
    longest_notice_seconds: int | None
    sources: tuple[Source, ...]


def capacity(ground: str, kind: str) -> Capacity:
    """One way to buy nodes.

    Raises:
        CatalogueError: there is no such ground, or it does not sell nodes so.
    """
    known = _all()
    grounds = sorted({one for one, _ in known})
    if ground not in grounds:
        raise unknown("ground", ground, grounds, _DATA)
    if (ground, kind) not in known:
        there = ", ".join(one for one in TYPES if (ground, one) in known)
        raise CatalogueError(f"{_DATA}: capacity type {kind!r} does not exist on {ground}; allowed: {there}")
    return known[ground, kind]


@cache
def _all() -> Mapping[tuple[str, str], Capacity]:
    data = load(_DATA)
    table = data.sources()
    made = {}
    for ground, kinds in data.entries():
        for kind, entry in kinds.entries():
            if kind not in TYPES:
                raise unknown(f"{ground}: capacity type", kind, TYPES, _DATA)
            made[ground, kind] = Capacity(
                ground=ground,
                type=kind,
                notice_seconds=entry.maybe_whole("notice_seconds"),
                pod_grace_seconds=entry.maybe_whole("pod_grace_seconds"),
                longest_notice_seconds=entry.maybe_whole("longest_notice_seconds"),
                sources=entry.cited(table),
            )
            entry.end()
    return MappingProxyType(made)
