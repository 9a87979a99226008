"""What a model server's objects say."""

from __future__ import annotations

import base64
import copy
import json
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from berth_components import ArgumentError, ModelServer, ModelServerArgs
from berth_serving.settings import GatewaySettings

from tests.components.declared import leaves

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
GPU = {"gpu": {"count": 2, "simulated": True}}
RENDERED: dict[str, Any] = {}
CLAIM = {"weights.storage": "new-claim"}
NODE_PORT = {"service.type": "NodePort"}

FILES = [
    {"path": "config.json", "size": 700, "sha256": "c" * 64},
    {"path": "model.safetensors", "size": 15_000_000_000, "sha256": "d" * 64},
]
HUB = {
    "weights.source": "hub",
    "weights.file": None,
    "weights.sha256": None,
    "weights.repo": "example/tiny",
    "weights.revision": "0123456789" * 4,
    "weights.files": FILES,
}
VOLUME = {
    **HUB,
    "weights.source": "volume",
    "weights.path": "tiny",
    "weights.storage": "claim",
    "weights.claim_name": "models",
}
VLLM = {
    **HUB,
    "engine.name": "vllm",
    "engine.resources": {"cpu_request": "4", "memory_request": "32Gi", "memory_limit": "64Gi"},
    "gpu": {"count": 4},
}

