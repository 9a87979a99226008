"""The engines of the catalogue are what the images run."""

from __future__ import annotations

import importlib.util

import pytest
from berth_catalogue.engines import PLACEHOLDERS, engines
from berth_catalogue.images import load_images
from berth_serving.settings import ENGINES


@pytest.mark.parametrize("name", sorted(engines()))
def test_an_engine_is_in_an_image_and_can_be_started(name: str) -> None:
    found = engines()[name]
    image = load_images().images[found.image]
    assert found.command == tuple(image.entrypoint)
    assert name in ENGINES, "the gateway knows it"
    for command in (found.command, found.startup_probe, found.liveness_probe):
        assert command[:2] == ("python3", "-m")
        assert importlib.util.find_spec(command[2])
    for text in found.environment.values():
        text.format(**dict.fromkeys(PLACEHOLDERS, "x"))
