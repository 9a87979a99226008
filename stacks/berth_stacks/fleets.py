"""From settings to the machines that cost."""

from collections.abc import Iterator, Mapping
from math import ceil
from typing import TYPE_CHECKING, TypedDict

from berth_catalogue.errors import CatalogueError
from berth_catalogue.machines import choose
from berth_planner.cost import Fleet
from berth_planner.prices import PriceKey

from berth_stacks import pools
from berth_stacks.build import Placed, placed
from berth_stacks.grounds import Pool
from berth_stacks.settings import Site, Stack

if TYPE_CHECKING:
    from berth_stacks.grounds_aws import SystemNodes
    from berth_stacks.grounds_gcp import GkeSystemPool

ON_DEMAND = "on-demand"
REPLICA = "replica"
"""Stands for a machine where a model runs on whatever node of an own cluster has room."""


class Devices(TypedDict):
    """What a fleet says of its accelerators, and where it may be."""

    accelerator: str
    accelerators: int
    wanted_accelerators: int
    zones: tuple[str, ...]
    account: str


_EKS_SYSTEM = ("m6i.large", 2, 6)
_GKE_SYSTEM = ("e2-standard-4", 1, 3)


def fleets(stack: Stack, needed: Mapping[str, int] | None = None) -> list[Fleet]:
    """The machines of a stack; none in environment local, where this machine is there anyway.

    Args:
        stack: its settings.
        needed: replicas that the planned load needs, by `<site>/<model>`, as far as they are known.
    """
    if stack.environment == "local":
        return []
    at = placed(stack)
    return [
        fleet
        for key, site in stack.sites.items()
        for fleet in _of_site(key, site, [one for one in at if one.site_key == key], needed or {})
    ]


def _of_site(key: str, site: Site, at: list[Placed], needed: Mapping[str, int]) -> Iterator[Fleet]:
    ground, region = pools.catalogue_ground(site), pools.region_of(site) or key
    for name, pool in site.pools.items():
        yield _pool(f"{key}/{name}", site, pool, [one for one in at if one.model.pool == name], needed)
    if site.sagemaker:
        yield from _endpoints(key, site, at, needed)
    elif ground == "own":
        for one in at:
            if one.model.pool is None:
                fewest, planned, most = _replicas(one, needed)
                price = PriceKey(ground, region, REPLICA, ON_DEMAND)
                yield Fleet(subject=one.title, key=price, fewest=fewest, planned=planned, most=most)
    yield from _system(key, site)


def _pool(subject: str, site: Site, pool: Pool, at: list[Placed], needed: Mapping[str, int]) -> Fleet:
    ground = pools.catalogue_ground(site)
    capacity = pools.capacity_of(pool)
    if ground == "own":
        key, _, name = subject.partition("/")
        fewest = pool.max if pool.min is None else pool.min
        return Fleet(
            subject=subject,
            key=PriceKey(ground, key, name, capacity),
            fewest=fewest,
            planned=fewest if fewest == pool.max else None,
            most=pool.max,
            **_devices(site, pool, at),
        )
    machine = pools.machine_of(site, pool)
    counts = [_replicas(one, needed) for one in at]
    per_node = pool.accelerators_per_node

    def nodes(replicas: list[int]) -> int:
        asked = sum(count * one.gpus for count, one in zip(replicas, at, strict=True))
        return min(max(pool.min or 0, ceil(asked / per_node)), pool.max)

    planned = [one for _, one, _ in counts if one is not None]
    return Fleet(
        subject=subject,
        key=PriceKey(
            ground, pools.region_of(site), machine.name if machine else pool.machine_type or "?", capacity
        ),
        fewest=nodes([fewest for fewest, _, _ in counts]),
        planned=nodes(planned) if len(planned) == len(counts) else None,
        most=nodes([most for _, _, most in counts]),
        **_devices(site, pool, at),
    )


def _devices(site: Site, pool: Pool, at: list[Placed]) -> Devices:
    return {
        "accelerator": pool.accelerator,
        "accelerators": pool.accelerators_per_node,
        "wanted_accelerators": sum(one.most * one.gpus for one in at),
        "zones": tuple(pools.zones_of(site, pool)),
        "account": (site.gke.project or "") if site.gke else "",
    }


def _endpoints(key: str, site: Site, at: list[Placed], needed: Mapping[str, int]) -> Iterator[Fleet]:
    ground = site.sagemaker
    if ground is None:
        return
    machine = ground.instance_type
    if machine is None and ground.accelerator:
        try:
            count = ground.accelerators_per_instance or 1
            machine = f"ml.{choose('aws', ground.accelerator, count).name}"
        except CatalogueError:
            machine = "?"
    fewest, most = ground.scaling.min_instances, ground.scaling.max_instances
    for one in at:
        yield Fleet(
            subject=f"{key}/{one.model_key}",
            key=PriceKey("aws", ground.region, machine or "?", ON_DEMAND),
            fewest=fewest,
            planned=_planned(fewest, most, needed.get(one.title)),
            most=most,
            accelerator=ground.accelerator or "",
            accelerators=ground.accelerators_per_instance or 0,
        )


def _system(key: str, site: Site) -> Iterator[Fleet]:
    """Nodes without accelerators, of clusters that are made here."""
    if site.eks and not site.eks.existing and site.eks.scaling != "auto-mode":
        given: SystemNodes | GkeSystemPool | None = site.eks.system_nodes
        machine, fewest, most = _EKS_SYSTEM
    elif site.gke and not site.gke.existing:
        given = site.gke.system_pool
        machine, fewest, most = _GKE_SYSTEM
    else:
        return
    if given is not None:
        machine = given.machine_type or machine
        fewest, most = given.min_nodes or fewest, given.max_nodes or most
    yield Fleet(
        subject=f"{key}/system",
        key=PriceKey(pools.catalogue_ground(site), pools.region_of(site), machine, ON_DEMAND),
        fewest=fewest,
        planned=fewest if fewest == most else None,
        most=most,
        account=(site.gke.project or "") if site.gke else "",
    )


def _replicas(at: Placed, needed: Mapping[str, int]) -> tuple[int, int | None, int]:
    scaling = at.model.autoscaling
    if scaling is None:
        count = at.model.replicas or 1
        return count, count, count
    return scaling.min, _planned(scaling.min, scaling.max, needed.get(at.title)), scaling.max


def _planned(fewest: int, most: int, needed: int | None) -> int | None:
    """Replicas at the planned load: what it needs, within the limits."""
    if fewest == most:
        return fewest
    return None if needed is None else min(max(needed, fewest), most)