# Every argument: a value other than the base's or the default, and what else it needs. A list holds several.
S3: Json = {
    **VLLM,
    "weights.source": "s3",
    "weights.url": "s3://weights/tiny",
    "weights.region": "eu-central-1",
}
PLACE: Json = {"namespace": "monitoring", "port": 4318}
OTHER: dict[str, tuple[Any, Json]] = {
    "namespace": ("other", {}),
    "name": ("talk", {}),
    "model.key": ("small", {}),
    "model.id": ("example/small", {}),
    "model.revision": ("sha256:def", {}),
    "weights.image": ("registry.example/weights:2", {}),
    "weights.source": ("packaged:small", {}),
    "weights.file": ("small.gguf", {}),
    "weights.sha256": ("b" * 64, {}),
    "weights.repo": ("example/small", VLLM),
    "weights.revision": ("f" * 40, VLLM),
    "weights.files": (FILES[1:], VLLM),
    "weights.files.path": ([{**FILES[0], "path": "tokenizer.json"}, FILES[1]], VLLM),
    "weights.files.size": ([{**FILES[0], "size": 701}, FILES[1]], VLLM),
    "weights.files.sha256": ([{**FILES[0], "sha256": "e" * 64}, FILES[1]], VLLM),
    "weights.path": ("elsewhere/tiny", {**VLLM, **VOLUME}),
    "weights.hub_url": ("https://hub.example:8443", VLLM),
    "weights.hub_cidrs": (["198.51.100.0/24"], VLLM),
    "weights.token_secret": ("hub", VLLM),
    "weights.fetch_seconds": (7200, VLLM),
    "weights.url": ("s3://other/tiny", S3),
    "weights.endpoint": ("https://store.example:9000", S3),
    "weights.region": ("eu-west-1", S3),
    "weights.credentials_secret": ("bucket", S3),
    "weights.identity": ("eks", S3),
    "weights.storage": ("new-claim", {}),
    "weights.size": ("20Gi", {}),
    "weights.storage_class": ("fast", {}),
    "weights.access_mode": ("ReadWriteOnce", {**CLAIM, "replicas": 1}),
    "weights.claim_name": ("models", {"weights.storage": "claim"}),
    "weights.resources.cpu_request": ("200m", {}),
    "weights.resources.cpu_limit": ("2", {}),
    "weights.resources.memory_request": ("65Mi", {}),
    "weights.resources.memory_limit": ("1Gi", {}),
    "engine.image": ("registry.example/engine:2", {}),
    "engine.name": ("sglang", VLLM),
    "engine.threads": (3, {}),
    "engine.tensor_parallel": (2, VLLM),
    "engine.dtype": ("float16", VLLM),
    "engine.quantisation": ("fp8", VLLM),
    "engine.kv_cache_dtype": ("fp8", VLLM),
    "engine.memory_fraction": (0.8, VLLM),
    "engine.prefix_caching": (False, VLLM),
    "engine.shared_memory": ("8Gi", VLLM),
    "engine.scratch": ("5Gi", VLLM),
    "engine.resources.cpu_request": ("1500m", {}),
    "engine.resources.cpu_limit": ("4", {}),
    "engine.resources.memory_request": ("2Gi", {}),
    "engine.resources.memory_limit": ("3Gi", {}),
    "gateway.image": ("registry.example/gateway:2", {}),
    "gateway.resources.cpu_request": ("200m", {}),
    "gateway.resources.cpu_limit": ("2", {}),
    "gateway.resources.memory_request": ("65Mi", {}),
    "gateway.resources.memory_limit": ("1Gi", {}),
    "gateway.payload_limit_bytes": (4096, {}),
    "gateway.max_stop_sequences": (8, {}),
    "gateway.log_level": ("debug", {}),
    "gateway.log_content": (True, {}),
    "gateway.cost_per_hour": (1.5, {}),
    "gateway.filters": ([{"name": "a", "action": "flag", "stages": ["input"], "length": {"most": 9}}], {}),
    "gateway.otlp_endpoint": ("http://collector:4318", {"gateway.egress": [PLACE]}),
    "gateway.trace_sample": (0.5, {"gateway.egress": [PLACE], "gateway.otlp_endpoint": "http://c:4318"}),
    "dns": ("gke", {"gateway.egress": [PLACE]}),
    **dict.fromkeys(("gateway.egress", "gateway.egress.namespace"), ([PLACE], {})),
    "gateway.egress.app": ([{**PLACE, "app": "collector"}], {"gateway.egress": [PLACE]}),
    "gateway.egress.cidr": ([{"cidr": "198.18.0.0/16", "port": 443}], {}),
    "gateway.egress.port": ([{**PLACE, "port": 444}], {"gateway.egress": [PLACE]}),
    "gateway.tls_secret": ("tls-b", {"gateway.tls_secret": "tls-a"}),
    "concurrency.slots": (2, {}),
    "concurrency.max_concurrent_requests": (32, {}),
    "concurrency.queue_timeout_seconds": (1.5, {}),
    "tokens.max_input": (256, {}),
    "tokens.max_total": (2048, {}),
    "access.client_cidrs": (["10.1.0.0/16"], {}),
    "access.client_namespaces": (["apps"], {}),
    **dict.fromkeys(("access.routers", "access.reporters"), (["front"], {})),
    "access.metrics_namespaces": (["monitoring"], {}),
    **dict.fromkeys(("access.adapter_namespace", "access.prometheus_namespace"), ("monitoring", {})),
    "access.public_reason": ("a public demonstration", {}),
    "replicas": (3, {}),
    "autoscaled": (True, {"replicas": None}),
    "sleeps": (True, {"replicas": None, "autoscaled": True}),
    "gpu.count": (1, GPU),
    "gpu.resource": ("amd.com/gpu", GPU),
    "gpu.simulated": (True, {"gpu": {"count": 0}}),
    "placement.node_selector": ({"pool": "gpu"}, {}),
    "placement.tolerations": ([{"key": "spot"}], {}),
    "placement.tolerations.key": ([{"key": "spot"}], {}),
    "placement.tolerations.value": (
        [{"key": "spot", "value": "yes"}],
        {"placement.tolerations": [{"key": "spot"}]},
    ),
    "placement.tolerations.effect": (
        [{"key": "spot", "effect": "NoSchedule"}],
        {"placement.tolerations": [{"key": "spot"}]},
    ),
    "placement.priority_class": ("serving", {}),
    "placement.runtime_class": ("nvidia", {}),
    "placement.spread": ("required", {}),
    "service.type": ("LoadBalancer", {}),
    "service.port": (8080, {}),
    "service.grpc_port": (8033, {}),
    "service.node_port": (30080, NODE_PORT),
    "service.external_traffic_policy": ("Cluster", NODE_PORT),
    "service.annotations": ({"example.com/internal": "true"}, {}),
    "termination.pre_stop_seconds": (5, {}),
    "termination.drain_seconds": (30, {}),
    "termination.grace_seconds": (300, {}),
    "probes.startup_seconds": (600, {}),
    "probes.measured_load_seconds": (100.0, {}),
    "probes.readiness_period_seconds": (5, {}),
    "probes.liveness_period_seconds": (5, {}),
    "rollout.max_surge": (2, {}),
    "rollout.max_unavailable": (1, {}),
    "service_account.annotations": (
        {"iam.gke.io/gcp-service-account": "server@project.iam.gserviceaccount.com"},
        {},
    ),
    "api_keys": ({"team-b": "another-0123456789abcdef"}, {}),
    "api_keys_secret": ("keys", {"api_keys": None}),
    "allow_anonymous": (True, {"api_keys": None}),
    "image_pull_secrets": (["registry"], {}),
    "variant": ("canary", {}),
}
# What no other value can change, or changes for people only, each with its reason.
ONE_VALUE = {
    "model.format": "each engine loads one format; any other is refused",
    "placement.tolerations.operator": "it follows from whether there is a value; pools say it all the same",
}
FOR_PEOPLE = {
    "model.key": "it names the model in labels, which metrics and queries select",
    "gpu.simulated": "it is what says that no hardware is there",
    "service.annotations": "annotations are what it is about",
    "service_account.annotations": "annotations are what it is about: clouds bind identities by them",
    "sleeps": "what it changes is whether an update waits for an endpoint, which an annotation says",
    "access.public_reason": "what it allows is the range that needs it; the reason itself is for reviewers",
}


