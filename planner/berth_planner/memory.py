"""Memory that a model takes on each device. The formulas are explained in docs/planner.md, names as there.

    memory = on_devices(Workload(architecture=…, quantisation=…, …))
    memory.weights.value, memory.cache_pool.value  # GiB on each device

Everything is of one device; a tensor-parallel degree cuts weights, heads and layers over several.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from berth_catalogue.planning import Profile, Quantisation, Range, planning

from berth_planner.figures import GIB, Figure, add, exact, less, most, times

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth_catalogue.architecture import Architecture

_LARGE_GIB = 70
"""From here on vLLM takes larger steps, but on A100s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What an engine is to hold.

    Attributes:
        architecture: the model's numbers.
        quantisation: how its weights are quantised.
        cache_bytes: bytes of a value in the cache of keys and values.
        device_gib: memory of one device, as its cloud reports it, GiB.
        visible: share of it that the engine sees.
        tensor_parallel: devices that each layer is cut over.
        pipeline_parallel: groups of devices that the layers are spread over.
        fraction: share of the memory that the engine takes; None for its own default.
        sequences: requests at once.
        context_tokens: tokens of one request, prompt and answer.
        batched_tokens: tokens of one step; None for the engine's own default.
        small_steps: whether the device is one on which vLLM takes small steps whatever its memory (A100).
    """

    architecture: Architecture
    quantisation: Quantisation
    cache_bytes: int
    device_gib: float
    visible: Range
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    fraction: float | None = None
    sequences: int
    context_tokens: int
    batched_tokens: int | None = None
    small_steps: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory of one device, GiB; the cache in tokens besides.

    Attributes:
        weights: the model's.
        activations: what a step takes while it is computed.
        overhead: driver, kernels, communication.
        graphs: CUDA graphs, on top of the engine's share.
        budget: the engine's share of what it sees of the device.
        cache_pool: what is left of the budget for keys and values.
        cache_needed: what the planned requests need at their full length.
        cache_request: what one of them needs.
        requests: how many fit at their full length.
        total: all but the graphs, with the cache that is needed.
    """

    weights: Figure
    activations: Figure
    overhead: Figure
    graphs: Figure
    budget: Figure
    cache_pool: Figure
    cache_needed: Figure
    cache_request: Figure
    requests: Figure
    total: Figure

    @property
    def figures(self) -> tuple[Figure, ...]:
        """In the order in which one reads them."""
        return (
            self.budget,
            self.weights,
            self.activations,
            self.overhead,
            self.cache_pool,
            self.cache_request,
            self.cache_needed,
            self.requests,
            self.total,
            self.graphs,
        )


def on_devices(load: Workload, profile: Profile) -> Memory:
    """The memory of each device.

    Args:
        load: what the engine is to hold.
        profile: what it takes besides.
    """
    weighed = weights(load)
    working = activations(load, profile)
    several = load.tensor_parallel > 1
    overhead = profile.overhead_several if several else profile.overhead_one
    share = exact(load.fraction) if load.fraction is not None else profile.fraction
    budget = times(times(load.visible, load.device_gib), share)
    held = working.range if profile.covers_activations else exact(0)
    pool = less(budget, weighed.range, held, overhead)
    request, needed = cache(load, 1, "cache of one request"), cache(load, load.sequences)
    total = add(weighed.range, held, overhead, needed.range)
    counted = "weights + activations + overhead" if profile.covers_activations else "weights + overhead"
    of_device = {"device_gib": load.device_gib, "visible": load.visible.expected, "fraction": share.expected}
    return Memory(
        weights=weighed,
        activations=working,
        overhead=_figure("overhead", overhead, "measured", {"devices": load.tensor_parallel}, profile),
        graphs=_figure("CUDA graphs", profile.graphs, "measured", {}, profile),
        budget=_figure("budget", budget, "device_gib * visible * fraction", of_device, profile),
        cache_pool=_figure("cache pool", pool, f"budget - ({counted})", {}, profile),
        cache_request=request,
        cache_needed=needed,
        requests=_figure(
            "full requests",
            _ratio(pool, request.value),
            "cache pool / cache of one request",
            {},
            profile,
            unit="requests",
        ),
        total=_figure("total", total, f"{counted} + cache needed", {}, profile),
    )


def weights(load: Workload) -> Figure:
    """Weights of one device: quantised parts by their bits, the others with 16."""
    parts = load.architecture.parts
    changed = sum(int(getattr(parts, name)) for name in load.quantisation.parts)
    kept, groups = parts.total - changed, load.pipeline_parallel
    extra = 0
    if groups > 1:
        # Layers are spread evenly, but the first group has the embedding besides, as the last has the output.
        extra = load.architecture.vocabulary * load.architecture.hidden_size
        kept -= parts.embeddings
    cut = load.tensor_parallel
    value = ((changed * load.quantisation.bits / 8 + kept * 2) / groups + extra * 2) / cut / GIB
    inputs: dict[str, float | str] = {
        "quantised": changed,
        "bits": load.quantisation.bits,
        "others": kept,
        "groups": groups,
        "embedding": extra,
        "devices": cut,
    }
    return _figure(
        "weights",
        times(planning().weights, value),
        "((quantised * bits / 8 + others * 2) / groups + embedding * 2) / devices / 2^30",
        inputs,
        load.quantisation,
    )


