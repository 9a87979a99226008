"""Wrong stacks on clouds: one edit of a good one, one error that names file, line and remedy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from berth_stacks.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

AWS = """\
config:
  berth:environment: development
  berth:clients: {cidrs: [10.0.0.0/8]}
  berth:sites:
    aws:
      eks:
        region: eu-central-1
        version: "1.35"
        adminArns: [arn:aws:iam::111122223333:role/platform]
        vpc:
          cidr: 10.20.0.0/16
          zones: [eu-central-1a, eu-central-1b]
      pools:
        chat:
          accelerator: nvidia-l4
          machineType: g6.2xlarge
          capacity: spot
          max: 3
  berth:models:
    chat:
      model: qwen2.5-7b-instruct
      sites: [aws]
      pool: chat
      engine:
        name: vllm
        resources: {cpuRequest: "4", memoryRequest: 20Gi, memoryLimit: 24Gi}
      concurrency: {slots: 8, maxConcurrentRequests: 128}
      tokens: {maxInput: 6144, maxTotal: 8192}
      autoscaling: {min: 1, max: 2}
"""
GCP = """\
config:
  berth:environment: development
  berth:clients: {cidrs: [10.0.0.0/8]}
  berth:sites:
    google:
      gke:
        project: models-dev-1
        location: europe-west4
      pools:
        tpu:
          accelerator: google-tpu-v5e
          acceleratorsPerNode: 4
          max: 3
          gke: {zones: [europe-west4-a]}
  berth:models:
    chat:
      model: qwen2.5-7b-instruct
      sites: [google]
      pool: tpu
      gpu: {count: 4}
      engine:
        name: vllm
        resources: {cpuRequest: "16", memoryRequest: 64Gi, memoryLimit: 96Gi}
      concurrency: {slots: 8, maxConcurrentRequests: 128}
      tokens: {maxInput: 6144, maxTotal: 8192}
      autoscaling: {min: 1, max: 2}
"""
SAGEMAKER = """\
config:
  berth:environment: development
  berth:sites:
    endpoint:
      sagemaker:
        region: eu-central-1
        accelerator: nvidia-l4
        acceleratorsPerInstance: 1
        scaling: {minInstances: 1, maxInstances: 3, target: 12}
        alarms: {actionArns: []}
  berth:clients: {cidrs: [10.0.0.0/8]}
  berth:models:
    chat:
      model: qwen2.5-7b-instruct
      sites: [endpoint]
      engine: {name: vllm}
      concurrency: {slots: 8, maxConcurrentRequests: 128}
      tokens: {maxInput: 6144, maxTotal: 8192}