def _without_words_for_people(objects: list[Json]) -> str:
    objects = copy.deepcopy(objects)
    for found in objects:
        template = found.get("spec", {}).get("template", {})
        for metadata in (found["metadata"], template.get("metadata", {})):
            metadata.pop("labels", None)
            metadata.pop("annotations", None)
    return json.dumps(sorted(objects, key=lambda o: (o["kind"], o["metadata"]["name"])), sort_keys=True)


@pytest.fixture
def once(serve: Callable[..., Any]) -> Callable[[Json], Any]:
    """Renders as `serve` does, the same changes only once in this module."""

    def run(changes: Json) -> Any:
        key = json.dumps(changes, sort_keys=True)
        if key not in RENDERED:
            RENDERED[key] = serve(changes)
        return RENDERED[key]

    return run


def test_every_argument_is_in_the_table() -> None:
    assert OTHER.keys() | ONE_VALUE.keys() == leaves(ModelServerArgs)


@pytest.mark.parametrize("path", OTHER)
def test_no_argument_is_without_effect(
    serve: Callable[..., Any], once: Callable[[Json], Any], path: str
) -> None:
    value, needs = OTHER[path]
    if path.endswith((".key", ".value", ".effect")) and path.startswith("placement"):
        path = "placement.tolerations"
    if path.startswith("gateway.egress"):
        path = "gateway.egress"
    if path.startswith("weights.files"):
        path = "weights.files"
    group = path.partition(".resources.")[0]
    if ".resources." in path and group != "engine":
        full = {"cpu_request": "100m", "memory_request": "64Mi", "memory_limit": "256Mi"}
        needs = {f"{group}.resources": full}
    try:
        before = once(needs)
    except ArgumentError:  # what it needs is only right together with it
        before = once({})
    after = serve({**needs, path: value})
    if path in FOR_PEOPLE:
        assert json.dumps(before.objects, sort_keys=True) != json.dumps(after.objects, sort_keys=True)
    else:
        assert _without_words_for_people(before.objects) != _without_words_for_people(after.objects)


def test_outputs_give_the_same_objects_as_plain_values(
    serve: Callable[..., Any], base_args: Callable[[Json], Json]
) -> None:
    plain = [
        *(
            "access.client_cidrs",
            "api_keys",
            "concurrency.slots",
            "engine.image",
            "gateway.image",
            "model.id",
        ),
        *("engine.resources.cpu_request", "engine.resources.memory_limit", "namespace", "replicas"),
        *("tokens.max_total", "weights.file", "weights.sha256"),
    ]
    args = base_args({})

    def value(path: str) -> Any:
        found = args
        for key in path.split("."):
            found = found[key]
        return found

    lifted = {path: pulumi.Output.from_input(value(path)) for path in plain}
    lifted["termination.drain_seconds"] = pulumi.Output.from_input(60)
    before, after = serve(), serve(lifted)
    assert before.objects
    assert _without_words_for_people(before.objects) == _without_words_for_people(after.objects)
    assert (
        before.one("Deployment")["spec"]["template"]["metadata"]
        == (after.one("Deployment")["spec"]["template"]["metadata"])
    )


def test_an_autoscaler_owns_the_replicas(serve: Callable[..., Any]) -> None:
    assert serve().one("Deployment")["spec"]["replicas"] == 2
    assert "replicas" not in serve({"autoscaled": True, "replicas": None}).one("Deployment")["spec"]


