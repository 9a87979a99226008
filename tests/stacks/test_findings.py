"""What only another place can answer: shown in previews, and never deployed over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth_catalogue.official import official
from berth_stacks.build import UNPINNED
from berth_stacks.errors import SettingsError
from berth_stacks.findings import FindingsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEYS = {"berth:apiKeys": json.dumps({"tester": "canary-0123456789abcdef"})}
PINS = {
    "repo": "Qwen/Qwen2.5-7B-Instruct",
    "revision": "1" * 40,  # fixtures: no such revision, no such files
    "files": [{"path": "model.safetensors", "size": 1000, "sha256": "2" * 64}],
}


def _text(root: Path, stack: str) -> str:
    return (root / "stacks" / f"Pulumi.{stack}.yaml").read_text()


def test_a_preview_shows_them_as_warnings_and_sorted_outputs(
    run: Callable[..., Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("pulumi.log.warn", lambda text, **_: said.append(text))
    done = run(_text(root, "onprem"), {}, "onprem", preview=True)
    warnings = [text for text in said if text.startswith("open finding: ")]
    assert len(warnings) == 15
    assert "berth:apiKeys has no keys of clients" in warnings[0]
    images = {
        container["image"]
        for one in done.objects
        if one["kind"] == "Deployment"
        for container in one["spec"]["template"]["spec"]["containers"]
    }
    assert images
    # Ours have no name yet; others' have one, by their version.
    others = {one.reference for one in official().values()}
    assert all(image.startswith(f"{UNPINNED}/") for image in images - others)


@pytest.mark.parametrize("environment", ["development", "production"])
def test_a_real_run_is_refused_with_all_of_them(
    run: Callable[..., Any], root: Path, environment: str
) -> None:
    text = _text(root, "onprem").replace("environment: production", f"environment: {environment}")
    with pytest.raises(FindingsError) as caught:
        run(text, {}, "onprem")
    message = str(caught.value)
    count = 15 if environment == "production" else 12
    assert message.startswith(f"stack 'onprem' cannot be deployed: {count} findings are open\n")
    assert "Traceback" not in message
    for role in ("model-server", "engine-llama-cpp", "weights-smollm2", "metrics-adapter", "prometheus"):
        assert f"berth:images.refs.{role} is not known" in message


def test_pinned_weights_close_one_and_are_what_is_fetched(
    run: Callable[..., Any], root: Path, folder: Path
) -> None:
    (folder / "weights").mkdir()
    (folder / "weights" / "qwen2.5-7b-instruct.yaml").write_text(yaml.safe_dump(PINS))
    done = run(_text(root, "gcp-dev"), KEYS, "gcp-dev", preview=True)
    (manifest,) = [one for one in done.of("ConfigMap") if "manifest.json" in one.get("data", {})]
    assert json.loads(manifest["data"]["manifest.json"])["revision"] == "1" * 40


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"revision": "main"}, "a commit: 40 hexadecimal digits"),
        ({"repo": "somebody/else"}, "has pins of somebody/else"),
        ({"files": []}, "at least one file"),
    ],
)
def test_wrong_pins_are_refused(
    load: Callable[..., Any], root: Path, folder: Path, change: dict[str, Any], words: str
) -> None:
    (folder / "weights").mkdir()
    (folder / "weights" / "qwen2.5-7b-instruct.yaml").write_text(yaml.safe_dump({**PINS, **change}))
    with pytest.raises(SettingsError, match=words) as caught:
        load(_text(root, "gcp-dev"), KEYS, "gcp-dev")
    assert "./berth weights pin qwen2.5-7b-instruct" in str(caught.value)


def test_what_the_data_do_not_say_is_said_and_not_refused(load: Callable[..., Any], root: Path) -> None:
    text = _text(root, "aws-dev").replace("eks:\n", "eks:\n        region: xx-nowhere-1\n", 1)
    found = load(text, KEYS, "aws-dev").findings
    (unknown,) = [one for one in found if "do not say whether xx-nowhere-1 has it" in one.text]
    assert unknown.blocks == "nothing"


CLUSTERS = """\
config:
  berth:environment: development
  berth:sites:
    first:
      gke: {project: models-dev-1, location: europe-west4}
      pools:
        main: {accelerator: nvidia-l4, machineType: g2-standard-8, max: 3}
