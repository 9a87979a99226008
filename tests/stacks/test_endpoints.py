"""What a SageMaker endpoint's one container is told: all of it fits, and the weights in it are verified."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from berth_catalogue.weights_pins import PinnedFile, Pins, manifest_text, pins_text
from berth_stacks import build, endpoints
from berth_stacks.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# fmt: off
CPU = """\
config:
  berth:environment: development
  berth:sites:
    endpoint:
      sagemaker:
        region: eu-central-1
        instanceType: ml.c7i.xlarge
        scaling: {minInstances: 1, maxInstances: 3, target: 4}
        alarms: {actionArns: []}
  berth:clients: {cidrs: [10.0.0.0/8]}
  berth:models:
    chat:
      model: smollm2-135m-instruct-q4_1
      sites: [endpoint]
      engine: {name: llama.cpp}
      concurrency: {slots: 2, maxConcurrentRequests: 64}
      tokens: {maxInput: 1024, maxTotal: 2048}
"""
# fmt: on
GPU = (
    CPU.replace("instanceType: ml.c7i.xlarge", "accelerator: nvidia-l40s\n        acceleratorsPerInstance: 1")
    .replace("smollm2-135m-instruct-q4_1", "qwen2.5-7b-instruct")
    .replace("llama.cpp", "vllm")
)
KEYS = {"berth:apiKeys": json.dumps({"tester": "canary-0123456789abcdef"})}
PINS = Pins("Qwen/Qwen2.5-7B-Instruct", "a" * 40, (PinnedFile("model.safetensors", 7, "b" * 64),))


@pytest.fixture
def environment(load: Callable[..., Any]) -> Callable[[str], dict[str, Any]]:
    """The environment that a stack's text gives its one endpoint."""

    def of(text: str) -> dict[str, Any]:
        loaded = load(text, KEYS, stack="there")
        (at,) = build.placed(loaded.settings)
        return dict(endpoints.environment(loaded, at))

    return of


def test_a_cpu_endpoint_has_the_packaged_model(
    environment: Callable[[str], dict[str, Any]], load: Callable[..., Any]
) -> None:
    told = environment(CPU)
    assert json.loads(told["BERTH_ENGINE_COMMAND"]) == ["python3", "-m", "berth_serving.engines.llama_cpp"]
    assert told["BERTH_WEIGHTS"] == "/packaged/SmolLM2-135M-Instruct.Q4_1.gguf"
    assert told["BERTH_WEIGHTS_DIR"] == "/packaged"
    assert told["BERTH_WEIGHTS_SOURCE"] == "packaged:smollm2-135m-instruct-q4_1"
    assert told["BERTH_MANAGED_CLOUD"] == "sagemaker"
    assert told["BERTH_DRAIN_SECONDS"] == "20"
    assert build.roles(load(CPU, KEYS, stack="there").settings) >= {"sagemaker-llama-cpp"}


def test_weights_of_a_hub_lie_in_the_image_or_come_from_s3(
    environment: Callable[[str], dict[str, Any]], folder: Path
) -> None:
    (folder / "weights").mkdir()
    (folder / "weights" / "qwen2.5-7b-instruct.yaml").write_text(pins_text(PINS))
    told = environment(GPU)
    assert json.loads(told["BERTH_ENGINE_COMMAND"])[:3] == ["vllm", "serve", f"/models/{PINS.folder}"]
    digest = hashlib.sha256(manifest_text(PINS).encode()).hexdigest()
    assert told["BERTH_WEIGHTS_MANIFEST_SHA256"] == digest
    assert "BERTH_WEIGHTS_MANIFEST" not in told

    told = environment(
        GPU.replace("        scaling:", "        weights: {bucket: models, prefix: qwen/}\n        scaling:")
    )
    assert json.loads(told["BERTH_ENGINE_COMMAND"])[:3] == ["vllm", "serve", "/opt/ml/model"]
    assert {key: told[key] for key in told if key.startswith("BERTH_WEIGHTS")} == {
        "BERTH_WEIGHTS_DIR": "/opt/ml",
        "BERTH_WEIGHTS_FOLDER": "model",
        "BERTH_WEIGHTS_MANIFEST_SHA256": digest,
        "BERTH_WEIGHTS_SOURCE": "volume",
    }


def test_one_prefix_holds_one_models_weights(load: Callable[..., Any]) -> None:
    weights = "        weights: {bucket: models, prefix: a/}\n        scaling:"
    text = GPU.replace("        scaling:", weights)
    with pytest.raises(SettingsError, match="is given for chat, other; allowed: the weights of one model"):
        load(text + text[text.index("    chat:") :].replace("chat:", "other:"), KEYS, stack="there")
    with pytest.raises(SettingsError, match="nothing for weights that are packaged"):
        load(CPU.replace("        scaling:", weights), KEYS, stack="there")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"FURTHER": "x" * 1025}, "FURTHER has a value of 1025 bytes"),
        ({f"FURTHER_{one}": "x" for one in range(100)}, "at most 100 variables"),
        ({f"FURTHER_{one}": "x" * 1000 for one in range(40)}, "at most 32768 bytes in all"),
    ],
)
def test_what_sagemaker_would_not_take_is_refused_by_name(
    run: Callable[..., Any], environment: dict[str, str], said: str
) -> None:
    text = CPU.replace(
        "        scaling:", f"        environment: {json.dumps(environment)}\n        scaling:"
    )
    with pytest.raises(SettingsError) as refused:
        run(text, KEYS, preview=True)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 1000
