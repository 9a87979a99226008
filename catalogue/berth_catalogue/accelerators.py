"""Accelerators: what a pool of nodes computes on, and by which names a cluster knows it.

from berth_catalogue.accelerators import accelerator
accelerator("nvidia-l4").resource  # nvidia.com/gpu
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from berth_catalogue.errors import unknown
from berth_catalogue.reading import Entry, load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth_catalogue.sources import Source

_DATA = "accelerators.yaml"
_VENDORS = ("nvidia", "aws", "google")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")

Vendor = Literal["nvidia", "aws", "google"]


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One kind of accelerator.

    Attributes:
        key: its name in every setting.
        title: its maker's name for it.
        vendor: whose driver and device plugin it needs.
        memory_gib: memory of one device, GiB.
        resource: the extended resource that a pod requests; one unit is one device.
        gke_accelerator: value of the label cloud.google.com/gke-accelerator, where GKE has it.
        gke_tpu: value of the label cloud.google.com/gke-tpu-accelerator, where it is a TPU.
        product_labels: every known value of nvidia.com/gpu.product (GPU feature discovery).
        taint: key, value and effect that keep other pods off its nodes.
        sources: where each figure was read, and when.
    """

    key: str
    title: str
    vendor: Vendor
    memory_gib: float
    resource: str
    gke_accelerator: str | None
    gke_tpu: str | None
    product_labels: tuple[str, ...]
    taint: tuple[str, str, str]
    sources: tuple[Source, ...]


@cache
def accelerators() -> Mapping[str, Accelerator]:
    """Every accelerator, by key.

    Raises:
        CatalogueError: the data are wrong.
    """
    data = load(_DATA)
    table = data.sources()
    return MappingProxyType({key: _accelerator(key, entry, table) for key, entry in data.entries()})


def accelerator(key: str) -> Accelerator:
    """One accelerator.

    Raises:
        CatalogueError: it is not in the catalogue; the message lists those that are.
    """
    known = accelerators()
    if key not in known:
        raise unknown("accelerator", key, known, _DATA)
    return known[key]


def _accelerator(key: str, entry: Entry, table: Mapping[str, Source]) -> Accelerator:
    taint = entry.entry("taint")
    made = Accelerator(
        key=key,
        title=entry.text("title"),
        vendor=_vendor(entry),
        memory_gib=entry.number("memory_gib"),
        resource=entry.text("resource"),
        gke_accelerator=entry.maybe_text("gke_accelerator"),
        gke_tpu=entry.maybe_text("gke_tpu"),
        product_labels=entry.texts("product_labels"),
        taint=(taint.text("key"), taint.text("value"), taint.text("effect", _EFFECTS)),
        sources=entry.cited(table),
    )
    taint.end()
    entry.end()
    return made


def _vendor(entry: Entry) -> Vendor:
    value = entry.text("vendor", _VENDORS)
    for vendor in ("nvidia", "aws", "google"):
        if vendor == value:
            return vendor
    raise AssertionError(value)
