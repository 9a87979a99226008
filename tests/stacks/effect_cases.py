"""Cases of test_effects.py: another value for every setting, and what that needs."""

from __future__ import annotations

from effect_frames import (
    CPU_MODEL,
    DIGEST,
    EKS,
    FIXED,
    GPU_MODEL,
    NODE_PORT,
    OWN,
    OWN_POOL,
    RESOURCES,
    TAINT,
    Alone,
    Case,
    Json,
    cases_of,
    stack_of,
)

PLACE = {"namespace": "monitoring", "port": 4318}
BUCKET = {"source": "s3", "url": "s3://models/a", "region": "eu-central-1"}
RANGE = {"cidr": "198.18.5.0/24", "port": 443}

CASES: list[Case] = [
    *cases_of(
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
            "gateway.logContent": True,
            "gateway.costPerHour": 1.5,
            "gateway.filters": [{"name": "b", "action": "flag", "stages": ["input"], "length": {"most": 9}}],
            "gateway.otlpEndpoint": ("http://b:4318", {"gateway": {"egress": [PLACE]}}),
            "gateway.traceSample": (
                0.5,
                {"gateway": {"egress": [PLACE], "otlpEndpoint": "http://a:4318"}},
            ),
            "gateway.tlsSecret": "certificate",
            "gateway.egress": [PLACE],
            "gateway.egress.0.namespace": ("other", {"gateway": {"egress": [PLACE]}}),
            "gateway.egress.0.cidr": ("198.18.6.0/24", {"gateway": {"egress": [RANGE]}}),
            "gateway.egress.0.port": (444, {"gateway": {"egress": [PLACE]}}),
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
            "service.grpcPort": 8033,
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
    *cases_of(
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
            "weights.url": ("s3://other/a", {"weights": BUCKET}),
            "weights.region": ("eu-west-1", {"weights": BUCKET}),
            "weights.endpoint": ("https://store.example", {"weights": BUCKET}),
            "weights.credentialsSecret": ("store", {"weights": BUCKET}),
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
    *cases_of(
        "own-site",
        "sites.*.",
        {
            "cluster.kubeconfig": "other",
            "cluster.context": "other",
            "cluster.dns": "gke",
            "namespace": "elsewhere",
            "nodeSelector": {"disk": "fast"},
            "tolerations": [TAINT],
            "tolerations.0.key": ("other", {"tolerations": [TAINT]}),
            "tolerations.0.value": ("other", {"tolerations": [TAINT]}),
            "tolerations.0.effect": ("NoExecute", {"tolerations": [TAINT]}),
        },
    ),
    *cases_of(
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
    *cases_of(
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
]

STACK: Json = stack_of({"here": OWN}, {"chat": {**CPU_MODEL, "autoscaling": {"min": 2, "max": 3}}})
_REFS = {
    role: f"registry.example/{role}:7"
    for role in ("model-server", "engine-llama-cpp", "weights-smollm2", "metrics-adapter")
}
_LOAD: Json = {"models.chat.load": {"requestsPerSecond": 1, "inputTokens": 5, "outputTokens": 5}}
_OVERRIDE = {"finding": "here/chat price", "reason": "an invoice is under way", "expires": "2999-12-31"}
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
    "models.*.load.requestsPerSecond": Alone(9.5, "models.chat.load.requestsPerSecond", _LOAD),
    "models.*.load.inputTokens": Alone(9, "models.chat.load.inputTokens", _LOAD),
    "models.*.load.outputTokens": Alone(9, "models.chat.load.outputTokens", _LOAD),
    "models.*.load.utilisation": Alone(0.9, "models.chat.load.utilisation", _LOAD),
    "overrides": Alone([_OVERRIDE], "overrides"),
    "overrides.*.finding": Alone(
        "here/chat replicas", "overrides.0.finding", _LOAD | {"overrides": [_OVERRIDE]}
    ),
    "overrides.*.reason": Alone("another", "overrides.0.reason", {"overrides": [_OVERRIDE]}),
    "overrides.*.expires": Alone("2999-12-30", "overrides.0.expires", {"overrides": [_OVERRIDE]}),
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
    "metricsAdapter.prometheus": Alone(
        "http://other.metrics:9090",
        "metricsAdapter.prometheus",
        {"metricsAdapter": {"mode": "keda", "prometheus": "http://prometheus.metrics:9090"}},
    ),
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
    "sites.*.localCluster": Alone(
        needs={"environment": "local", "sites.here.localCluster": "cloud"},
        refused={"environment": "development"},
        words="localCluster is given",
    ),
    "sites.*.simulatedNodes.count": Alone(
        needs={
            "environment": "local",
            "sites.here.simulatedNodes": {"gpus": 1, "count": 4},
            "models.chat.gpu": {"count": 1},
        },
        refused={"sites.here.simulatedNodes.count": 3},
        words="so 3 replica(s) fit, of up to 3 + 1 while it is updated",
    ),
    "sites.*.simulatedNodes.gpus": Alone(
        needs={
            "environment": "local",
            "sites.here.simulatedNodes": {"gpus": 4},
            "models.chat.gpu": {"count": 1},
        },
        refused={"sites.here.simulatedNodes.gpus": 3},
        words="so 3 replica(s) fit, of up to 3 + 1 while it is updated",
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
    "models.*.weights.identity": Alone(
        True,
        "models.chat.weights.identity",
        {
            "sites.here": {
                **EKS,
                "pools": {"main": {"accelerator": "nvidia-l4", "machineType": "g6.2xlarge", "max": 4}},
            },
            "models.chat": {**GPU_MODEL, "weights": BUCKET},
        },
    ),
    "models.*.service.annotations": Alone(
        {"networking.gke.io/load-balancer-type": "Internal"}, "models.chat.service.annotations", audible=True
    ),
    **{
        f"sites.*.devicePlugins.{kind}.{key}": Alone(
            needs={
                "sites.here.pools": {"main": {"accelerator": card, "max": 2, "labels": {"a": "b"}}},
                **dict.fromkeys(("models", "clients", "images"), None),
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
