"""The cheapest pool of a ground that holds a model, by price where prices are known, else by memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from berth_catalogue.accelerators import accelerators
from berth_catalogue.machines import Machine, machines
from berth_catalogue.pairings import pairings

from berth_planner.memory import Workload, on_devices

if TYPE_CHECKING:
    from berth_catalogue.planning import Profile, Range

    from berth_planner.asked import Asked
    from berth_planner.plan import Status

Priced = Callable[[Machine], float | None]
"""US dollars per hour of a machine; None where no price is known."""
SMALL_STEPS = frozenset({"nvidia-a100-40gb", "nvidia-a100-80gb"})
"""On which vLLM takes small steps whatever their memory."""


def fits(needed: Range, there: Range) -> Status:
    """Passed where the worse end fits, failed where the better end does not; what lies between is unknown."""
    if needed.high <= there.low:
        return "passed"
    return "failed" if needed.low > there.high else "unknown"


def suggest(asked: Asked, load: Workload, profile: Profile, priced: Priced) -> str:
    """The cheapest machine whose accelerators, all of them for one replica, hold the model.

    Returns:
        Machine, accelerators, and by what it was chosen; "" on own hardware, where nobody sells machines.
    """
    found = [one for one in machines(asked.ground).values() if _holds(asked, load, profile, one)]
    if not found:
        return "" if asked.ground == "own" else f"no machine of {asked.ground} in the catalogue holds it"
    prices = {one.name: priced(one) for one in found}
    known = [one for one in found if prices[one.name] is not None]
    if known:
        best = min(known, key=lambda one: (prices[one.name] or 0, one.name))
        left = len(found) - len(known)
        by = f"{prices[best.name]:.2f} USD/h" + (f"; {left} others fit, of unknown price" if left else "")
    else:
        best = min(found, key=lambda one: (_memory(one), one.vcpus, one.name))
        by = "least accelerator memory: no price is known"
    return f"{best.name}, {best.accelerators} x {best.accelerator} ({by})"


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
