"""Cases of test_effects.py: another value for every setting, and what that needs."""

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


def _stack(sites: Json, models: Json | None = None) -> Json:
    return {
        "environment": "development",
        "clients": {"cidrs": ["10.0.0.0/8"]},
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
        return _stack(sites, entries)

    return around


def _own_sites(entries: Json) -> Json:
    sites = copy.deepcopy(entries)
    for key, site in sites.items():
        if "kubeconfig" in site["cluster"]:
            site["cluster"]["kubeconfig"] += key
    model = {**CPU_MODEL, "sites": [*sites], "service": {"type": "NodePort"}}
    # One adapter per cluster would be most of the resources.
    return {**_stack(sites, {"chat": model}), "metricsAdapter": {"mode": "existing"}}


def _gpu_sites(entries: Json) -> Json:
    sites = copy.deepcopy(entries)
    for key, site in sites.items():
        site["cluster"]["kubeconfig"] += key
    return _stack(sites)


def _referring(entries: Json) -> Json:
    return _stack(entries, {"chat": {**CPU_MODEL, "sites": [*entries]}})


FRAMES: dict[str, Frame] = {
    "cpu-model": Frame(CPU_MODEL, _models({})),
    "gpu-model": Frame(GPU_MODEL, _models({"main": OWN_POOL})),
    "own-site": Frame(OWN, _own_sites),
    "own-plugin": Frame({**OWN, "pools": {"main": {**OWN_POOL, "max": 2}}}, _gpu_sites),
    "referring-site": Frame({"cluster": {"stack": "acme/berth/clusters", "site": "first"}}, _referring),
    "eks-site": Frame(EKS, _stack),
    "eks-pool": Frame(EKS_POOL, lambda entries: _stack({"here": {**EKS, "pools": entries}})),
    "eks-auto-pool": Frame(
        EKS_POOL,
        lambda entries: _stack({"here": {"eks": {**EKS["eks"], "scaling": "auto-mode"}, "pools": entries}}),
    ),
    "neuron-plugin": Frame(
        {**OWN, "pools": {"main": {**OWN_POOL, "accelerator": "aws-inferentia2", "max": 2}}}, _gpu_sites
    ),
    "gke-site": Frame(GKE, _stack),
    "gke-pool": Frame(GKE_POOL, lambda entries: _stack({"here": {**GKE, "pools": entries}})),
    "sagemaker-site": Frame(
        SAGEMAKER, lambda entries: _stack(entries, {"chat": {**SM_MODEL, "sites": [*entries]}})
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


def _cases(kind: str, prefix: str, table: dict[str, Any]) -> list[Case]:
    """`table`: path below the prefix → value, or (value, needs)."""
    found = []
    for inner, given in table.items():
        value, needs = given if isinstance(given, tuple) else (given, {})
        path = prefix + ".".join("*" if part in {"0", "main"} else part for part in inner.split("."))
        found.append(Case(kind, path, inner, value, needs))
    return found


CASES: list[Case] = [
    *_cases(
        "cpu-model",
        "models.*.",
        {
            "sites": ["here", "there"],
            "engine.threads": 3,
            "replicas": (2, FIXED),
            "variant": "canary",
            "gateway.payloadLimitBytes": 4096,
            "gateway.maxStopSequences": 2,
            "gateway.logLevel": "debug",
            "weights.storage": "new-claim",
            "weights.size": "2Gi",
            "weights.storageClass": "fast",
            "weights.accessMode": ("ReadWriteOnce", {**FIXED, "weights": {"storage": "new-claim"}}),
            "weights.claimName": ("b", {"weights": {"storage": "claim", "claimName": "a"}}),
            "placement.nodeSelector": {"disk": "fast"},
            "placement.tolerations": [TAINT],
            "placement.tolerations.0.key": ("other", {"placement.tolerations": [TAINT]}),
            "placement.tolerations.0.value": ("other", {"placement.tolerations": [TAINT]}),
            "placement.tolerations.0.effect": ("NoExecute", {"placement.tolerations": [TAINT]}),
            "placement.priorityClass": "serving",
            "placement.runtimeClass": "nvidia",
            "placement.spread": "required",
            "service.type": "LoadBalancer",
            "service.port": 8080,
            "service.nodePort": (30081, NODE_PORT),
            "service.externalTrafficPolicy": ("Cluster", NODE_PORT),
            "termination.preStopSeconds": 3,
            "termination.drainSeconds": 3,
            "termination.graceSeconds": 333,
            "probes.startupSeconds": 300,
            "probes.measuredLoadSeconds": 100.5,
            "probes.readinessPeriodSeconds": 9,
            "probes.livenessPeriodSeconds": 9,
            "rollout.maxSurge": 2,
            "rollout.maxUnavailable": 1,
            "concurrency.slots": 1,
            "concurrency.maxConcurrentRequests": 9,
            "concurrency.queueTimeoutSeconds": 9,
            "tokens.maxInput": 50,
            "tokens.maxTotal": 300,
            "autoscaling.max": 4,
            "autoscaling.min": 2,
            "autoscaling.metric": "cpu",
            "autoscaling.target": 9,
            "autoscaling.runningTarget": 9,
            **{
                f"autoscaling.{way}.{key}": 7
                for way in ("scaleUp", "scaleDown")
                for key in ("windowSeconds", "pods", "periodSeconds")
            },
            **{
                f"{part}.resources.{key}": (value, {f"{part}.resources": RESOURCES})
                for part in ("engine", "gateway", "weights")
                for key, value in {
                    "cpuRequest": "50m",
                    "cpuLimit": "1",
                    "memoryRequest": "32Mi",
                    "memoryLimit": "512Mi",
                }.items()
            },
        },
    ),
    *_cases(
        "gpu-model",
        "models.*.",
        {
            "model": "mistral-7b-instruct-v0.3",
            "engine.name": "sglang",
            "engine.tensorParallel": (1, {"gpu": {"count": 2}}),
            "engine.dtype": "float16",
            "engine.quantisation": "fp8",
            "engine.kvCacheDtype": "fp8",
            "engine.memoryFraction": 0.7,
            "engine.prefixCaching": False,
            "engine.sharedMemory": "8Gi",
            "engine.scratch": "40Gi",
            "gpu.count": 2,
            "weights.path": (
                "other",
                {"weights": {"source": "volume", "path": "a", "storage": "claim", "claimName": "a"}},
            ),
            "weights.hubUrl": "https://mirror.example",
            "weights.hubCidrs": ["198.18.5.0/24"],
            "weights.tokenSecret": "hub",
            "weights.fetchSeconds": 900,
        },
    ),
    # Another source needs other settings besides.
    Case(
        "gpu-model",
        "models.*.weights.source",
        "weights",
        {"source": "volume", "path": "a", "storage": "claim", "claimName": "a"},
    ),
    *_cases(
        "own-site",
        "sites.*.",
        {
            "cluster.kubeconfig": "other",
            "cluster.context": "other",
            "namespace": "elsewhere",
            "nodeSelector": {"disk": "fast"},
            "tolerations": [TAINT],
            "tolerations.0.key": ("other", {"tolerations": [TAINT]}),
            "tolerations.0.value": ("other", {"tolerations": [TAINT]}),
            "tolerations.0.effect": ("NoExecute", {"tolerations": [TAINT]}),
        },
    ),
    *_cases(
        "own-plugin",
        "sites.*.",
        {
            "devicePlugins.nvidia.mode": "managed",
            **{
                f"devicePlugins.nvidia.{key}": (value, {"devicePlugins.nvidia": {"mode": "managed"}})
                for key, value in {
                    "image": "registry.example/plugin:1",
                    "namespace": "elsewhere",
                    "runtimeClass": "nvidia",
                    "migStrategy": "single",
                    "priorityClass": "high",
                    "pullSecrets": ["registry"],
                }.items()
            },
        },
    ),
    *_cases(
        "neuron-plugin",
        "sites.*.",
        {
            "devicePlugins.neuron.mode": "managed",
            **{
                f"devicePlugins.neuron.{key}": (value, {"devicePlugins.neuron": {"mode": "managed"}})
                for key, value in {
                    "image": "registry.example/plugin:1",
                    "namespace": "elsewhere",
                    "apiServerCidrs": ["198.18.0.0/24"],
                    "priorityClass": "high",
                    "pullSecrets": ["registry"],
                }.items()
            },
        },
    ),
    *_cases(
        "referring-site",
        "sites.*.",
        {"cluster.stack": "acme/berth/others", "cluster.site": "second"},
    ),
    *_cases(
        "eks-site",
        "sites.*.",
        {
            "eks.region": "eu-west-1",
            "eks.allowedAccounts": ["111122223333"],
            "eks.name": "other",
            "eks.scaling": "auto-mode",
            "eks.version": "1.36",
            "eks.support": "standard",
            "eks.subnetIds": ["subnet-0123456789abcdef2", "subnet-0123456789abcdef3"],
            "eks.publicCidrs": ["198.51.100.0/24"],
            "eks.adminArns": [ADMIN.replace("platform", "other")],
            "eks.secretsKeyArn": KEY_ARN,
            "eks.logRetentionDays": 30,
            "eks.deletionProtection": False,
            "eks.addonVersions": {"coredns": "v1.12.4-eksbuild.1"},
            "eks.tags": {"cost": "chat"},
            "eks.systemNodes.machineType": "m6i.xlarge",
            "eks.systemNodes.minNodes": 3,
            "eks.systemNodes.maxNodes": 9,
            "eks.systemNodes.diskSizeGib": 80,
            "eks.vpc.cidr": ("10.32.0.0/16", VPC),
            "eks.vpc.zones": (["eu-central-1b", "eu-central-1c"], VPC),
            "eks.vpc.nat": ("per-zone", VPC),
            "eks.vpc.endpoints": (["s3", "sts"], VPC),
            "eks.autoscaler.image": "registry.example/autoscaler:1",
            "eks.autoscaler.namespace": "scaling",
            "eks.autoscaler.replicas": 1,
            "eks.autoscaler.unneededSeconds": 120,
            "eks.autoscaler.expander": "random",
            "eks.autoscaler.metricsNamespaces": ["monitoring"],
            "eks.autoscaler.imagePullSecrets": ["registry"],
            "eks.autoscaler.tags": {"cost": "chat"},
        },
    ),
    *_cases(
        "eks-pool",
        "sites.*.pools.*.",
        {
            "accelerator": "nvidia-l40s",
            "max": 3,
            "acceleratorsPerNode": 4,
            "min": 1,
            "capacity": "spot",
            "machineType": "g6.2xlarge",
            "labels": {"tier": "chat"},
            "taints": [TAINT],
            "taints.0.key": ("other", {"taints": [TAINT]}),
            "taints.0.effect": ("NoExecute", {"taints": [TAINT]}),
            "taints.0.value": ("other", {"taints": [TAINT]}),
            "eks.subnetIds": ["subnet-0123456789abcdef2"],
            "eks.diskSizeGib": 300,
            "eks.volumeKeyArn": KEY_ARN,
            "eks.reservation.id": (
                "cr-0123456789abcdef1",
                {
                    "capacity": "reserved",
                    "eks.reservation": {"id": "cr-0123456789abcdef0", "kind": "on-demand"},
                },
            ),
            "eks.reservation.kind": (
                "capacity-block",
                {
                    "capacity": "reserved",
                    "eks.reservation": {"id": "cr-0123456789abcdef0", "kind": "on-demand"},
                },
            ),
            "eks.maxUnavailable": 2,
            "eks.updateStrategy": "minimal",
            "eks.nodeRepair": False,
            "eks.kubernetesVersion": "1.34",
            "eks.amiRelease": "1.35.0-20261101",
            "eks.tags": {"cost": "chat"},
        },
    ),
    *_cases("eks-auto-pool", "sites.*.pools.*.", {"eks.expireAfterHours": 100}),
    *_cases(
        "gke-site",
        "sites.*.",
        {
            "gke.project": "models-dev-1",
            "gke.location": "europe-west1",
            "gke.projectNumber": "123456789013",
            "gke.name": "other",
            "gke.existing": "there",
            "gke.releaseChannel": "STABLE",
            "gke.minVersion": "1.35",
            "gke.zones": ["europe-west4-a"],
            "gke.network.subnetCidr": "10.0.16.0/20",
            "gke.network.podsCidr": "10.12.0.0/14",
            "gke.network.servicesCidr": "10.9.0.0/20",
            "gke.network.nat": False,
            "gke.network.flowLogs": False,
            **{
                f"gke.network.{key}": (
                    "other",
                    {
                        "gke.network": {
                            "network": "shared",
                            "subnetwork": "nodes",
                            "podsRange": "pods",
                            "servicesRange": "services",
                        }
                    },
                )
                for key in ("network", "subnetwork", "podsRange", "servicesRange")
            },
            "gke.access.dnsEndpoint": False,
            "gke.access.ipEndpoints": False,
            "gke.access.privateEndpoint": (
                False,
                {"gke.access": {"authorizedNetworks": {"office": "198.51.100.0/24"}}},
            ),
            "gke.access.authorizedNetworks": {"office": "198.51.100.0/24"},
            "gke.encryption.key": "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k",
            "gke.encryption.rotationDays": 30,
            "gke.encryption.grantAccess": (
                False,
                {"gke.encryption": {"key": "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k"}},
            ),
            "gke.encryption.bootDisks": True,
            "gke.logging": ["SYSTEM_COMPONENTS"],
            "gke.monitoring": ["SYSTEM_COMPONENTS"],
            "gke.managedPrometheus": False,
            "gke.maintenance.start": "05:00",
            "gke.maintenance.hours": 6,
            "gke.maintenance.days": ["MO", "TU", "WE", "TH", "FR"],
            "gke.maintenance.exclusions": [
                {"name": "year-end", "start": "2026-12-18T00:00:00Z", "end": "2027-01-04T00:00:00Z"}
            ],
            **{
                f"gke.maintenance.exclusions.0.{key}": (
                    value,
                    {
                        "gke.maintenance.exclusions": [
                            {
                                "name": "year-end",
                                "start": "2026-12-18T00:00:00Z",
                                "end": "2027-01-04T00:00:00Z",
                            }
                        ]
                    },
                )
                for key, value in {
                    "name": "other",
                    "start": "2026-12-19T00:00:00Z",
                    "end": "2027-01-03T00:00:00Z",
                    "scope": "NO_UPGRADES",
                }.items()
            },
            "gke.deletionProtection": False,
            "gke.systemPool.machineType": "e2-standard-8",
            "gke.systemPool.minNodes": 2,
            "gke.systemPool.maxNodes": 9,
            "gke.systemPool.diskSizeGb": 200,
            "gke.systemPool.diskType": "pd-ssd",
            "gke.nodeServiceAccount": "nodes@models-prod-1.iam.gserviceaccount.com",
            "gke.imageRepositories": [],
            "gke.costAllocation": False,
            "gke.securityPosture": "DISABLED",
            "gke.binaryAuthorization": "PROJECT_SINGLETON_POLICY_ENFORCE",
            "gke.gcsFuse": True,
        },
    ),
    *_cases(
        "gke-pool",
        "sites.*.pools.*.",
        {
            "gke.zones": ["europe-west4-a"],
            "gke.reservation": ("other", {"capacity": "reserved", "gke": {"reservation": "mine"}}),
            "gke.locationPolicy": "any",
            "gke.driver": "latest",
            "gke.diskSizeGb": 300,
            "gke.diskType": "pd-ssd",
            "gke.localSsds": 1,
            "gke.imageStreaming": True,
            "gke.secureBoot": False,
            "gke.maxPods": 32,
            "gke.spotGraceSeconds": (120, {"capacity": "spot"}),
            "gke.upgrade.strategy": "blue-green",
            "gke.upgrade.maxSurge": 2,
            "gke.upgrade.maxUnavailable": 1,
            "gke.upgrade.batchNodes": (2, {"gke.upgrade": {"strategy": "blue-green"}}),
            "gke.upgrade.batchSoakSeconds": (60, {"gke.upgrade": {"strategy": "blue-green"}}),
            "gke.upgrade.soakSeconds": (60, {"gke.upgrade": {"strategy": "blue-green"}}),
        },
    ),
    *_cases(
        "sagemaker-site",
        "sites.*.",
        {
            "sagemaker.region": "eu-west-1",
            "sagemaker.allowedAccounts": ["111122223333"],
            "sagemaker.accelerator": "nvidia-l40s",
            "sagemaker.acceleratorsPerInstance": 4,
            "sagemaker.instanceType": "ml.g6.2xlarge",
            "sagemaker.environment": {"FURTHER": "yes"},
            "sagemaker.weights.bucket": (
                "other",
                {"sagemaker.weights": {"bucket": "weights", "prefix": "a/"}},
            ),
            "sagemaker.weights.prefix": ("b/", {"sagemaker.weights": {"bucket": "weights", "prefix": "a/"}}),
            "sagemaker.weights.keyArn": (
                KEY_ARN,
                {"sagemaker.weights": {"bucket": "weights", "prefix": "a/"}},
            ),
            "sagemaker.networkIsolation": False,
            "sagemaker.vpc.subnetIds": (
                ["subnet-0123456789abcdef1"],
                {
                    "sagemaker.vpc": {
                        "subnetIds": ["subnet-0123456789abcdef0"],
                        "securityGroupIds": ["sg-0123456789abcdef0"],
                    }
                },
            ),
            "sagemaker.vpc.securityGroupIds": (
                ["sg-0123456789abcdef1"],
                {
                    "sagemaker.vpc": {
                        "subnetIds": ["subnet-0123456789abcdef0"],
                        "securityGroupIds": ["sg-0123456789abcdef0"],
                    }
                },
            ),
            "sagemaker.scaling.minInstances": 2,
            "sagemaker.scaling.maxInstances": 3,
            "sagemaker.scaling.metric": "invocations-per-instance",
            "sagemaker.scaling.target": 5,
            "sagemaker.scaling.scaleOutCooldownSeconds": 30,
            "sagemaker.scaling.scaleInCooldownSeconds": 30,
            "sagemaker.alarms.actionArns": ["arn:aws:sns:eu-central-1:111122223333:pages"],
            "sagemaker.alarms.errors5xx": 9,
            "sagemaker.alarms.latencySeconds": 9,
            "sagemaker.startupSeconds": 900,
            "sagemaker.inferenceAmi": "al2023-ami-sagemaker-inference-gpu-4-1",
            "sagemaker.volumeSizeGib": (64, INF2),
            "sagemaker.volumeKeyArn": (KEY_ARN, INF2),
            "sagemaker.update": ("rolling", {"sagemaker.scaling.minInstances": 2}),
            "sagemaker.logRetentionDays": 30,
            "sagemaker.tags": {"cost": "chat"},
        },
    ),
]

STACK: Json = _stack({"here": OWN}, {"chat": {**CPU_MODEL, "autoscaling": {"min": 2, "max": 3}}})
_REFS = {
    role: f"registry.example/{role}:7"
    for role in ("model-server", "engine-llama-cpp", "weights-smollm2", "metrics-adapter")
}
_THERE: Json = {
    "sites.here": {"eks": {"region": "eu-central-1", "existing": True, "name": "there"}},
    "models.chat.service": None,
}
# Settings that a program of its own must show, or that are there to be refused.
ALONE: dict[str, Alone] = {
    "environment": Alone(
        "production",
        "environment",
        {"images.refs": {k: f"{v.partition(':')[0]}@{DIGEST}" for k, v in _REFS.items()}},
    ),
    "namespace": Alone("elsewhere", "namespace"),
    "apiKeysSecret": Alone("keys", "apiKeysSecret", extra={}),
    "metricsNamespaces": Alone(["monitoring"], "metricsNamespaces"),
    "clients.cidrs": Alone(["10.1.0.0/16"], "clients.cidrs"),
    "clients.namespaces": Alone(["apps"], "clients.namespaces"),
    "clients.publicReason": Alone(
        needs={"clients": {"cidrs": ["0.0.0.0/0"], "publicReason": "a demonstration"}},
        refused={"clients": {"cidrs": ["0.0.0.0/0"]}},
        words="clients.publicReason",
    ),
    "images.refs": Alone(_REFS, "images.refs"),
    "images.registry": Alone(
        needs={"images.refs": _REFS}, refused={"images.registry": "other.example"}, words="other.example"
    ),
    "images.pullSecrets": Alone(["registry"], "images.pullSecrets"),
    "metricsAdapter.mode": Alone("existing", "metricsAdapter.mode"),
    "metricsAdapter.namespace": Alone("signals", "metricsAdapter.namespace"),
    "metricsAdapter.replicas": Alone(2, "metricsAdapter.replicas"),
    "metricsAdapter.apiServerCidrs": Alone(["198.18.0.1/32"], "metricsAdapter.apiServerCidrs"),
    "sites.*.eks.existing": Alone(
        {"eks": {"region": "eu-central-1", "existing": True, "name": "there"}},
        "sites.here",
        {"sites.here": EKS},
    ),
    "sites.*.eks.nodeRoleArn": Alone(
        "arn:aws:iam::111122223333:role/other",
        "sites.here.eks.nodeRoleArn",
        {
            **_THERE,
            "sites.here.eks.nodeRoleArn": "arn:aws:iam::111122223333:role/nodes",
            "sites.here.pools": {"main": {"accelerator": "nvidia-l4", "machineType": "g6.2xlarge", "max": 4}},
            "models.chat": {**GPU_MODEL},
        },
    ),
    "sites.*.nodeAddress": Alone(
        refused={"sites.here.nodeAddress": None, "models.chat.service": {"type": "NodePort"}},
        words="nodeAddress is missing",
    ),
    "sites.*.simulatedGpus": Alone(
        needs={
            "environment": "local",
            "sites.here.simulatedGpus": 3,
            "models.chat.gpu": {"count": 1},
        },
        refused={"sites.here.simulatedGpus": 2},
        words="simulatedGpus",
    ),
    "models.*.gpu.resource": Alone(
        "amd.com/gpu",
        "models.chat.gpu.resource",
        {
            "environment": "local",
            "sites.here.simulatedGpus": 3,
            "models.chat.gpu": {"count": 1},
        },
    ),
    "models.*.pool": Alone(
        "second",
        "models.chat.pool",
        {
            "sites.here.pools": {
                "main": {**OWN_POOL, "max": 9},
                "second": {**OWN_POOL, "max": 9, "labels": {"card": "l4-b"}},
            },
            "models.other": {**GPU_MODEL, "pool": "second"},
            "models.third": {**GPU_MODEL},
            "models.chat": {**GPU_MODEL},
        },
    ),
    "models.*.service.annotations": Alone(
        {"networking.gke.io/load-balancer-type": "Internal"}, "models.chat.service.annotations", audible=True
    ),
    **{
        f"sites.*.devicePlugins.{kind}.{key}": Alone(
            needs={
                "sites.here.pools": {"main": {"accelerator": card, "max": 2, "labels": {"a": "b"}}},
                "models": {},
            },
            refused={"sites.here.devicePlugins": {kind: {"mode": "managed", key: value}}},
            words=f"devicePlugins.{kind}.{key} is given",
        )
        for kind, card, key, value in (
            ("nvidia", "nvidia-l4", "apiServerCidrs", ["198.18.0.0/24"]),
            ("neuron", "aws-inferentia2", "runtimeClass", "nvidia"),
            ("neuron", "aws-inferentia2", "migStrategy", "single"),
        )
    },
}
