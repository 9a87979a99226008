"""The models of the catalogue, and the pins of their weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml
from berth_catalogue.errors import CatalogueError
from berth_catalogue.models import HubWeights, model, models
from berth_catalogue.weights_pins import parse_pins, pins_text, read_pins

if TYPE_CHECKING:
    from pathlib import Path

FILES = [
    {"path": "model-00001-of-00002.safetensors", "size": 10, "sha256": "a" * 64},
    {"path": "config.json", "size": 3, "sha256": "b" * 64},
]
PINS = {"repo": "owner/name", "revision": "0123456789" * 4, "files": FILES}


def test_models_for_accelerators_come_from_a_hub_and_say_their_architecture() -> None:
    hub = [one for one in models().values() if isinstance(one.weights, HubWeights)]
    assert {"qwen2.5-7b-instruct", "llama-3.1-8b-instruct", "mistral-7b-instruct-v0.3"} <= {
        m.key for m in hub
    }
    for one in hub:
        assert one.architecture is not None
        assert one.architecture.parameters == one.parameters
        assert one.weights.format == "safetensors"
        assert one.sources


def test_the_cache_of_keys_and_values() -> None:
    """Qwen2.5-7B, by hand: 2 times 28 layers times 4 heads times 128 values of 2 bytes."""
    found = model("qwen2.5-7b-instruct").architecture
    assert found is not None
    assert found.kv_bytes_per_token() == 57344
    assert found.kv_bytes_per_token(1) == 28672


def test_gated_models_say_so() -> None:
    gated = {
        key for key, one in models().items() if isinstance(one.weights, HubWeights) and one.weights.gated
    }
    assert gated == {"llama-3.1-8b-instruct", "llama-3.3-70b-instruct"}


def test_an_unknown_model_names_the_closest() -> None:
    with pytest.raises(CatalogueError, match=r"did you mean 'qwen2\.5-7b-instruct'"):
        model("qwen2.5-7b-instuct")


def test_pins_survive_their_file(tmp_path: Path) -> None:
    pins = parse_pins(PINS, "a test")
    file = tmp_path / "model.yaml"
    file.write_text(pins_text(pins))
    assert read_pins(file) == pins
    assert [one.path for one in pins.files] == ["config.json", "model-00001-of-00002.safetensors"]
    assert (pins.total_bytes, pins.format) == (13, "safetensors")


def test_the_digest_changes_with_every_file() -> None:
    pins = parse_pins(PINS, "a test")
    other = json.loads(json.dumps(PINS))
    other["files"][1]["sha256"] = "c" * 64
    assert parse_pins(other, "a test").digest != pins.digest


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"revision": "main"},
            "revision: must be a commit: 40 hexadecimal digits, never a branch, got 'main'",
        ),
        ({"repo": "name"}, "repo: must be <owner>/<name>, got 'name'"),
        ({"files": []}, "files: must be a list of at least one file"),
        ({"more": 1}, "must be a mapping with the keys repo, revision, files, got"),
        ({"files": [FILES[0], FILES[0]]}, "is there twice"),
        ({"files": [FILES[1]]}, "there are no weights"),
    ],
)
def test_wrong_pins_are_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        parse_pins({**PINS, **changes}, "a test")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "path",
    [
        *("../config.json", "/etc/config.json", "a/../b.json", ".hidden.json", "a//b.json", "a\\b.json"),
        *("pytorch_model.bin", "modeling.py", "model.pt", "model.pth", "weights.pkl", "lib.so", "nothing"),
    ],
)
def test_files_that_could_escape_or_run_are_refused(path: str) -> None:
    with pytest.raises(CatalogueError, match="path"):
        parse_pins({**PINS, "files": [*FILES, {"path": path, "size": 1, "sha256": "d" * 64}]}, "a test")


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("repo: [")
    with pytest.raises(CatalogueError, match=r"broken\.yaml: cannot be read"):
        read_pins(file)
    file.write_text(yaml.safe_dump([1]))
    with pytest.raises(CatalogueError, match="must be a mapping"):
        read_pins(file)
