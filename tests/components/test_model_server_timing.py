"""How long a model server takes to start, to end, and to roll: the arithmetic of its pods."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from berth_components import ArgumentError, ModelServerArgs
from berth_components.arguments import Arguments
from berth_components.model_server_settings import read

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
PROBE = ("python3", "-m", "berth_serving.engines.probe")


def test_the_grace_holds_pre_stop_drain_and_five_seconds(base_args: Callable[[Json], Json]) -> None:
    random = Random(2026)  # noqa: S311 - a repeatable spread of cases
    for _ in range(200):
        pre_stop, drain, more = (
            random.randint(0, 300),
            random.randint(1, 3600),
            random.choice([None, 0, 1, 99]),
        )
        least = pre_stop + drain + 5
        given = {"pre_stop_seconds": pre_stop, "drain_seconds": drain, "grace_seconds": least + (more or 0)}
        if more is None:
            del given["grace_seconds"]
        settings = read(Arguments("", base_args({"termination": given}), ModelServerArgs), "chat")
        assert settings.pre_stop == pre_stop
        assert settings.gateway_config["BERTH_DRAIN_SECONDS"] == str(drain)
        assert settings.grace == least + (more or 0)
        given["grace_seconds"] = least - 1
        with pytest.raises(ArgumentError, match=f"'termination.grace_seconds' is {least - 1}; .*{least}"):
            read(Arguments("", base_args({"termination": given}), ModelServerArgs), "chat")


@pytest.mark.parametrize("pre_stop", [0, 7])
def test_the_pod_ends_as_the_settings_say(serve: Callable[..., Any], pre_stop: int) -> None:
    rendered = serve(
        {"termination": {"pre_stop_seconds": pre_stop, "drain_seconds": 20, "grace_seconds": 40}}
    )
    (pod,) = rendered.pods
    lifecycle = pod["containers"][1].get("lifecycle")
    assert lifecycle == ({"preStop": {"sleep": {"seconds": 7}}} if pre_stop else None)
    assert rendered.one("ConfigMap", "chat-gateway")["data"]["BERTH_DRAIN_SECONDS"] == "20"
    assert pod["terminationGracePeriodSeconds"] == 40


@pytest.mark.parametrize(
    ("service", "pre_stop"),
    [
        ({}, 10),
        ({"type": "NodePort"}, 10),
        ({"type": "LoadBalancer"}, 35),
        ({"type": "LoadBalancer", "external_traffic_policy": "Local"}, 35),
        ({"type": "LoadBalancer", "external_traffic_policy": "Cluster"}, 10),
    ],
)
def test_a_balancer_gets_time_to_drop_the_node(
    serve: Callable[..., Any], service: Json, pre_stop: int
) -> None:
    for given, expected in (({}, pre_stop), ({"pre_stop_seconds": 3}, 3)):
        (pod,) = serve({"service": service, "termination": given}).pods
        assert pod["containers"][1]["lifecycle"] == {"preStop": {"sleep": {"seconds": expected}}}
        assert pod["terminationGracePeriodSeconds"] == expected + 60 + 5


@pytest.mark.parametrize(
    ("queue", "given", "drain"), [(30, None, 60), (61.5, None, 62), (600, None, 600), (600, 20, 20)]
)
def test_the_drain_outlasts_the_queue_unless_told(
    serve: Callable[..., Any], queue: float, given: int | None, drain: int
) -> None:
    rendered = serve({"concurrency.queue_timeout_seconds": queue, "termination.drain_seconds": given})
    assert rendered.one("ConfigMap", "chat-gateway")["data"]["BERTH_DRAIN_SECONDS"] == str(drain)
    assert rendered.pods[0]["terminationGracePeriodSeconds"] == 10 + drain + 5


def test_weights_then_engine_and_gateway_at_once(serve: Callable[..., Any]) -> None:
    (pod,) = serve().pods
    (weights,) = pod["initContainers"]
    engine, gateway = pod["containers"]
    assert [weights["name"], engine["name"], gateway["name"]] == ["weights", "engine", "gateway"]
    assert not {"restartPolicy"} & {*weights, *engine}
    # It outlives the gateway's drain.
    assert engine["lifecycle"] == {"preStop": {"exec": {"command": [*PROBE, "drained"]}}}
    assert {"name": "weights", "mountPath": "/models"} in weights["volumeMounts"]
    assert {"name": "weights", "mountPath": "/models", "readOnly": True} in engine["volumeMounts"]
    assert "weights" not in [mount["name"] for mount in gateway["volumeMounts"]]


def test_weights_on_the_nodes_own_disk(serve: Callable[..., Any]) -> None:
    rendered = serve({"weights.storage": "empty-dir", "weights.size": "3Gi"})
    (pod,) = rendered.pods
    volume = next(one for one in pod["volumes"] if one["name"] == "weights")
    assert volume == {"name": "weights", "emptyDir": {"sizeLimit": "3Gi"}}
    # The scheduler counts it, and takes the most that any step asks for; a limit would be the whole pod's.
    (weights,) = pod["initContainers"]
    assert weights["resources"]["requests"]["ephemeral-storage"] == "3Gi"
    assert "ephemeral-storage" not in weights["resources"]["limits"]
    annotations = rendered.one("Deployment")["spec"]["template"]["metadata"]["annotations"]
    kept = annotations["cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"].split(",")
    assert {one["name"] for one in pod["volumes"] if "emptyDir" in one} == {*kept}


def test_the_engine_is_restarted_within_a_minute_and_killed_at_once(serve: Callable[..., Any]) -> None:
    for period in (1, 10, 15):
        (pod,) = serve({"probes.liveness_period_seconds": period}).pods
        for container in pod["containers"]:
            probe = container["livenessProbe"]
            noticed = probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
            assert noticed + probe["terminationGracePeriodSeconds"] <= 60


@pytest.mark.parametrize("budget", [10, 60, 61, 120, 121, 599, 3600])
@pytest.mark.parametrize("known", [True, False])
def test_the_whole_start_up_budget_is_there(serve: Callable[..., Any], budget: int, *, known: bool) -> None:
    rendered = serve({"probes.startup_seconds": budget if known else pulumi.Output.from_input(budget)})
    (pod,) = rendered.pods
    engine, gateway = pod["containers"]
    if budget <= 60:
        # A probe of the start would cost each pod a second before it is Ready.
        assert not engine.get("startupProbe")
        assert engine["livenessProbe"]["initialDelaySeconds"] == budget
    else:
        probe = engine["startupProbe"]
        assert budget <= probe["periodSeconds"] * probe["failureThreshold"] < budget + 5
        assert probe["exec"]["command"] == [*PROBE, "startup"]
        assert not engine["livenessProbe"].get("initialDelaySeconds")
    # The gateway is up at once and says why it is not ready.
    assert "startupProbe" not in gateway
    assert gateway["livenessProbe"]["initialDelaySeconds"] == 30
    assert rendered.one("Deployment")["spec"]["progressDeadlineSeconds"] > 2 * budget


@pytest.mark.parametrize(
    ("changes", "batches"),
    [
        ({}, 2),
        ({"replicas": 7, "rollout.max_surge": 2, "rollout.max_unavailable": 1}, 3),
        ({"replicas": None, "autoscaled": True}, 10),
    ],
)
def test_pulumi_waits_for_every_batch_of_pods(serve: Callable[..., Any], changes: Json, batches: int) -> None:
    for startup in (60, 7200):
        rendered = serve({**changes, "probes.startup_seconds": startup})
        deployment = rendered.one("Deployment")
        (pod,) = rendered.pods
        each = deployment["spec"]["progressDeadlineSeconds"] + pod["terminationGracePeriodSeconds"]
        # The Service has its first endpoint after one batch.
        for found, count in ((deployment, batches), (rendered.one("Service"), 1)):
            waited = int(found["metadata"]["annotations"]["pulumi.com/timeoutSeconds"])
            assert 600 <= waited == min(24 * 3600, count * each)


def test_an_annotation_of_the_caller_wins(serve: Callable[..., Any]) -> None:
    given = {"pulumi.com/timeoutSeconds": "900", "example.com/internal": "true"}
    service = serve({"service.annotations": given, "access.public_reason": "a demonstration"}).one("Service")
    assert service["metadata"]["annotations"] == {**given, "berth.dev/public-reason": "a demonstration"}


@pytest.mark.parametrize("measured", [0.7, 29.9, 31.0, 400.0])
def test_the_start_up_budget_is_twice_the_measured_load(serve: Callable[..., Any], measured: float) -> None:
    (pod,) = serve({"probes.measured_load_seconds": measured}).pods
    engine = pod["containers"][0]
    alive, probe = engine["livenessProbe"], engine.get("startupProbe")
    asked = probe["periodSeconds"] * probe["failureThreshold"] if probe else alive["initialDelaySeconds"]
    assert asked >= max(60, 2 * measured)
