"""Models that may have no replica: what is declared for them, and what is refused."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from berth_agents.router.document import parse
from berth_stacks.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
MODEL: Json = {
    "model": "smollm2-135m-instruct-q4_1",
    "sites": ["here"],
    "engine": {"resources": {"cpuRequest": "100m", "memoryRequest": "64Mi", "memoryLimit": "256Mi"}},
    "concurrency": {"slots": 2, "maxConcurrentRequests": 8},
    "tokens": {"maxInput": 100, "maxTotal": 200},
    "autoscaling": {"min": 0, "max": 3, "holdSeconds": 90},
}
AWAKE: Json = {**MODEL, "autoscaling": {"max": 3}, "variant": "next"}
STACK: Json = {
    "environment": "development",
    "clients": {"cidrs": ["10.0.0.0/8"]},
    "sites": {"here": {"cluster": {"kubeconfig": "k"}, "scaleToZero": True}},
    "models": {"chat-7b": MODEL, "chat-next": AWAKE},
    "routers": {"front": {"site": "here", "weights": {"chat-7b": 90, "chat-next": 10}}},
}
KEDA: Json = {
    "sites.here.scaleToZero": None,
    "metricsAdapter": {"mode": "keda", "prometheus": "http://prometheus.metrics:9090"},
}
SCALING = "models.chat-7b.autoscaling"


def text(changes: Json | None = None) -> str:
    settings = copy.deepcopy(STACK)
    for path, value in (changes or {}).items():
        *groups, last = path.split(".")
        place: Any = settings
        for group in groups:
            place = place.setdefault(group, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return json.dumps({"config": {f"berth:{key}": value for key, value in settings.items()}})


def named(done: Any, name: str) -> Json:
    (found,) = [one.inputs for one in done.resources if one.name == name]
    return dict(found)


def test_a_model_sleeps_behind_its_router(run: Callable[..., Any]) -> None:
    done = run(text({"monitoring": {"mode": "bundled", "parts": ["prometheus"]}}), {}, "asleep", preview=True)
    spec = named(done, "here-chat-7b-autoscaler-hpa")["spec"]
    assert spec["minReplicas"] == 0
    followed = [one["external"]["metric"]["name"] for one in spec["metrics"]]
    assert followed == ["berth_queue_depth", "berth_running_requests"]
    said = json.loads(named(done, "here-front-document")["data"]["router.json"])["backends"]
    assert said["chat-7b"]["wakes"] == {"holdSeconds": 90, "most": 4, "bodyBytes": 2_000_000, "keys": True}
    assert "wakes" not in said["chat-next"]
    # The keys are those that its gateways ask for, and the adapter may ask how many requests wait.
    pod = named(done, "here-front-deployment")["spec"]["template"]["spec"]
    mounted = {one["name"]: one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one}
    assert [*mounted.values()] == [named(done, "here-chat-7b-api-keys")["metadata"]["name"]]
    ingress = named(done, "here-front-network")["spec"]["ingress"]
    asking = [rule["from"] for rule in ingress if [port["port"] for port in rule["ports"]] == [9003]]
    (((peer,),)) = asking
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "berth-metrics"}
    # An update while it sleeps waits for no endpoint.
    waits = {
        model: named(done, f"here-{model}-service")["metadata"]["annotations"].get("pulumi.com/skipAwait")
        for model in ("chat-7b", "chat-next")
    }
    assert waits == {"chat-7b": "true", "chat-next": None}
    assert done.outputs["models"]["here/chat-7b"]["holdSeconds"] == 90
    assert "holdSeconds" not in done.outputs["models"]["here/chat-next"]
    scraped = named(done, "here-monitoring-prometheus-config")["data"]["prometheus.yml"]
    assert "job_name: berth-router-waiting" in scraped or '"berth-router-waiting"' in scraped
    assert "berth-router-waiting" in done.outputs["monitoring"]["here"]["jobs"]


def test_keda_counts_what_the_router_holds(run: Callable[..., Any]) -> None:
    done = run(text(KEDA), {}, "asleep", preview=True)
    spec = named(done, "here-chat-7b-autoscaler-scaled-object")["spec"]
    assert (spec["minReplicaCount"], spec["cooldownPeriod"]) == (0, 300)
    assert 'berth_router_held_requests{namespace="berth-asleep",service="chat-7b"}' in json.dumps(
        spec["triggers"]
    ).replace("\\", "")
    # There is no adapter that would ask.
    assert "berth-metrics" not in json.dumps(named(done, "here-front-network")["spec"])


def test_what_is_long_enough_is_taken(load: Callable[..., Any]) -> None:
    load(text({"models.chat-7b.probes": {"measuredLoadSeconds": 59.5}}), {}, "asleep")
    load(text({**KEDA, "models.chat-7b.probes": {"measuredLoadSeconds": 89}}), {}, "asleep")


def test_the_router_keeps_bodies_as_large_as_the_gateway_takes(run: Callable[..., Any]) -> None:
    for limit, kept in ((4096, 1 << 20), (3_000_000, 3_000_000), (500_000_000, 8 << 20)):
        done = run(text({"models.chat-7b.gateway": {"payloadLimitBytes": limit}}), {}, "asleep", preview=True)
        document = parse(named(done, "here-front-document")["data"]["router.json"])
        wakes = document.backends["chat-7b"].wakes
        assert wakes
        assert wakes.body_bytes == kept


def test_a_model_with_a_certificate_sleeps_as_well(run: Callable[..., Any]) -> None:
    secret = {"tlsSecret": "chat-tls", "tlsCaSecret": "chat-tls"}
    done = run(text({"models.chat-7b.gateway": secret}), {}, "asleep", preview=True)
    said = json.loads(named(done, "here-front-document")["data"]["router.json"])["backends"]["chat-7b"]
    assert said["wakes"]["holdSeconds"] == 90
    assert said["tls"] == {
        "serverName": "chat-7b.berth-asleep.svc", "caFile": "/etc/berth-router-ca/0/ca.crt"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"routers": None},
            ["autoscaling.min is 0, but no router at site 'here'", "at least 1", "weights: {chat-7b: 100}"],
        ),
        (
            {"routers.front.weights": {"chat-next": 100}},
            ["autoscaling.min is 0, but no router at site 'here'", "or set it to 1"],
        ),
        (
            {"sites.here.scaleToZero": None},
            [
                "nothing says that the cluster of site 'here' scales to zero",
                "--feature-gates=HPAScaleToZero=true",
                "berth:sites.here.scaleToZero: true",
                "mode: keda",
            ],
        ),
        (
            {
                "sites.here": {"eks": {"region": "eu-central-1", "existing": True, "name": "there"}},
                "models.chat-7b.gpu": {"count": 0},
            },
            ["min is 0 at site 'here' on EKS", "nobody can set the gate HPAScaleToZero", "mode: keda"],
        ),
        (
            {
                "sites.here": {
                    "eks": {"region": "eu-central-1", "existing": True, "name": "there"},
                    "scaleToZero": True,
                },
            },
            [
                "sites.here.scaleToZero is true at a site on EKS",
                "only of clusters whose control plane is yours",
            ],
        ),
        (
            {SCALING: {"min": 0, "max": 3, "metric": "cpu"}},
            ["autoscaling.metric is cpu; allowed: queue_depth where autoscaling.min is 0"],
        ),
        (
            {SCALING: {"max": 3, "holdSeconds": 90}},
            ["autoscaling.holdSeconds is 90; allowed: nothing where autoscaling.min is above 0"],
        ),
        ({SCALING: {"max": 3, "holdMost": 9}}, ["autoscaling.holdMost is 9; allowed: nothing"]),
        (
            {SCALING: {"min": 0, "max": 3, "holdSeconds": 600}},
            ["chat-7b.autoscaling.holdSeconds is 600; allowed: less than timeouts.streamIdle, which is 600"],
        ),
        (
            {"models.chat-7b.service": {"type": "LoadBalancer"}},
            ["service.type is LoadBalancer, but nobody answers there while the model sleeps", "ClusterIP"],
        ),
        (
            {"models.chat-7b.gateway": {"tlsSecret": "certificate"}},
            ["gateway.tlsCaSecret is missing; allowed: the Secret whose entry ca.crt signed certificate"],
        ),
        (
            {"models.chat-7b.probes": {"measuredLoadSeconds": 60}},
            [
                "autoscaling.holdSeconds is 90; allowed: at least 91:",
                "autoscaling.scaleUp.windowSeconds (30) and probes.measuredLoadSeconds (60)",
                "./berth prove scale",
            ],
        ),
        ({SCALING: {"min": 0, "max": 3, "holdSeconds": 30}}, ["holdSeconds is 30; allowed: at least 31"]),
        (
            {
                SCALING: {"min": 0, "max": 3, "scaleUp": {"windowSeconds": 0}},
                "models.chat-7b.probes": {"measuredLoadSeconds": 400.5},
            },
            ["holdSeconds is 300; allowed: at least 401:", "probes.measuredLoadSeconds (400.5)"],
        ),
        (
            {**KEDA, "models.chat-7b.probes": {"measuredLoadSeconds": 90}},
            ["holdSeconds is 90; allowed: at least 91:", "probes.measuredLoadSeconds (90)"],
        ),
        ({SCALING: {"min": -1, "max": 3}}, ["autoscaling.min is -1", "0 to max"]),
        ({SCALING: {"min": 0, "max": 0}}, ["autoscaling.max is 0"]),
        ({"environment": "production"}, ["autoscaling.min is 0; allowed: at least 2 in production"]),
    ],
)
def test_what_is_refused(load: Callable[..., Any], changes: Json, words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(text(changes), {}, "asleep")
    for word in words:
        assert word in str(caught.value)


def test_a_local_cluster_scales_to_zero_without_being_told(load: Callable[..., Any]) -> None:
    load(text({"environment": "local", "sites.here.scaleToZero": None}), {}, "asleep")
    with pytest.raises(SettingsError, match="nothing says that the cluster of site 'here' scales to zero"):
        load(text({"environment": "local", "sites.here.scaleToZero": False}), {}, "asleep")