def test_one_eviction_is_always_allowed(serve: Callable[..., Any]) -> None:
    for replicas in (1, 1000):
        budget = serve({"replicas": replicas}).one("PodDisruptionBudget")["spec"]
        assert budget["maxUnavailable"] == 1
        assert "minAvailable" not in budget
        assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_selectors_meet_the_pods(serve: Callable[..., Any]) -> None:
    rendered = serve()
    deployment = rendered.one("Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    selectors = [
        deployment["selector"]["matchLabels"],
        rendered.one("Service")["spec"]["selector"],
        rendered.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        rendered.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(
            c["labelSelector"]["matchLabels"]
            for c in deployment["template"]["spec"]["topologySpreadConstraints"]
        ),
    ]
    wanted = {"app.kubernetes.io/name": "model-server", "app.kubernetes.io/instance": "chat"}
    assert selectors == [wanted] * 6
    assert wanted.items() <= labels.items()
    assert labels["berth.dev/model"] == "tiny"
    assert labels["berth.dev/queue-metrics"] == "true"
    assert labels["app.kubernetes.io/managed-by"] == "berth"
    port = rendered.one("Service")["spec"]["ports"][0]["targetPort"]
    assert port in [p["name"] for p in deployment["template"]["spec"]["containers"][1]["ports"]]


def test_only_named_peers_come_in_and_nobody_goes_out(serve: Callable[..., Any]) -> None:
    changes = {"access.client_namespaces": ["apps"], "access.client_cidrs": ["10.0.0.0/8"]}
    policy = serve(changes).one("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy
    named = {"kubernetes.io/metadata.name": "apps"}
    assert policy["ingress"] == [
        {
            "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}, {"namespaceSelector": {"matchLabels": named}}],
            "ports": [{"port": 8000, "protocol": "TCP"}],
        },
        {
            "from": [
                {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "berth-metrics"}}}
            ],
            "ports": [{"port": 9000, "protocol": "TCP"}],
        },
    ]


def test_no_rule_without_peers(serve: Callable[..., Any]) -> None:
    """A rule whose `from` is empty lets everybody in."""
    ingress = serve({"access.metrics_namespaces": None}).one("NetworkPolicy")["spec"]["ingress"]
    assert [rule["ports"][0]["port"] for rule in ingress] == [8000]
    assert all(rule["from"] for rule in ingress)


def test_keys_are_secret_and_a_new_one_rolls_no_pod(serve: Callable[..., Any]) -> None:
    rendered = serve()
    registered = next(r for r in rendered.resources if r.typ == "kubernetes:core/v1:Secret")
    assert "4dabf18193072939515e22adb298388d" in registered.inputs["data"]
    secret = rendered.one("Secret")
    assert {k: base64.b64decode(v).decode() for k, v in secret["data"].items()} == {
        "team-a": "canary-0123456789abcdef"
    }
    others = [r for r in rendered.resources if r is not registered]
    encoded = secret["data"]["team-a"]
    assert all(word not in json.dumps(r.inputs) for r in others for word in ("canary", encoded))
    other = serve({"api_keys": {"team-a": "replaced-0123456789abcdef"}})
    assert rendered.one("Deployment") == other.one("Deployment")


def test_a_changed_setting_rolls_the_pods(serve: Callable[..., Any]) -> None:
    checksum = "berth.dev/config-checksum"
    sums = {
        serve(changes).one("Deployment")["spec"]["template"]["metadata"]["annotations"][checksum]
        for changes in ({}, {"gateway.log_level": "debug"}, {"engine.threads": 2}, {"tokens.max_input": 100})
    }
    assert len(sums) == 4


def test_the_gateway_takes_its_settings(serve: Callable[..., Any]) -> None:
    """The gateway's own reader, on what the ConfigMap says."""
    data = serve({"concurrency.queue_timeout_seconds": 1.5}).one("ConfigMap", "chat-gateway")["data"]
    settings = GatewaySettings.from_environment(data)
    assert (settings.port, settings.metrics_port, settings.engine_slots) == (8000, 9000, 4)
    assert (settings.max_concurrent_requests, settings.queue_timeout) == (16, 1.5)
    assert (settings.max_input_tokens, settings.max_total_tokens) == (512, 1024)
    assert settings.drain_seconds == 60
    assert not settings.allow_anonymous
    anonymous = serve({"api_keys": None, "allow_anonymous": True}).one("ConfigMap", "chat-gateway")["data"]
    assert GatewaySettings.from_environment(anonymous).allow_anonymous


def test_a_load_balancer_takes_clients_only(serve: Callable[..., Any]) -> None:
    service = serve({"service.type": "LoadBalancer"}).one("Service")["spec"]
    assert service["loadBalancerSourceRanges"] == ["10.0.0.0/8"]
    assert service["externalTrafficPolicy"] == "Local"


def test_a_public_load_balancer_needs_its_reason(serve: Callable[..., Any]) -> None:
    access = {"client_namespaces": ["apps"], "public_reason": "a demonstration"}
    service = serve({"service.type": "LoadBalancer", "access": access}).one("Service")["spec"]
    assert "loadBalancerSourceRanges" not in service
    assert serve({"access": {"client_namespaces": ["apps"]}}).one("Service")["spec"]["type"] == "ClusterIP"


