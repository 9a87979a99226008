"""Machines: which types of the clouds' machines have which accelerators, and where they are offered.

from berth_catalogue.machines import choose
choose("aws", "nvidia-a10g", 1).name  # g5.xlarge
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING

from berth_catalogue.accelerators import accelerator, accelerators
from berth_catalogue.capacity import TYPES
from berth_catalogue.errors import CatalogueError, unknown
from berth_catalogue.reading import Entry, load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth_catalogue.sources import Source

DATA_DATE = "2026-11-23"
"""The day the machines were last compared with their sources, which give versions and dates of their own."""

_FILES = {"aws": "machines_aws.json", "gcp": "machines_gcp.yaml"}
_GROUNDS = ("aws", "gcp", "own")


@dataclass(frozen=True, slots=True)
class Machine:
    """One type of machine with accelerators.

    Attributes:
        ground: aws or gcp.
        name: the cloud's name for it.
        accelerator: key of its accelerator.
        accelerators: how many it has.
        vcpus: its virtual CPUs.
        memory_gib: its memory, GiB.
        zones: the zones that offer it, by region, or None where no source says. A region that is left
            out does not offer it. AWS gives zones' names to accounts differently, so there only the region
            and `zone_ids` are facts for everybody, and the names are those of the account that was asked.
        zone_ids: on AWS, the zones' ids by region, which are the same for every account; else None.
        tpu_topology: the topology of a single-host slice, such as 2x4; None without TPUs.
        capacity_types: how it is sold: on-demand, spot, reserved.
        sources: where each figure was read, and when.
    """

    ground: str
    name: str
    accelerator: str
    accelerators: int
    vcpus: int
    memory_gib: float
    zones: Mapping[str, tuple[str, ...]] | None
    zone_ids: Mapping[str, tuple[str, ...]] | None
    tpu_topology: str | None
    capacity_types: tuple[str, ...]
    sources: tuple[Source, ...]


def machines(ground: str) -> Mapping[str, Machine]:
    """Every machine of a ground, by name; none on own hardware, where the cluster says what is there.

    Raises:
        CatalogueError: there is no such ground, or its data are wrong.
    """
    return _ground(ground)[0]


def regions(ground: str) -> tuple[str, ...]:
    """The regions that the ground's data cover: of any other one they say nothing."""
    return _ground(ground)[1]


def machine(ground: str, name: str) -> Machine:
    """One machine.

    Raises:
        CatalogueError: the ground's data lack it; the message lists those that are there.
    """
    known = machines(ground)
    if name not in known:
        raise unknown("machine", name, known, _FILES.get(ground, "own hardware"))
    return known[name]


def choose(ground: str, accelerator_key: str, per_node: int, capacity_type: str | None = None) -> Machine:
    """The smallest machine with exactly that many of that accelerator: fewest vCPUs, then least memory.

    Args:
        ground: aws or gcp.
        accelerator_key: the accelerator's key.
        per_node: how many of it.
        capacity_type: how the machine must be sold; Google sells some as Spot only. Default: any way.

    Raises:
        CatalogueError: the ground has none; the message says what it has instead.
    """
    title = accelerator(accelerator_key).title
    there = machines(ground)
    file = _FILES.get(ground, "own hardware")
    having = [one for one in there.values() if one.accelerator == accelerator_key]
    if not having:
        others = ", ".join(sorted({one.accelerator for one in there.values()})) or "what the cluster has"
        raise CatalogueError(f"{file}: no machine on {ground} has {title}; accelerators there: {others}")
    fitting = [one for one in having if one.accelerators == per_node]
    if not fitting:
        counts = ", ".join(str(count) for count in sorted({one.accelerators for one in having}))
        raise CatalogueError(
            f"{file}: no machine on {ground} has exactly {per_node} x {title}; they have {counts}"
        )
    sold = [one for one in fitting if capacity_type is None or capacity_type in one.capacity_types]
    if not sold:
        ways = ", ".join(f"{one.name} is sold as {' or '.join(one.capacity_types)}" for one in fitting)
        raise CatalogueError(
            f"{file}: no machine on {ground} with {per_node} x {title} is sold as {capacity_type!r}: {ways}"
        )
    return min(sold, key=lambda one: (one.vcpus, one.memory_gib, one.name))


def offered(one: Machine, region: str) -> tuple[str, ...] | None:
    """The zones of a region that offer a machine: none if it does not, None if the data do not say."""
    if one.zones is None or region not in regions(one.ground):
        return None
    return one.zones.get(region, ())


@cache
def _ground(ground: str) -> tuple[Mapping[str, Machine], tuple[str, ...]]:
    if ground not in _GROUNDS:
        raise unknown("ground", ground, _GROUNDS, "the catalogue")
    if ground not in _FILES:
        return MappingProxyType({}), ()
    file = _FILES[ground]
    if file.endswith(".json"):
        # JSON, because these data are long and derived: it is read ten times as fast.
        data = Entry(file, "", json.loads((files("berth_catalogue") / file).read_text("utf-8")))
    else:
        data = load(file)
    table = data.sources()
    known = data.texts("regions")
    listed = data.entry("machines")
    data.end()
    made = {name: _machine(ground, name, entry, table, known) for name, entry in listed.entries()}
    return MappingProxyType(made), known


def _machine(
    ground: str, name: str, entry: Entry, table: Mapping[str, Source], known: tuple[str, ...]
) -> Machine:
    made = Machine(
        ground=ground,
        name=name,
        accelerator=entry.text("accelerator", tuple(accelerators())),
        accelerators=entry.whole("accelerators"),
        vcpus=entry.whole("vcpus"),
        memory_gib=entry.number("memory_gib"),
        zones=_zones(entry, "zones", known),
        zone_ids=_zones(entry, "zone_ids", known),
        tpu_topology=entry.maybe_text("tpu_topology"),
        capacity_types=entry.texts("capacity_types", TYPES),
        sources=entry.cited(table),
    )
    entry.end()
    return made


def _zones(entry: Entry, key: str, known: tuple[str, ...]) -> Mapping[str, tuple[str, ...]] | None:
    if not entry.has(key):
        return None
    by_region = entry.entry(key)
    zones = {}
    for region in by_region.keys():  # noqa: SIM118 - an entry, not a dict: it is emptied while read
        if region not in known:
            raise by_region.wrong(region, region, "a region of the file's list")
        zones[region] = by_region.texts(region)
    return MappingProxyType(zones)
