"""Where the cases of test_effects.py live: what each begins with, and the stack around it."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
SECRET_SIGNATURE = "4dabf18193072939515e22adb298388d"
DIGEST = "sha256:" + "a" * 64  # a fixture: no such image exists
RESOURCES = {"cpuRequest": "100m", "memoryRequest": "64Mi", "memoryLimit": "256Mi"}
GPU_RESOURCES = {"cpuRequest": "4", "memoryRequest": "16Gi", "memoryLimit": "24Gi"}
TAINT = {"key": "team", "value": "chat", "effect": "NoSchedule"}
ADMIN = "arn:aws:iam::111122223333:role/platform"  # AWS' own example of an account
KEY_ARN = "arn:aws:kms:eu-central-1:111122223333:key/0a1b2c3d"
EXTRA = {"berth:apiKeys": json.dumps({"tester": "canary-0123456789abcdef"})}
FIXED = {"autoscaling": None, "replicas": 1}
NODE_PORT = {"service": {"type": "NodePort"}}


@dataclass(frozen=True)
class Case:
    """A setting of a model, a pool or a site; `inner` is its path in there."""

    kind: str
    path: str
    inner: str
    value: Any
    needs: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Alone:
    """A setting that needs a program of its own: another value, or what is refused and why."""

    value: Any = None
    real: str = ""
    needs: Json = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=lambda: EXTRA)
    refused: Json = field(default_factory=dict)
    words: str = ""
    audible: bool = False
    """Annotations count: the setting is one, which a cloud's load balancer reads."""


@dataclass(frozen=True)
class Frame:
    """Where cases of a kind live: what each begins with, and the stack around them."""

    entry: Json
    around: Callable[[Json], Json]


def plain(value: Any) -> Any:
    """Inputs without the envelopes of secrets; what a preview does not know as "unknown"."""
    if isinstance(value, dict):
        if SECRET_SIGNATURE in value:
            return plain(value["value"])
        return {key: plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, pulumi.output.Unknown):
        return "unknown"
    # Policies and the like are JSON in a string.
    return value


def stack_of(sites: Json, models: Json | None = None) -> Json:
    return {
        "environment": "development",
        **({"clients": {"cidrs": ["10.0.0.0/8"]}} if models else {}),
        "sites": sites,
        **({"models": models} if models else {}),
    }


CPU_MODEL: Json = {
    "model": "smollm2-135m-instruct-q4_1",
    "sites": ["here"],
    "engine": {"resources": RESOURCES},
    "concurrency": {"slots": 2, "maxConcurrentRequests": 8},
    "tokens": {"maxInput": 100, "maxTotal": 200},
    "autoscaling": {"max": 3},
}
GPU_MODEL: Json = {
    "model": "qwen2.5-7b-instruct",
    "sites": ["here"],
    "pool": "main",
    "engine": {"name": "vllm", "resources": GPU_RESOURCES},
    "concurrency": {"slots": 2, "maxConcurrentRequests": 8},
    "tokens": {"maxInput": 100, "maxTotal": 200},
    "autoscaling": {"max": 2},
}
OWN_POOL: Json = {"accelerator": "nvidia-l4", "acceleratorsPerNode": 4, "max": 500, "labels": {"card": "l4"}}
OWN: Json = {"cluster": {"kubeconfig": "k"}, "nodeAddress": "198.18.0.2"}
EKS: Json = {
    "eks": {
        "region": "eu-central-1",
        "version": "1.35",
        "subnetIds": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
        "adminArns": [ADMIN],
    }
}
VPC = {
    "eks.subnetIds": None,
    "eks.vpc": {"cidr": "10.20.0.0/16", "zones": ["eu-central-1a", "eu-central-1b"]},
}
EKS_POOL: Json = {"accelerator": "nvidia-l4", "max": 2}
GKE: Json = {"gke": {"project": "models-prod-1", "projectNumber": "123456789012", "location": "europe-west4"}}
GKE_POOL: Json = {"accelerator": "nvidia-l4", "max": 2}
SAGEMAKER: Json = {
    "sagemaker": {
        "region": "eu-central-1",
        "accelerator": "nvidia-l4",
        "acceleratorsPerInstance": 1,
        "scaling": {"minInstances": 1, "maxInstances": 2, "target": 4},
        "alarms": {"actionArns": []},
    }
}
INF2 = {
    "sagemaker.accelerator": "aws-inferentia2",
    "sagemaker.instanceType": "ml.inf2.xlarge",
}
SM_MODEL: Json = {
    "model": "qwen2.5-7b-instruct",
    "engine": {"name": "vllm"},
    "concurrency": {"slots": 2, "maxConcurrentRequests": 8},
    "tokens": {"maxInput": 100, "maxTotal": 200},
}


