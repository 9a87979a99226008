"""Models by their config.json: like those of the catalogue, or refused by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from berth_catalogue.models import models
from berth_planner.configs import from_config, from_file, placed
from berth_planner.errors import PlannerError
from berth_planner.fit import fit

if TYPE_CHECKING:
    from pathlib import Path

QWEN3_30B: dict[str, Any] = {
    "model_type": "qwen3_moe",
    "num_hidden_layers": 48,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "max_position_embeddings": 40960,
    "mlp_only_layers": [],
    "vocab_size": 151936,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "sliding_window": None,
    "torch_dtype": "bfloat16",
}
DEEPSEEK_LITE: dict[str, Any] = {
    "model_type": "deepseek_v2",
    "num_hidden_layers": 27,
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "first_k_dense_replace": 1,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "kv_lora_rank": 512,
    "q_lora_rank": None,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "head_dim": 128,
    "max_position_embeddings": 163840,
    "vocab_size": 102400,
}


@pytest.mark.parametrize(
    ("config", "key"), [(QWEN3_30B, "qwen3-30b-a3b"), (DEEPSEEK_LITE, "deepseek-v2-lite-chat")]
)
def test_a_config_makes_the_architecture_of_the_catalogue(config: dict[str, Any], key: str) -> None:
    assert from_config(config, "config.json").architecture == models()[key].architecture


def test_a_window_is_of_the_layers_that_have_it() -> None:
    gemma = QWEN3_30B | {"model_type": "gemma3_text", "num_hidden_layers": 62, "sliding_window": 1024}
    found = from_config(gemma, "config.json").architecture.window
    assert found is not None
    assert (found.tokens, found.layers) == (1024, 52)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "mamba2"}, "config.json: model_type 'mamba2': how much memory"),
        ({"vision_config": {}}, "config.json: vision_config: memory of a tower for images"),
        ({"hidden_size": "2048"}, "config.json: hidden_size: must be a whole number from 1, got '2048'"),
        (
            {"num_hidden_layers": None},
            "config.json: num_hidden_layers: must be a whole number from 1, got None",
        ),
        ({"model_type": None}, "config.json: model_type: must be a text, got None"),
        ({"torch_dtype": "float32"}, "config.json: torch_dtype: must be bfloat16 or float16, got 'float32'"),
        (
            {"quantization_config": {"quant_method": "bitsandbytes"}},
            "'bitsandbytes' (4 bits)",
        ),
        ({"quantization_config": {"quant_method": "gptq", "bits": 3}}, "'gptq' (3 bits) is not computed"),
        ({"mlp_only_layers": [1]}, "mlp_only_layers"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(PlannerError) as caught:
        from_config({**QWEN3_30B, **changes}, "config.json")
    assert said in str(caught.value)


def test_a_file_is_placed_and_judged(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(QWEN3_30B))
    on_one = fit(placed(from_file(file), "config.json", "nvidia-l4", (1, 8, 4096), "vllm"), {})
    on_two = fit(placed(from_file(file), "config.json", "nvidia-l40s", (2, 8, 4096), "vllm"), {})
    assert [one.checks[0].status for one in (on_one, on_two)] == ["failed", "passed"]
    assert on_two.title == "config.json on vllm, 2 x nvidia-l40s"


@pytest.mark.parametrize(
    ("on", "numbers", "engine", "said"),
    [
        ("nvidia-l5", (1, 8, 4096), "vllm", "did you mean 'nvidia-l4'?"),
        ("nvidia-l4", (1, 8, 4096), "vlm", "did you mean 'vllm'?"),
        ("nvidia-l4", (3, 8, 4096), "vllm", "--count: must divide the 32 attention heads, got 3"),
        ("nvidia-l4", (0, 8, 4096), "vllm", "--count: must be a whole number from 1, got 0"),
        ("nvidia-l4", (1, 8, 50000), "vllm", "--tokens: the model's context is 40960, got 50000"),
        ("google-tpu-v6e", (1, 8, 4096), "sglang", "no source says that sglang serves on google-tpu-v6e"),
    ],
)
def test_a_wrong_place_is_named(on: str, numbers: tuple[int, int, int], engine: str, said: str) -> None:
    with pytest.raises(PlannerError) as caught:
        placed(from_config(QWEN3_30B, "config.json"), "config.json", on, numbers, engine)
    assert said in str(caught.value)


@pytest.mark.parametrize(("text", "said"), [("{", "cannot be read as JSON"), ("[]", "must be a JSON object")])
def test_a_file_that_is_no_config_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(PlannerError, match=said):
        from_file(file)
    with pytest.raises(PlannerError, match="cannot be read"):
        from_file(tmp_path / "none.json")