def activations(load: Workload, profile: Profile) -> Figure:
    """What a step takes: the larger of sampling and of the widest layer, beside the hidden states."""
    model, cut = load.architecture, load.tensor_parallel
    tokens = batched(load, profile)
    stream = exact(tokens * model.hidden_size * 2 * 3 / GIB)
    wide = exact(tokens * 2 * 3 * model.intermediate_size / cut / GIB)
    of_experts = exact(0)
    if model.experts is not None:
        one = model.experts.intermediate_size / cut
        buffers = tokens * model.experts.per_token * (max(2 * one, model.hidden_size) + one) * 2 / GIB
        of_experts = times(planning().expert_factor, buffers)
        if model.experts.dense_layers == 0:
            wide = exact(0)
    sampled = times(profile.logit_bytes, load.sequences * model.vocabulary / GIB)
    kept = of_experts if profile.experts_kept else exact(0)
    value = add(most(add(sampled, kept), add(wide, of_experts)), stream)
    inputs: dict[str, float | str] = {
        "sequences": load.sequences,
        "vocabulary": model.vocabulary,
        "logit_bytes": profile.logit_bytes.expected,
        "tokens": tokens,
        "hidden": model.hidden_size,
        "width": model.intermediate_size,
        "devices": cut,
        "experts_gib": round(of_experts.expected, 4),
    }
    return _figure(
        "activations",
        value,
        "max(sequences * vocabulary * logit_bytes + kept experts, tokens * 6 * width / devices + experts)"
        " + tokens * 6 * hidden",
        inputs,
        profile,
    )


def batched(load: Workload, profile: Profile) -> int:
    """Tokens of one step."""
    if load.batched_tokens is not None:
        return load.batched_tokens
    large = load.device_gib >= _LARGE_GIB and not load.small_steps
    return profile.batched_large if large else profile.batched_other


def cache_bytes_per_token(load: Workload) -> float:
    """Bytes that a token's keys and values take on each device, in layers that see everything."""
    model = load.architecture
    near = model.window.layers if model.window else 0
    return ceil((model.layers - near) / load.pipeline_parallel) * _per_layer(load)


def cache(load: Workload, requests: int, name: str = "cache needed") -> Figure:
    """Keys and values of requests at their full length, on each device."""
    model, tokens = load.architecture, load.context_tokens
    groups = load.pipeline_parallel
    layers, near = ceil(model.layers / groups), 0
    seen = tokens
    if model.window is not None:
        near = model.window.layers // groups
        # The cache of a window lets go of old tokens between steps, not within one.
        seen = min(tokens, model.window.tokens + (load.batched_tokens or 8192))
    value = requests * ((layers - near) * tokens + near * seen) * _per_layer(load) / GIB
    inputs: dict[str, float | str] = {
        "requests": requests,
        "tokens": tokens,
        "layers": layers,
        "values": model.kv_values,
        "bytes": load.cache_bytes,
        "shares": _shares(load),
    }
    formula = "requests * tokens * layers * values * bytes / shares / 2^30"
    if near:
        inputs |= {"near_layers": near, "near_tokens": seen}
        formula = (
            "requests * ((layers - near_layers) * tokens + near_layers * near_tokens)"
            " * values * bytes / shares / 2^30"
        )
    return _figure(name, exact(value), formula, inputs, None)


def _per_layer(load: Workload) -> float:
    return load.architecture.kv_values * load.cache_bytes / _shares(load)


def _shares(load: Workload) -> float:
    """Devices that the cache is cut over: heads are shared out, a compressed one is on each device."""
    model = load.architecture
    if model.latent is not None:
        return 1
    return model.kv_heads / ceil(model.kv_heads / load.tensor_parallel)


def _ratio(pool: Range, one: float) -> Range:
    return Range(max(pool.low, 0) / one, max(pool.expected, 0) / one, max(pool.high, 0) / one)


def _figure(
    name: str,
    value: Range,
    formula: str,
    inputs: Mapping[str, float | str],
    cited: Profile | Quantisation | None,
    *,
    unit: str = "GiB",
) -> Figure:
    return Figure(
        name=name,
        unit=unit,
        value=value.expected,
        low=value.low,
        high=value.high,
        formula=formula,
        inputs=inputs,
        sources=cited.sources if cited else (),
    )