"""
WORKLOADS = """\
config:
  berth:environment: development
  berth:clients: {cidrs: [10.0.0.0/8]}
  berth:sites:
    here:
      cluster: {stack: acme/berth/clusters, site: first}
      pools:
        main: {accelerator: nvidia-l4, max: 3}
  berth:models:
    chat:
      model: qwen2.5-7b-instruct
      sites: [here]
      pool: main
      engine:
        name: vllm
        resources: {cpuRequest: "4", memoryRequest: 16Gi, memoryLimit: 24Gi}
      concurrency: {slots: 2, maxConcurrentRequests: 8}
      tokens: {maxInput: 100, maxTotal: 200}
      autoscaling: {max: 2}
"""
FACTS = {
    "accelerator": "nvidia-l4",
    "acceleratorsPerNode": 1,
    "min": 0,
    "max": 3,
    "capacity": "on-demand",
    "labels": {},
    "taints": [],
    "nodeSelector": {"berth.dev/pool": "first-main"},
    "tolerations": [],
    "resource": "nvidia.com/gpu",
}


def test_a_stack_of_clusters_puts_out_what_another_one_reads(run: Callable[..., Any]) -> None:
    """A cluster in one stack, the workloads in another."""
    clusters = run(CLUSTERS, {}, "clusters", preview=True)
    assert not [one for one in clusters.resources if one.typ == "berth:model:ModelServer"]
    outputs = {"kubeconfigs": {"first": '{"clusters": []}'}, "pools": {"first": {"main": FACTS}}}
    done = run(WORKLOADS, KEYS, "workloads", preview=True, others={"acme/berth/clusters": outputs})
    (deployment,) = [
        one for one in done.objects if one["kind"] == "Deployment" and one["metadata"]["name"] == "chat"
    ]
    pod = deployment["spec"]["template"]["spec"]
    assert pod["nodeSelector"]["berth.dev/pool"] == "first-main"
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({"kubeconfigs": {"other": "{}"}, "pools": {}}, "one of its clusters: other"),
        ({}, "none: is it deployed"),
        ({"kubeconfigs": {"first": "{}"}, "pools": {"first": {}}}, "is no pool of stack acme/berth/clusters"),
        (
            {"kubeconfigs": {"first": "{}"}, "pools": {"first": {"main": {**FACTS, "max": 2}}}},
            "max is 3; allowed: 2, as stack",
        ),
    ],
)
def test_another_stack_that_is_not_as_described(
    run: Callable[..., Any], outputs: dict[str, Any], words: str
) -> None:
    with pytest.raises(Exception, match=words):
        run(WORKLOADS, KEYS, "workloads", preview=True, others={"acme/berth/clusters": outputs})


def test_kubeconfigs_are_secret(run: Callable[..., Any], root: Path) -> None:
    done = run(_text(root, "gcp-dev"), KEYS, "gcp-dev", preview=True)
    assert "canary" not in json.dumps([str(one.inputs) for one in done.resources if "Secret" not in one.typ])


def test_production_asks_for_the_digests_of_what_runs_beside_the_models(
    run: Callable[..., Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("pulumi.log.warn", lambda text, **_: said.append(text))
    run(_text(root, "aws-prod"), {}, "aws-prod", preview=True)
    asked = [text for text in said if "is not pinned" in text]
    assert [text.split(" is not pinned")[0] for text in asked] == [
        "open finding: berth:sites.aws.devicePlugins.neuron.image",
        "open finding: berth:sites.aws.eks.autoscaler.image",
    ]
    said.clear()
    run(_text(root, "aws-dev"), {}, "aws-dev", preview=True)
    assert not [text for text in said if "is not pinned" in text]
