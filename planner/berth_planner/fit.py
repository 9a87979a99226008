"""Whether a model fits what it is placed on, at its planned concurrency and context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth_catalogue.accelerators import accelerator
from berth_catalogue.planning import Profile, Range, planning

from berth_planner.figures import GIB, Figure, add, exact, less
from berth_planner.memory import Memory, Workload, cache, on_devices, weights
from berth_planner.plan import Check, Section, Status
from berth_planner.suggest import SMALL_STEPS, fits, suggest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from berth_planner.asked import Asked
    from berth_planner.prices import Price, PriceKey

_MIB = 2**20
_FP8 = "fp8"
_MEASURE = "run it once on such a device, and see in its log what it takes"
_NO_ROOM = "fewer concurrency.slots, a shorter tokens.maxTotal, engine.kvCacheDtype: fp8, or more memory"


def fit(asked: Asked, prices: Mapping[PriceKey, Price]) -> Section:
    """Memory of one model at one site: checks, figures, and the cheapest pool that would hold it.

    Args:
        asked: the model and where it is to be.
        prices: what machines cost, as far as that is known.
    """
    if asked.device == "cpu":
        return _on_cpu(asked)
    found = _workload(asked)
    if isinstance(found, Check):
        return _section(asked, (found,), ())
    profile = planning().profile(asked.engine, asked.version)
    if asked.device != "gpu" or profile is None:
        return _without_profile(asked, found)
    memory = on_devices(found, profile)
    return _section(
        asked,
        tuple(_checks(asked, found, memory, profile)),
        memory.figures,
        suggest(asked, found, profile, prices),
    )


def _workload(asked: Asked) -> Workload | Check:
    known = asked.quantisation
    if known is None:
        return _unknown(
            asked,
            "weights",
            f"quantised as {asked.quantised_as}",
            f"one of {', '.join(planning().quantisations)}",
            "no data say how many bits a weight takes",
            "one of those as engine.quantisation, or a measurement of your own before production",
        )
    device = accelerator(asked.accelerator)
    return Workload(
        architecture=asked.architecture,
        quantisation=known,
        cache_bytes=planning().cache_bytes[_FP8 if asked.cache_type.startswith(_FP8) else "auto"],
        device_gib=device.memory_gib * asked.accelerators / (asked.tensor_parallel * asked.pipeline_parallel),
        visible=planning().visible,
        tensor_parallel=asked.tensor_parallel,
        pipeline_parallel=asked.pipeline_parallel,
        fraction=asked.fraction,
        sequences=asked.slots,
        context_tokens=asked.max_total,
        small_steps=asked.accelerator in SMALL_STEPS,
    )


def _checks(asked: Asked, load: Workload, memory: Memory, profile: Profile) -> Iterator[Check]:
    budget, total = memory.budget, memory.total
    yield Check(
        subject=asked.subject,
        name="memory",
        status=fits(total.range, budget.range),
        found=f"{_span(total.range)} {_where(load)}",
        wanted=f"at most {_span(budget.range)}",
        why=(
            f"{asked.slots} requests of {asked.max_total:,} tokens; "
            f"{memory.requests.value:.1f} ({memory.requests.low:.1f} to {memory.requests.high:.1f}) fit"
        ),
        remedy=_NO_ROOM,
    )
    left = exact(load.device_gib * load.visible.expected - budget.value)
    needed = memory.graphs.range
    if not profile.covers_activations:
        needed = add(needed, memory.activations.range)
    yield Check(
        subject=asked.subject,
        name="beside the budget",
        status=fits(needed, left),
        found=_span(needed),
        wanted=f"at most {left.expected:.1f} GiB",
        why="CUDA graphs are captured outside of the engine's share of the memory"
        if profile.covers_activations
        else "CUDA graphs and activations lie outside of the engine's share of the memory",
        remedy="a smaller engine.memoryFraction",
    )


def _on_cpu(asked: Asked) -> Section:
    base = planning().cpu_base.get(asked.engine)
    if base is None or not asked.file_bytes or not asked.memory_limit:
        why = "no data for this engine on a CPU"
        check = _unknown(asked, "memory", "nothing is known", "figures", why, _MEASURE)
        return _section(asked, (check,), ())
    load = Workload(
        architecture=asked.architecture,
        quantisation=planning().quantisation("bf16"),
        cache_bytes=2,
        device_gib=asked.memory_limit / GIB,
        visible=exact(1),
        sequences=asked.slots,
        context_tokens=asked.max_total,
    )
    held = exact(asked.file_bytes / GIB)
    needed = cache(load, asked.slots)
    besides = Range(*(one * _MIB / GIB for one in (base.low, base.expected, base.high)))
    total = add(held, needed.range, besides)
    limit = asked.memory_limit / GIB
    figures = (
        _plain("limit", exact(limit), "engine.resources.memoryLimit / 2^30", {"bytes": asked.memory_limit}),
        _plain("weights", held, "size of the file / 2^30", {"bytes": asked.file_bytes}),
        needed,
        _plain("base", besides, "measured", {"MiB": base.expected}),
        _plain("total", total, "weights + cache needed + base", {}),
    )
    check = Check(
        subject=asked.subject,
        name="memory",
        status=fits(total, exact(limit)),
        found=_span(total),
        wanted=f"at most {limit:.2f} GiB",
        why=f"{asked.slots} requests of {asked.max_total:,} tokens; the kernel kills what takes more",
        remedy="a larger engine.resources.memoryLimit, fewer concurrency.slots, or a shorter tokens.maxTotal",
    )
    return _section(asked, (check,), figures)


def _without_profile(asked: Asked, load: Workload) -> Section:
    """Weights and cache alone can say that it does not fit, never that it does."""
    weighed = weights(load)
    needed = cache(load, load.sequences)
    least = add(weighed.range, needed.range)
    there = load.device_gib
    status: Status = "failed" if least.low > there else "unknown"
    check = Check(
        subject=asked.subject,
        name="memory",
        status=status,
        found=f"{_span(least)} of weights and cache {_where(load)}",
        wanted=f"less than {there:.1f} GiB, with room for what {asked.engine} takes besides",
        why=f"no source says what {asked.engine} takes on {asked.accelerator} besides",
        remedy=_NO_ROOM if status == "failed" else _MEASURE,
    )
    rest = less(exact(there), least)
    left = _plain("left", rest, "device_gib - weights - cache needed", {"device_gib": there})
    return _section(asked, (check,), (weighed, needed, left))


def _plain(name: str, value: Range, formula: str, inputs: dict[str, float | str]) -> Figure:
    return Figure(
        name=name,
        unit="GiB",
        value=value.expected,
        low=value.low,
        high=value.high,
        formula=formula,
        inputs=inputs,
    )


def _where(load: Workload) -> str:
    devices = load.tensor_parallel * load.pipeline_parallel
    return f"on each of {devices} devices" if devices > 1 else "on the device"


def _span(value: Range) -> str:
    if value.low == value.high:
        return f"{value.expected:.2f} GiB"
    return f"{value.expected:.2f} GiB ({value.low:.2f} to {value.high:.2f})"


def _unknown(asked: Asked, name: str, found: str, wanted: str, why: str, remedy: str = "") -> Check:  # noqa: PLR0917 - the fields of a check, in its order
    return Check(
        subject=asked.subject, name=name, status="unknown", found=found, wanted=wanted, why=why, remedy=remedy
    )


def _section(
    asked: Asked, checks: tuple[Check, ...], figures: tuple[Figure, ...], suggestion: str = ""
) -> Section:
    on = f"{asked.accelerators} x {asked.accelerator}" if asked.accelerator else "the CPU"
    simulated = " (simulated)" if asked.simulated else ""
    return Section(
        subject=asked.subject,
        title=f"{asked.name} on {asked.engine}, {on}{simulated}",
        checks=checks,
        figures=figures,
        suggestion=suggestion,
    )
