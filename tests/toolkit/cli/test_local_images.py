"""Images of a local stack: what is built on this machine, beside what the stack's file names."""

from __future__ import annotations

from pathlib import Path

from berth.cli.local import Ground, Place
from berth.cli.preparing import _local_overlay


def test_images_that_the_file_names_stay_beside_those_that_are_built() -> None:
    ground = Ground({"local": Place(Path("/k"), "198.18.48.11")}, {"model-server": "berth.local/m:1"})
    images = {
        "refs": {"collector": "berth.local/c:1", "model-server": "of.yesterday/m:0"},
        "pullSecrets": ["a"],
    }
    overlay = _local_overlay(ground, images)
    assert overlay["berth:images"] == {
        "refs": {"collector": "berth.local/c:1", "model-server": "berth.local/m:1"},
        "pullSecrets": ["a"],
    }
    assert _local_overlay(ground, {})["berth:images"] == {"refs": {"model-server": "berth.local/m:1"}}
