"""A model that the catalogue lacks, by its config.json as transformers writes it.

    found = from_config(json.loads(text), "config.json")
    found.architecture, found.quantisation

What is not known to be computed right is refused by name, never guessed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from berth_catalogue import engines
from berth_catalogue.accelerators import accelerator
from berth_catalogue.architecture import Architecture, Experts, Latent, Window
from berth_catalogue.errors import CatalogueError
from berth_catalogue.pairings import pairings
from berth_catalogue.planning import PARTS, Quantisation, planning

from berth_planner.asked import Asked
from berth_planner.errors import PlannerError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_DENSE = ("llama", "mistral", "qwen2", "qwen3", "phi3", "granite", "gemma2", "gemma3_text")
_SPARSE = ("mixtral", "qwen2_moe", "qwen3_moe", "gpt_oss")
_LATENT = ("deepseek_v2", "deepseek_v3")
MODEL_TYPES = (*_DENSE, *_SPARSE, *_LATENT)
"""Kinds of models whose memory is computed."""
_BITS = 4
"""Of awq and gptq, which have others, too."""
_METHODS = {
    "fp8": "fp8",
    "fbgemm_fp8": "fp8",
    "awq": "awq",
    "gptq": "gptq",
    "mxfp4": "mxfp4",
}
_KEPT = {"self_attn": "attention", "mlp": "feed_forward", "experts": "experts"}
"""Names in modules_to_not_convert that are whole parts."""


@dataclass(frozen=True, slots=True)
class Configured:
    """What a config.json says.

    Attributes:
        architecture: the model's numbers.
        context_tokens: its longest context.
        quantisation: how its weights are quantised.
    """

    architecture: Architecture
    context_tokens: int
    quantisation: Quantisation


def from_file(file: Path) -> Configured:
    """Read a config.json from a file.

    Raises:
        PlannerError: it cannot be read, or what it says cannot be planned.
    """
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PlannerError(f"{file}: cannot be read as JSON: {error}") from None
    if not isinstance(config, dict):
        raise PlannerError(f"{file}: must be a JSON object, as transformers writes a config.json")
    return from_config(config, str(file))


def placed(model: Configured, name: str, on: str, numbers: tuple[int, int, int], engine: str) -> Asked:
    """The model on accelerators, each of which computes a part of every layer.

    Args:
        model: what its config.json says.
        name: what to call it.
        on: key of the accelerator.
        numbers: accelerators of a replica, requests at once, tokens of a request.
        engine: its name in the catalogue.

    Raises:
        PlannerError: the accelerator or engine is unknown, or a number makes no sense.
    """
    count, slots, tokens = numbers
    try:
        accelerator(on)
        version = next(iter(engines.engine(engine).builds.values())).version
    except CatalogueError as error:
        raise PlannerError(str(error)) from None
    for word, value in (("--count", count), ("--slots", slots), ("--tokens", tokens)):
        if value < 1:
            raise PlannerError(f"{word}: must be a whole number from 1, got {value}")
    if tokens > model.context_tokens:
        raise PlannerError(f"--tokens: the model's context is {model.context_tokens}, got {tokens}")
    if model.architecture.attention_heads % count:
        heads = model.architecture.attention_heads
        raise PlannerError(f"--count: must divide the {heads} attention heads, got {count}")
    known = pairings().get((engine, on))
    if known is None:
        raise PlannerError(f"--engine: no source says that {engine} serves on {on}")
    return Asked(
        subject=name,
        name=name,
        architecture=model.architecture,
        quantised_as=model.quantisation.name,
        quantisation=model.quantisation,
        file_bytes=0,
        engine=engine,
        version=version,
        device=engines.engine(engine).builds[known.image_role].device,
        ground="own",
        region="",
        capacity="on-demand",
        prefix="",
        accelerator=on,
        accelerators=count,
        simulated=False,
        tensor_parallel=count,
        pipeline_parallel=1,
        fraction=None,
        cache_type="",
        slots=slots,
        max_total=tokens,
        memory_limit=0,
    )


def from_config(config: Mapping[str, Any], file: str) -> Configured:
    """Read a config.json.

    Args:
        config: what it says.
        file: its name, for messages.

    Raises:
        PlannerError: a key is missing or wrong, or the model is of a kind that is not computed.
    """
    keys = _Keys(config, file)
    kind = keys.text("model_type")
    for tower in ("vision_config", "audio_config"):
        if tower in config:
            raise PlannerError(
                f"{file}: {tower}: memory of a tower for images or sound is not computed; "
                "only language models are planned"
            )
    if kind not in MODEL_TYPES:
        raise PlannerError(
            f"{file}: model_type {kind!r}: how much memory such a model takes is not known here; "
            f"known: {', '.join(sorted(MODEL_TYPES))}"
        )
    heads = keys.whole("num_attention_heads")
    hidden = keys.whole("hidden_size")
    layers = keys.whole("num_hidden_layers")
    made = Architecture(
        layers=layers,
        hidden_size=hidden,
        intermediate_size=keys.whole("intermediate_size"),
        attention_heads=heads,
        kv_heads=keys.whole("num_key_value_heads", heads),
        head_dim=keys.whole("head_dim", max(hidden // heads, 1)),
        vocabulary=keys.whole("vocab_size"),
        attention_bias=kind in {"qwen2", "qwen2_moe"} or bool(config.get("attention_bias")),
        # Gemma's classes share the embedding where the file says nothing.
        tied_embeddings=bool(config.get("tie_word_embeddings", kind.startswith("gemma"))),
        query_key_norm=kind in {"qwen3", "qwen3_moe", "gemma3_text"},
        experts=_experts(keys, kind) if kind in (*_SPARSE, *_LATENT) else None,
        latent=_latent(keys) if kind in _LATENT else None,
        window=_window(keys, kind, layers),
    )
    return Configured(made, keys.whole("max_position_embeddings"), _quantisation(config, file))


class _Keys:
    def __init__(self, config: Mapping[str, Any], file: str) -> None:
        self._config, self.file = config, file

    def text(self, key: str) -> str:
        value = self._config.get(key)
        if not isinstance(value, str):
            raise PlannerError(f"{self.file}: {key}: must be a text, got {value!r}")
        return value

    def whole(self, key: str, default: int | None = None, least: int = 1) -> int:
        value = self._config.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise PlannerError(f"{self.file}: {key}: must be a whole number from {least}, got {value!r}")
        return value

    def get(self, key: str) -> Any:
        return self._config.get(key)


def _experts(keys: _Keys, kind: str) -> Experts:
    if kind in _LATENT:
        size = keys.whole("moe_intermediate_size")
        return Experts(
            count=keys.whole("n_routed_experts"),
            per_token=keys.whole("num_experts_per_tok"),
            intermediate_size=size,
            shared_size=keys.whole("n_shared_experts", 0, 0) * size,
            dense_layers=keys.whole("first_k_dense_replace", 0, 0),
        )
    if keys.get("mlp_only_layers"):
        raise PlannerError(
            f"{keys.file}: mlp_only_layers: layers without experts in between are not computed"
        )
    return Experts(
        count=keys.whole("num_local_experts" if kind in {"mixtral", "gpt_oss"} else "num_experts"),
        per_token=keys.whole("num_experts_per_tok"),
        intermediate_size=keys.whole(
            "intermediate_size" if kind in {"mixtral", "gpt_oss"} else "moe_intermediate_size"
        ),
        shared_size=keys.whole("shared_expert_intermediate_size", 0, 0),
    )


def _latent(keys: _Keys) -> Latent:
    return Latent(
        kv_rank=keys.whole("kv_lora_rank"),
        rope_dim=keys.whole("qk_rope_head_dim"),
        nope_dim=keys.whole("qk_nope_head_dim"),
        value_dim=keys.whole("v_head_dim"),
        query_rank=keys.whole("q_lora_rank", 0, 0),
    )


def _window(keys: _Keys, kind: str, layers: int) -> Window | None:
    tokens = keys.get("sliding_window")
    if tokens is None or (kind.startswith("qwen") and not keys.get("use_sliding_window")):
        return None
    tokens = keys.whole("sliding_window")
    types = keys.get("layer_types")
    if isinstance(types, list):
        return Window(tokens=tokens, layers=sum(one == "sliding_attention" for one in types))
    if kind in {"gemma2", "gpt_oss"}:
        return Window(tokens=tokens, layers=(layers + 1) // 2)
    if kind == "gemma3_text":
        return Window(tokens=tokens, layers=layers - layers // keys.whole("sliding_window_pattern", 6))
    return Window(tokens=tokens, layers=layers)


def _quantisation(config: Mapping[str, Any], file: str) -> Quantisation:
    found = config.get("quantization_config")
    if found is None:
        kind_of = config.get("torch_dtype") or config.get("dtype") or "bfloat16"
        if kind_of not in {"bfloat16", "float16"}:
            raise PlannerError(f"{file}: torch_dtype: must be bfloat16 or float16, got {kind_of!r}")
        return planning().quantisation("bf16")
    method = found.get("quant_method") if isinstance(found, dict) else found
    bits = found.get("bits", found.get("w_bit", _BITS)) if isinstance(found, dict) else _BITS
    if method not in _METHODS or (method in {"awq", "gptq"} and bits != _BITS):
        raise PlannerError(
            f"{file}: quantization_config: {method!r} ({bits} bits) is not computed; "
            f"known: {', '.join(sorted(_METHODS))}, awq and gptq with 4 bits"
        )
    base = planning().quantisation(_METHODS[method])
    left = found.get("modules_to_not_convert") or [] if isinstance(found, dict) else []
    kept = {part for module in left for name, part in _KEPT.items() if str(module).endswith(name)}
    return Quantisation(
        name=base.name,
        bits=base.bits,
        parts=tuple(part for part in PARTS if part in base.parts and part not in kept),
        sources=base.sources,
    )