@pytest.mark.parametrize(
    ("spread", "over_nodes"), [("preferred", "ScheduleAnyway"), ("required", "DoNotSchedule")]
)
def test_nodes_without_a_zone_stay_eligible(serve: Callable[..., Any], spread: str, over_nodes: str) -> None:
    (pod,) = serve({"placement.spread": spread}).pods
    rules = {c["topologyKey"]: c["whenUnsatisfiable"] for c in pod["topologySpreadConstraints"]}
    assert rules == {
        "kubernetes.io/hostname": over_nodes,
        "topology.kubernetes.io/zone": "ScheduleAnyway",
    }


def test_accelerators_are_requested_limited_and_tolerated(serve: Callable[..., Any]) -> None:
    (pod,) = serve(GPU).pods
    resources = pod["containers"][0]["resources"]
    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"] == "2"
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert "nvidia.com/gpu" not in json.dumps(pod["containers"][1:])


def test_every_object_is_a_child_with_a_name_of_the_component(
    render: Callable[..., Any], base_args: Callable[[Json], Json]
) -> None:
    made: list[pulumi.ComponentResource] = []

    def program() -> None:
        made.append(ModelServer("chat", base_args(CLAIM)))  # type: ignore[arg-type] # built up by the test

    objects = [r for r in render(program).resources if r.typ.startswith("kubernetes:")]
    assert len(objects) == len(made[0]._childResources) == 9
    assert all(r.name.startswith("chat-") for r in objects)


def test_outputs(render: Callable[..., Any], base_args: Callable[[Json], Json]) -> None:
    found: Json = {}

    def program() -> pulumi.Output[None]:
        changes = {"service.type": "NodePort", "service.node_port": 30080, "service.port": 81}
        server = ModelServer("chat", base_args(changes))  # type: ignore[arg-type] # built up by the test
        names = [*ModelServer.__annotations__]
        return pulumi.Output.all(**{name: getattr(server, name) for name in names}).apply(found.update)

    render(program)
    assert found == {
        "name": "chat",
        "namespace": "room",
        "deployment": "chat",
        "service": "chat",
        "selector": {"app.kubernetes.io/name": "model-server", "app.kubernetes.io/instance": "chat"},
        "url": "http://chat.room.svc:81",
        "node_port": 30080,
        "address": "",
    }


@pytest.mark.parametrize(
    ("source", "more", "variables", "mounted"),
    [
        ("s3", {"url": "s3://b/tiny", "region": "eu-west-1"}, {"BERTH_WEIGHTS_ANONYMOUS": "true"}, False),
        ("gcs", {"url": "gs://b/tiny", "credentials_secret": "account"},
         {"GOOGLE_APPLICATION_CREDENTIALS": "/etc/berth/hub-token/key.json"}, True),
        ("oci", {"url": f"oci://r.example:5000/m/tiny@sha256:{'a' * 64}", "credentials_secret": "login"},
         {"BERTH_WEIGHTS_DOCKER_CONFIG": "/etc/berth/hub-token/.dockerconfigjson"}, True),
    ],
)  # fmt: skip
def test_weights_come_from_stores_and_registries(
    serve: Callable[..., Any], source: str, more: Json, variables: Json, mounted: bool
) -> None:
    given = {f"weights.{key}": value for key, value in {**more, "source": source}.items()}
    objects = serve({**VLLM, **given}).objects
    (deployment,) = [one for one in objects if one["kind"] == "Deployment"]
    fetcher = deployment["spec"]["template"]["spec"]["initContainers"][0]
    told = {one["name"]: one.get("value") for one in fetcher["env"]}
    assert {**told, **variables, "BERTH_WEIGHTS_URL": more["url"]} == told
    assert any(mount["name"] == "hub-token" for mount in fetcher["volumeMounts"]) == mounted
    (policy,) = [one for one in objects if one["kind"] == "NetworkPolicy"]
    ports = [rule["ports"][0]["port"] for rule in policy["spec"]["egress"]]
    assert ports == [53, 5000 if source == "oci" else 443]


def test_an_identity_opens_one_address(serve: Callable[..., Any]) -> None:
    (policy,) = [
        one for one in serve({**S3, "weights.identity": "eks"}).objects if one["kind"] == "NetworkPolicy"
    ]
    assert policy["spec"]["egress"][-1] == {
        "to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}],
        "ports": [{"port": 80, "protocol": "TCP"}],
    }
