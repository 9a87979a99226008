"""Pairings: what serves on what, with a source; anything else refused by name."""

import pytest
from berth_catalogue.accelerators import accelerators
from berth_catalogue.engines import engine, engines
from berth_catalogue.errors import CatalogueError
from berth_catalogue.pairings import CPU, Pairing, pairing, pairings

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
    for (name, key), one in pairings().items():
        assert (one.engine, one.accelerator) == (name, key)
        assert one.sources
        assert one.reason
        assert one.image_role in ROLES
    assert {one.image_role for one in pairings().values()} == ROLES


@pytest.mark.parametrize("key", [CPU, *accelerators()])
def test_every_accelerator_is_served_by_something(key: str) -> None:
    assert [name for name, other in pairings() if other == key]


@pytest.mark.parametrize("name", ["vllm", "sglang"])
@pytest.mark.parametrize("key", NVIDIA)
def test_gpus_are_served(name: str, key: str) -> None:
    assert pairing(name, key).image_role == f"engine-{name}"


@pytest.mark.parametrize(
    ("name", "key", "role"),
    [
        ("llama.cpp", "cpu", "engine-llama-cpp"),
        ("vllm", "aws-inferentia2", "engine-vllm-neuron"),
        ("vllm", "google-tpu-v5e", "engine-vllm-tpu"),
        ("vllm", "google-tpu-v6e", "engine-vllm-tpu"),
        ("tgi", "nvidia-a10g", "engine-tgi"),
    ],
)
def test_the_image_is_the_accelerators_own(name: str, key: str, role: str) -> None:
    assert pairing(name, key).image_role == role


@pytest.mark.parametrize(
    ("name", "key", "said"),
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
def test_a_pair_without_a_source_is_refused(name: str, key: str, said: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        pairing(name, key)
    assert said in str(caught.value)


def test_every_engine_is_paired() -> None:
    assert set(engines()) == {name for name, _ in pairings()}


@pytest.mark.parametrize("one", pairings().values(), ids=lambda one: f"{one.engine} on {one.accelerator}")
def test_the_engine_has_that_build(one: Pairing) -> None:
    resource = "" if one.accelerator == CPU else accelerators()[one.accelerator].resource
    assert engine(one.engine).build(resource).role == one.image_role
