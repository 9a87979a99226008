"""The engines of the catalogue: ours are what our images run, the others are named by version."""

from __future__ import annotations

import importlib.util
import re

import pytest
from berth_catalogue.accelerators import accelerator
from berth_catalogue.engines import PLACEHOLDERS, SETTINGS, engine, engines
from berth_catalogue.errors import CatalogueError
from berth_catalogue.images import load_images
from berth_catalogue.pairings import pairings
from berth_serving.settings import ENGINES

OURS = [name for name, one in engines().items() if all(not build.image for build in one.builds.values())]
OTHERS = sorted(engines().keys() - set(OURS))


@pytest.mark.parametrize("name", OURS)
def test_an_engine_of_ours_is_in_an_image_and_can_be_started(name: str) -> None:
    found = engine(name)
    image = load_images().images[found.image]
    assert found.command == tuple(image.entrypoint)
    for command in (found.command, found.startup_probe, found.liveness_probe):
        assert command[:2] == ("python3", "-m")
        assert importlib.util.find_spec(command[2])


@pytest.mark.parametrize("name", OTHERS)
def test_official_images_are_named_by_version_and_are_not_of_ours(name: str) -> None:
    for role, build in engine(name).builds.items():
        assert re.fullmatch(r"[a-z.]+(/[a-z0-9-]+){2,3}:v?[0-9]+\.[0-9]+\.[0-9]+[a-z0-9.-]*", build.reference)
        assert role not in load_images().images
        assert build.sources


@pytest.mark.parametrize("name", OTHERS)
def test_official_images_are_probed_on_loopback_by_their_own_python(name: str) -> None:
    found = engine(name)
    for probe in (found.startup, found.liveness):
        interpreter, flag, program = probe.command
        assert (interpreter.rpartition("/")[2].startswith("python"), flag) == (True, "-c")
        compile(program, name, "exec")
        assert f'"127.0.0.1", {found.port}' in program
        assert found.health in program
        inner = re.search(r"timeout=(\d+)", program)
        assert inner
        assert int(inner[1]) < probe.timeout_seconds, "else the kubelet's own time-out hides the reason"


@pytest.mark.parametrize("name", sorted(engines()))
def test_the_gateway_knows_it_and_everything_can_be_filled(name: str) -> None:
    found = engine(name)
    assert name in ENGINES
    assert found.settings.keys() | found.refuses.keys() == set(SETTINGS)
    values = dict.fromkeys(PLACEHOLDERS, "x")
    for build in found.builds.values():
        filled = [word.format(**values) for group in (*found.args, *build.args) for word in group]
        assert not any("{" in word for word in filled)
        for text in (*found.environment.values(), *build.environment.values()):
            assert "{" not in text.format(**values)


@pytest.mark.parametrize("name", OTHERS)
def test_it_listens_on_loopback_only_runs_no_code_of_a_repository_and_asks_no_hub(name: str) -> None:
    found = engine(name)
    words = [word for group in found.args for word in group]
    assert "127.0.0.1" in words
    assert not any("trust" in word for word in words)
    assert found.environment["HF_HUB_OFFLINE"] == "1"


def test_a_build_is_found_by_the_resource_that_a_pod_asks_for() -> None:
    assert engine("vllm").build("aws.amazon.com/neuron").role == "engine-vllm-neuron"
    assert engine("vllm").build("google.com/tpu").device == "tpu"
    assert engine("llama.cpp").build("").role == "engine-llama-cpp"
    with pytest.raises(CatalogueError, match=r"SGLang has no build for google\.com/tpu; .*: nvidia\.com/gpu"):
        engine("sglang").build("google.com/tpu")


def test_neuron_cores_are_two_in_each_chip() -> None:
    assert engine("vllm").build("aws.amazon.com/neuron").cores_per_accelerator == 2


def test_an_unknown_engine_names_the_closest() -> None:
    with pytest.raises(CatalogueError, match="did you mean 'vllm'"):
        engine("vlm")


def test_pairings_and_builds_agree_on_roles_and_resources() -> None:
    for (name, key), found in pairings().items():
        build = engine(name).builds[found.image_role]
        assert build.resource == ("" if key == "cpu" else accelerator(key).resource)