"""
GOOD = {"aws": AWS, "gcp": GCP, "sagemaker": SAGEMAKER}
NO_VPC = "\n        vpc:\n          cidr: 10.20.0.0/16\n          zones: [eu-central-1a, eu-central-1b]"

# The stack, what is replaced, by what, the line that is named, words of the message.
WRONG: list[tuple[str, str, str, int, list[str]]] = [
    # Accelerators, machines, regions.
    (
        "aws",
        "accelerator: nvidia-l4",
        "accelerator: nvidia-l5",
        15,
        ["'nvidia-l5'", "did you mean 'nvidia-l4"],
    ),
    (
        "aws",
        "accelerator: nvidia-l4",
        "accelerator: google-tpu-v5e",
        15,
        ["on this ground one of", "nvidia-l4"],
    ),
    ("aws", "machineType: g6.2xlarge", "machineType: g6.3xlarge", 16, ["'g6.3xlarge'", "did you mean 'g6."]),
    ("aws", "machineType: g6.2xlarge", "machineType: g5.2xlarge", 16, ["1 x nvidia-a10g", "leave it out"]),
    (
        "aws",
        "machineType: g6.2xlarge",
        "acceleratorsPerNode: 3",
        16,
        ["acceleratorsPerNode is 3", "1, 4, 8"],
    ),
    (
        "aws",
        "max: 3",
        "max: 3\n          acceleratorsPerNode: 4",
        16,
        ["g6.2xlarge, which has 1 x nvidia-l4"],
    ),
    (
        "aws",
        "region: eu-central-1",
        "region: ap-southeast-4",
        16,
        ["needs g6.2xlarge, which ap-southeast-4 does not offer", "eu-central-1", "data of 20"],
    ),
    ("gcp", "location: europe-west4", "location: asia-east2", 11, ["which asia-east2 does not offer"]),
    ("gcp", "zones: [europe-west4-a]", "zones: [europe-west4-c]", 14, ["without ct5lp", "europe-west4-a"]),
    (
        "gcp",
        "accelerator: google-tpu-v5e",
        "accelerator: nvidia-h100-80gb",
        10,
        ["is on-demand, as which a3-highgpu-4g is not sold", "spot"],
    ),
    # Pools in themselves.
    ("aws", "max: 3", "max: 0", 18, ["max", "1 to 1000"]),
    ("aws", "max: 3", "max: 3\n          min: 4", 19, ["min is 4", "at most max, which is 3"]),
    ("aws", "capacity: spot", "capacity: cheap", 17, ["'cheap'", "on-demand, spot, reserved"]),
    (
        "aws",
        "max: 3",
        "max: 3\n          gke: {maxPods: 32}",
        19,
        ["gke is given", "only at a site with gke"],
    ),
    ("gcp", "gke: {zones: [europe-west4-a]}", "eks: {maxUnavailable: 2}", 14, ["only at a site with eks"]),
    (
        "aws",
        "max: 3",
        "max: 3\n          taints: [{key: nvidia.com/gpu, effect: NoSchedule}]",
        19,
        ["the accelerator's own", "remove it"],
    ),
    (
        "aws",
        "max: 3",
        "max: 3\n          taints: [{key: team}]",
        19,
        ["effect is missing", "one of NoSchedule"],
    ),
    (
        "aws",
        "      pool: chat\n",
        "      pool: chat\n      gpu: {count: 1, resource: google.com/tpu}\n",
        24,
        ["google.com/tpu, on a pool of nvidia-l4", "leave it out"],
    ),
    (
        "aws",
        "max: 3",
        "max: 3\n        spare: {accelerator: nvidia-l4, max: 1}",
        19,
        ["serves no model", "remove"],
    ),
    ("aws", "accelerator: nvidia-l4\n", "accelerators: nvidia-l4\n", 15, ["does not exist", "'accelerator'"]),
    # A pool that cannot host the model server.
    ("aws", "      pool: chat\n", "      pool: chats\n", 23, ["'chats'", "did you mean 'chat'"]),
    (
        "aws",
        "      pool: chat\n",
        "      pool: chat\n      gpu: {count: 2}\n",
        24,
        ["is 2, on pool 'chat'", "1 to 1"],
    ),
    (
        "aws",
        "      pool: chat\n",
        "      pool: chat\n      gpu: {count: 0}\n",
        24,
        ["is 0, on pool", "1 to 1"],
    ),
    (
        "aws",
        "      pool: chat\n",
        "      pool: chat\n      gpu: {count: 1, resource: amd.com/gpu}\n",
        24,
        ["amd.com/gpu, on a pool of nvidia-l4", "leave it out"],
    ),
    ("aws", 'cpuRequest: "4"', 'cpuRequest: "8"', 26, ["a pod asks for 8 vCPUs", "8 vCPUs of g6.2xlarge"]),
    (
        "aws",
        "memoryRequest: 20Gi, memoryLimit: 24Gi",
        "memoryRequest: 40Gi, memoryLimit: 40Gi",
        26,
        ["40 GiB", "of g6.2xlarge"],
    ),
    ("aws", "{min: 1, max: 2}", "{min: 1, max: 4}", 18, ["models need 5", "at least 5", "raise it"]),
    ("aws", "{min: 1, max: 2}", "{min: 1, max: 3}", 18, ["3 + 1 while it is updated", "maxSurge 0"]),
    ("aws", "name: vllm", "name: llama.cpp", 25, ["llama.cpp, which does not serve on nvidia-l4", "vllm"]),
    (
        "gcp",
        "name: vllm",
        "name: sglang",
        22,
        ["sglang, which does not serve on google-tpu-v5e", "one of vllm"],
    ),
    ("aws", "name: vllm", "name: vlm", 25, ["'vlm'", "did you mean 'vllm'"]),
    (
        "aws",
        "model: qwen2.5-7b-instruct",
        "model: qwen2.5-72b-instruct",
        20,
        ["135.4 GiB of weights", "at least", "nvidia-l4"],
    ),
    ("gcp", "gpu: {count: 4}", "gpu: {count: 2}", 20, ["is 2, on TPUs", "4, all chips of a node"]),
    ("aws", "maxTotal: 8192", "maxTotal: 65536", 28, ["65536", "at most 32768"]),
    (
        "aws",
        "model: qwen2.5-7b-instruct",
        "model: llama-3.1-8b-instruct",
        20,
        ["tokenSecret is missing", "behind a licence", "a Secret that exists"],
    ),
    # Spot nodes and the end of a pod.
    (
        "aws",
        "      autoscaling:",
        "      termination: {drainSeconds: 110}\n      autoscaling:",
        29,
        ["would be 125", "at most 120", "drainSeconds"],
    ),
    (
        "aws",
        "      autoscaling:",
        "      termination: {graceSeconds: 200}\n      autoscaling:",
        29,
        ["would be 200", "on pool 'chat' of spot nodes"],
    ),
    (
        "gcp",
        "          max: 3",
        "          max: 3\n          capacity: spot",
        17,
        ["would be 75", "at most 15", "gke.spotGraceSeconds: 120"],
    ),
    # Grounds.
    (
        "aws",
        "    aws:\n      eks:",
        "    aws:\n      cluster: {kubeconfig: k}\n      eks:",
        7,
        ["beside cluster"],
    ),
    ("aws", "      eks:\n", "      ekks:\n", 6, ["ekks does not exist", "'eks'"]),
    ("aws", "        region: eu-central-1\n", "", 6, ["region is missing"]),
    ("aws", 'version: "1.35"', "version: 1.35", 8, ["version is 1.35", "in quotes"]),
    ("gcp", "location: europe-west4", "locations: europe-west4", 8, ["does not exist", "'location'"]),
    (
        "aws",
        'version: "1.35"',
        'version: "1.35"\n        scaling: auto-mode\n        autoscaler: {replicas: 1}',
        10,
        ["autoscaler is given", "auto-mode"],
    ),
    (
        "aws",
        "      pools:",
        "      devicePlugins: {neuron: {mode: managed}}\n      pools:",
        13,
        ["neuron is given", "only with a pool of neuron's"],
    ),
    (
        "gcp",
        "      pools:",
        "      simulatedGpus: 2\n      pools:",
        9,
        ["simulatedGpus is given", "only in environment local"],
    ),
    (
        "aws",
        "      pool: chat\n",
        "      pool: chat\n      placement: {nodeSelector: {berth.dev/pool: aws-chat}}\n",
        24,
        ["other labels", "say pool"],
    ),
    (
        "aws",
        "      pool: chat\n",
        "      gpu: {count: 1}\n",
        20,
        ["pool is missing for 1 accelerator", "chat"],
    ),
    # SageMaker.
    (
        "sagemaker",
        "engine: {name: vllm}",
        "engine: {name: vllm}\n      replicas: 2",
        17,
        ["scaling says how many"],
    ),
    (
        "sagemaker",
        "engine: {name: vllm}",
        "engine: {name: vllm}\n      pool: chat",
        17,
        ["instances of its own"],
    ),
    ("sagemaker", "engine: {name: vllm}", "engine: {name: llama.cpp}", 16, ["does not serve on nvidia-l4"]),
    (
        "sagemaker",
        "engine: {name: vllm}",
        (
            "engine: {name: vllm}\n      gateway:\n        egress: [{cidr: 10.0.0.0/8, port: 4318}]\n"
            "        otlpEndpoint: http://c:4318"
        ),
        19,
        ["otlpEndpoint is given", "open no connection"],
    ),
    (
        "sagemaker",
        "engine: {name: vllm}",
        "engine: {name: vllm}\n      gateway: {tlsSecret: mine}",
        17,
        ["tlsSecret is given", "no file into the container"],
    ),
    ("sagemaker", "maxInput: 6144", "maxInput: 9000", 18, ["maxInput is 9000", "maxTotal"]),
    ("sagemaker", "accelerator: nvidia-l4", "accelerator: nvidia-l5", 7, ["'nvidia-l5'", "did you mean"]),
    (
        "sagemaker",
        "environment: development",
        "environment: production",
        9,
        ["minInstances is 1", "at least 2"],
    ),
    ("sagemaker", "    endpoint:", "    endpoint:\n      namespace: chat", 5, ["nothing on SageMaker"]),
    ("sagemaker", "alarms: {actionArns: []}", "", 5, ["alarms is missing", "actionArns"]),
]
# What only a component knows: found while the program runs, before anything else of it is declared.
BY_COMPONENTS: list[tuple[str, str, str, int, list[str]]] = [
    (
        "aws",
        "[arn:aws:iam::111122223333:role/platform]",
        "[platform]",
        9,
        ["adminArns", "ARN of one IAM role"],
    ),
    ("aws", "cidr: 10.20.0.0/16", "cidr: 10.20.0.0/24", 11, ["vpc.cidr", "/16 to /20"]),
    (
        "aws",
        "zones: [eu-central-1a, eu-central-1b]",
        "zones: [eu-central-1a]",
        12,
        ["vpc.zones", "two or three"],
    ),
    ("aws", NO_VPC, "", 6, ["vpc", "exactly one of vpc and subnetIds"]),
    (
        "aws",
        'version: "1.35"',
        'version: "1.35"\n        publicCidrs: [0.0.0.0/0]',
        9,
        ["the whole internet"],
    ),
    (
        "aws",
        'version: "1.35"',
        'version: "1.35"\n        logRetentionDays: 42',
        9,
        ["logRetentionDays is 42"],
    ),
    (
        "aws",
        'version: "1.35"',
        'version: "1.35"\n        existing: true',
        10,
        ["only for a cluster that is made"],
    ),
    ("gcp", "project: models-dev-1", "project: Models", 7, ["gke.project", "a project's ID"]),
    (
        "gcp",
        "location: europe-west4",
        "location: europe-west4\n        network: {podsCidr: 10.0.0.0/14}",
        9,
        ["podsCidr", "apart from subnetCidr"],
    ),
    (
        "gcp",
        "location: europe-west4",
        "location: europe-west4\n        access: {authorizedNetworks: {all: 0.0.0.0/0}}",
        9,
        ["authorizedNetworks", "everybody"],
    ),
    (
        "sagemaker",
        "accelerator: nvidia-l4",
        "accelerator: nvidia-l4\n        instanceType: ml.g5.xlarge",
        8,
        ["ml.g5"],
    ),
    ("sagemaker", "maxInstances: 3", "maxInstances: 0", 9, ["maxInstances is 0", "1 to 1000"]),
]


@pytest.mark.parametrize("name", list(GOOD))
def test_the_good_ones_are_good(load: Callable[..., Any], name: str) -> None:
    assert load(GOOD[name], {}).settings.models.keys() == {"chat"}


def _check(message: str, line: int, words: list[str]) -> None:
    first, *problems = message.split("\n  ")
    assert first == "stack 'local': 1 setting is wrong", message
    (problem,) = problems
    assert problem.startswith(f"Pulumi.local.yaml:{line}: berth:"), message
    assert "allowed: " in problem
    for word in words:
        assert word in problem, message
    assert not re.search(r"\b[a-z]+_[a-z_]+\b", problem), "a name of the code"


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [(name, old, new, (line, words)) for name, old, new, line, words in WRONG],
    ids=[f"{name}-{new.strip()[:60]}" for name, _, new, _, _ in WRONG],
)
def test_one_mistake(
    load: Callable[..., Any], name: str, old: str, new: str, expected: tuple[int, list[str]]
) -> None:
    text = GOOD[name].replace(old, new, 1)
    assert text != GOOD[name]
    with pytest.raises(SettingsError) as caught:
        load(text, {})
    _check(str(caught.value), *expected)


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [(name, old, new, (line, words)) for name, old, new, line, words in BY_COMPONENTS],
    ids=[f"{name}-{new.strip()[:60]}" for name, _, new, _, _ in BY_COMPONENTS],
)
def test_one_mistake_that_a_component_finds(
    run: Callable[..., Any], name: str, old: str, new: str, expected: tuple[int, list[str]]
) -> None:
    text = GOOD[name].replace(old, new, 1)
    assert text != GOOD[name]
    with pytest.raises(SettingsError) as caught:
        run(text, {}, preview=True)
    _check(str(caught.value), *expected)


def test_there_are_enough() -> None:
    assert len(WRONG) + len(BY_COMPONENTS) >= 60


def test_two_sites_of_the_same_cluster_share_its_accelerators(load: Callable[..., Any]) -> None:
    """Two models on one pool need room together, though each alone would fit."""
    text = AWS + AWS.split("  berth:models:\n")[1].replace("    chat:\n", "    talk:\n", 1)
    with pytest.raises(SettingsError, match=r"yaml:18: .*models need 6 \(chat: .*talk: .*at least 6"):
        load(text, {})


def test_what_a_stack_without_models_has_no_use_for_is_refused(load: Callable[..., Any]) -> None:
    with pytest.raises(SettingsError, match=r"yaml:3: berth:clients is said; .*only of stacks with models"):
        load(AWS.split("  berth:models:\n", maxsplit=1)[0], {})
    without = AWS.split("  berth:models:\n", maxsplit=1)[0].replace(
        "  berth:clients: {cidrs: [10.0.0.0/8]}\n", ""
    )
    assert load(without, {}).settings.models == {}
