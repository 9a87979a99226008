"""Pairings: what serves on what, with a source; anything else refused by name."""

import pytest
from berth_catalogue.accelerators import accelerators
from berth_catalogue.engines import engines
from berth_catalogue.errors import CatalogueError
from berth_catalogue.pairings import CPU, pairing, pairings

NVIDIA = [key for key, one in accelerators().items() if one.vendor == "nvidia"]
ROLES = {
    "engine-llama-cpp",
    "engine-vllm",
    "engine-vllm-neuron",
    "engine-vllm-tpu",
    "engine-sglang",
    "engine-tgi",
}


def test_each_has_a_source_a_reason_and_a_known_role() -> None:
    for (engine, key), one in pairings().items():
        assert (one.engine, one.accelerator) == (engine, key)
        assert one.sources
        assert one.reason
        assert one.image_role in ROLES
    assert {one.image_role for one in pairings().values()} == ROLES


@pytest.mark.parametrize("key", [CPU, *accelerators()])
def test_every_accelerator_is_served_by_something(key: str) -> None:
    assert [engine for engine, other in pairings() if other == key]


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@pytest.mark.parametrize("key", NVIDIA)
def test_gpus_are_served(engine: str, key: str) -> None:
    assert pairing(engine, key).image_role == f"engine-{engine}"


@pytest.mark.parametrize(
    ("engine", "key", "role"),
    [
        ("llama.cpp", "cpu", "engine-llama-cpp"),
        ("vllm", "aws-inferentia2", "engine-vllm-neuron"),
        ("vllm", "google-tpu-v5e", "engine-vllm-tpu"),
        ("vllm", "google-tpu-v6e", "engine-vllm-tpu"),
        ("tgi", "nvidia-a10g", "engine-tgi"),
    ],
)
def test_the_image_is_the_accelerators_own(engine: str, key: str, role: str) -> None:
    assert pairing(engine, key).image_role == role


@pytest.mark.parametrize(
    ("engine", "key", "said"),
    [
        ("llama.cpp", "nvidia-l4", "engines that do: sglang, vllm; 'llama.cpp' serves on: cpu"),
        ("vllm", "cpu", "no source says that engine 'vllm' serves on 'cpu'; engines that do: llama.cpp;"),
        ("tgi", "nvidia-h200-141gb", "engines that do: sglang, vllm; 'tgi' serves on: nvidia-a10g,"),
        ("sglang", "aws-inferentia2", "engines that do: vllm; 'sglang' serves on: nvidia-a10g,"),
        (
            "vlm",
            "nvidia-l4",
            "engine 'vlm' is not in pairings.yaml; did you mean 'vllm'? known: llama.cpp, sglang",
        ),
        (
            "vllm",
            "nvidia-l44",
            "accelerator 'nvidia-l44' is not in accelerators.yaml; did you mean 'nvidia-l4'?",
        ),
    ],
)
def test_a_pair_without_a_source_is_refused(engine: str, key: str, said: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        pairing(engine, key)
    assert said in str(caught.value)


def test_the_engines_are_those_of_engines_yaml() -> None:
    assert set(engines()) <= {engine for engine, _ in pairings()}
