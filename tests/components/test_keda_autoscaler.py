"""A ScaledObject as KEDA's own definition takes it, in a real API server, and what is refused before."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from berth_components import ArgumentError, KedaAutoscaler

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Json = dict[str, Any]
BASE: Json = {
    "namespace": "room", "deployment": "chat", "server": "chat", "max_replicas": 3,
    "prometheus": "http://prometheus.metrics:9090/",
}  # fmt: skip


@pytest.fixture
def scale(render: Callable[..., Any]) -> Callable[..., Any]:
    def run(changes: Json | None = None) -> Any:
        args = {**BASE, **(changes or {})}
        rendered = render(lambda: KedaAutoscaler("chat-scaling", args))  # type: ignore[arg-type] # built up by the test
        return rendered.one("ScaledObject")

    return run


def test_it_asks_for_the_pods_of_its_deployment(scale: Callable[..., Any]) -> None:
    made = scale({"target": 2.5, "running_target": 8, "scale_up": {"pods": 5}})
    assert made["apiVersion"] == "keda.sh/v1alpha1"
    spec = made["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 3)
    queue, running = spec["triggers"]
    assert queue["metadata"]["serverAddress"] == "http://prometheus.metrics:9090"
    selected = '{namespace="room",pod=~"chat-.*"}) or vector(0)'
    assert queue["metadata"]["query"] == f"sum(berth_queue_depth{selected}"
    assert running["metadata"]["query"] == f"sum(berth_running_requests{selected}"
    assert (queue["metadata"]["threshold"], running["metadata"]["threshold"]) == ("2.5", "8")
    assert {one["metricType"] for one in spec["triggers"]} == {"AverageValue"}
    up = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleUp"]
    assert up["policies"][0]["value"] == 5
    assert spec["fallback"]["behavior"] == "currentReplicas"
    assert "cooldownPeriod" not in spec


def test_zero_where_a_router_wakes_it(scale: Callable[..., Any]) -> None:
    down = {"window_seconds": 90}
    spec = scale({"min_replicas": 0, "wakes": True, "running_target": 8, "scale_down": down})["spec"]
    queue, running = spec["triggers"]
    # While one answers, it is busy, whatever waits.
    assert "berth_running_requests" in running["metadata"]["query"]
    held = 'sum(berth_router_held_requests{namespace="room",service="chat"}) or vector(0)'
    own = 'sum(berth_queue_depth{namespace="room",pod=~"chat-.*"}) or vector(0)'
    assert queue["metadata"]["query"] == f"({own}) + ({held})"
    assert (spec["minReplicaCount"], spec["pollingInterval"]) == (0, 5)
    # The last one goes after the same lull as others; the first one, too, before anybody has asked for it.
    assert (spec["cooldownPeriod"], spec["initialCooldownPeriod"]) == (90, 90)
    # With a fallback of none KEDA would take the last replica where Prometheus does not answer.
    assert "fallback" not in spec


@pytest.mark.parametrize(
    ("changes", "argument", "words"),
    [
        ({"prometheus": "prometheus:9090"}, "prometheus", "http:// or https://"),
        ({"min_replicas": 0}, "min_replicas", "see wakes"),
        ({"min_replicas": -1, "wakes": True, "running_target": 1}, "min_replicas", "0 to max_replicas"),
        ({"min_replicas": 0, "wakes": True}, "running_target", "put to sleep under the requests"),
        ({"min_replicas": 4}, "min_replicas", "at most max_replicas, which is 3"),
        ({"polling_seconds": 0}, "polling_seconds", "1 to 3600"),
        ({"metric": "cpu"}, "metric", "does not exist"),
        ({"target": -1}, "target", "requests per replica"),
    ],
)
def test_what_is_refused(changes: Json, argument: str, words: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        KedaAutoscaler("chat-scaling", {**BASE, **changes})  # type: ignore[typeddict-item, arg-type] # wrong on purpose
    assert caught.value.argument == argument
    assert words in str(caught.value)


@pytest.mark.cluster
def test_the_api_server_takes_it_by_kedas_own_definition(
    cluster: Any, scale: Callable[..., Any], root: Path, tmp_path: Path
) -> None:
    definition = root / "tests/cluster/crds/keda.sh_scaledobjects.yaml"
    full = scale(
        {"namespace": "default", "running_target": 8, "polling_seconds": 5, "scale_down": {"pods": 2}}
    )
    zero = scale({"namespace": "default", "min_replicas": 0, "wakes": True, "running_target": 8})
    file = tmp_path / "scaled.json"
    apply = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", str(file))
    try:
        cluster.kubectl("apply", "--server-side", "-f", str(definition))
        name = "crd/scaledobjects.keda.sh"
        cluster.kubectl("wait", "--for=condition=Established", name, "--timeout=120s")
        for one in (full, zero):
            file.write_text(json.dumps(one))
            assert "serverside-applied" in cluster.kubectl(*apply).replace("server dry run", "")
        full["spec"]["triggers"][0].pop("metadata")
        file.write_text(json.dumps(full))
        with pytest.raises(Exception, match="metadata"):
            cluster.kubectl(*apply)
    finally:
        cluster.kubectl("delete", "-f", str(definition), "--ignore-not-found")
