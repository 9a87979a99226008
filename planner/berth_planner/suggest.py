"""The cheapest pool of a ground that holds a model, by price where prices are known, else by memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from berth_catalogue.accelerators import accelerators
from berth_catalogue.machines import Machine, machines
from berth_catalogue.pairings import pairings

from berth_planner.memory import Workload, on_devices
from berth_planner.prices import Price, PriceKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth_catalogue.planning import Profile, Range

    from berth_planner.asked import Asked
    from berth_planner.plan import Status

SMALL_STEPS = frozenset({"nvidia-a100-40gb", "nvidia-a100-80gb"})
"""On which vLLM takes small steps whatever their memory."""


def fits(needed: Range, there: Range) -> Status:
    """Passed where the worse end fits, failed where the better end does not; what lies between is unknown."""
    if needed.high <= there.low:
        return "passed"
    return "failed" if needed.low > there.high else "unknown"


def suggest(asked: Asked, load: Workload, profile: Profile, prices: Mapping[PriceKey, Price]) -> str:
    """The cheapest machine whose accelerators, all of them for one replica, hold the model.

    Returns:
        Machine, accelerators, and by what it was chosen; "" on own hardware, where nobody sells machines.
    """
    found = [one for one in machines(asked.ground).values() if _holds(asked, load, profile, one)]
    if not found:
        return "" if asked.ground == "own" else f"no machine of {asked.ground} in the catalogue holds it"
    priced = {one.name: prices[key].usd_per_hour for one in found if (key := _key(asked, one)) in prices}
    if priced:
        best = min((one for one in found if one.name in priced), key=lambda one: (priced[one.name], one.name))
        left = len(found) - len(priced)
        by = f"{priced[best.name]:.2f} USD/h" + (f"; {left} others fit, of unknown price" if left else "")
    else:
        best = min(found, key=lambda one: (_memory(one), one.vcpus, one.name))
        by = "least accelerator memory: no price is known"
    return f"{asked.prefix}{best.name}, {best.accelerators} x {best.accelerator} ({by})"


def _key(asked: Asked, one: Machine) -> PriceKey:
    return PriceKey(asked.ground, asked.region, f"{asked.prefix}{one.name}", asked.capacity)


def _memory(one: Machine) -> float:
    return one.accelerators * accelerators()[one.accelerator].memory_gib


def _holds(asked: Asked, load: Workload, profile: Profile, one: Machine) -> bool:
    known = pairings().get((asked.engine, one.accelerator))
    device = accelerators()[one.accelerator]
    if known is None or device.vendor != "nvidia" or load.architecture.attention_heads % one.accelerators:
        return False
    there = on_devices(
        replace(
            load,
            device_gib=device.memory_gib,
            tensor_parallel=one.accelerators,
            pipeline_parallel=1,
            small_steps=one.accelerator in SMALL_STEPS,
        ),
        profile,
    )
    return fits(there.total.range, there.budget.range) == "passed"