def _models(pools: Json) -> Callable[[Json], Json]:
    def around(entries: Json) -> Json:
        sites: Json = {"here": {**OWN, **({"pools": pools} if pools else {})}}
        for one in entries.values():
            for site in one["sites"]:
                sites.setdefault(site, {"cluster": {"kubeconfig": site}, "nodeAddress": "198.18.0.3"})
        return stack_of(sites, entries)

    return around


def _own_sites(entries: Json) -> Json:
    sites = copy.deepcopy(entries)
    for key, site in sites.items():
        if "kubeconfig" in site["cluster"]:
            site["cluster"]["kubeconfig"] += key
    # It may leave the cluster, so who answers names there counts.
    gateway = {"egress": [{"cidr": "198.51.100.0/24", "port": 443}]}
    model = {**CPU_MODEL, "sites": [*sites], "service": {"type": "NodePort"}, "gateway": gateway}
    # One adapter per cluster would be most of the resources.
    return {**stack_of(sites, {"chat": model}), "metricsAdapter": {"mode": "existing"}}


def _gpu_sites(entries: Json) -> Json:
    sites = copy.deepcopy(entries)
    for key, site in sites.items():
        site["cluster"]["kubeconfig"] += key
    return stack_of(sites)


def _referring(entries: Json) -> Json:
    return stack_of(entries, {"chat": {**CPU_MODEL, "sites": [*entries]}})


def _routers(entries: Json) -> Json:
    return {**stack_of({"here": OWN}, {"one": CPU_MODEL, "two": CPU_MODEL}), "routers": entries}


FRAMES: dict[str, Frame] = {
    "router": Frame({"site": "here", "weights": {"one": 90, "two": 10}}, _routers),
    "cpu-model": Frame(CPU_MODEL, _models({})),
    "gpu-model": Frame(GPU_MODEL, _models({"main": OWN_POOL})),
    "own-site": Frame(OWN, _own_sites),
    "own-plugin": Frame({**OWN, "pools": {"main": {**OWN_POOL, "max": 2}}}, _gpu_sites),
    "referring-site": Frame({"cluster": {"stack": "acme/berth/clusters", "site": "first"}}, _referring),
    "eks-site": Frame(EKS, stack_of),
    "eks-pool": Frame(EKS_POOL, lambda entries: stack_of({"here": {**EKS, "pools": entries}})),
    "eks-auto-pool": Frame(
        EKS_POOL,
        lambda entries: stack_of({"here": {"eks": {**EKS["eks"], "scaling": "auto-mode"}, "pools": entries}}),
    ),
    "neuron-plugin": Frame(
        {**OWN, "pools": {"main": {**OWN_POOL, "accelerator": "aws-inferentia2", "max": 2}}}, _gpu_sites
    ),
    "gke-site": Frame(GKE, stack_of),
    "gke-pool": Frame(GKE_POOL, lambda entries: stack_of({"here": {**GKE, "pools": entries}})),
    "sagemaker-site": Frame(
        SAGEMAKER, lambda entries: stack_of(entries, {"chat": {**SM_MODEL, "sites": [*entries]}})
    ),
}
# What the fixture of another stack put out.
OTHERS: dict[str, Json] = {
    name: {
        "kubeconfigs": {key: json.dumps({"clusters": name + key}) for key in ("first", "second")},
        "pools": {"first": {}, "second": {}},
    }
    for name in ("acme/berth/clusters", "acme/berth/others")
}


def cases_of(kind: str, prefix: str, table: dict[str, Any]) -> list[Case]:
    """`table`: path below the prefix → value, or (value, needs)."""
    found = []
    for inner, given in table.items():
        value, needs = given if isinstance(given, tuple) else (given, {})
        path = prefix + ".".join("*" if part in {"0", "main"} else part for part in inner.split("."))
        found.append(Case(kind, path, inner, value, needs))
    return found
