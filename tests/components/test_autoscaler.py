"""What an autoscaler's object says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from berth_components import Autoscaler

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]


@pytest.fixture
def scale(render: Callable[..., Any]) -> Callable[..., Any]:
    def run(changes: Json | None = None) -> Any:
        base = {"namespace": "room", "deployment": "chat", "server": "chat", "max_replicas": 3}
        return render(lambda: Autoscaler("chat-scaling", {**base, **(changes or {})}))  # type: ignore[arg-type, typeddict-item] # built up by the test

    return run


def _external(metric: str, value: str) -> Json:
    return {
        "type": "External",
        "external": {
            "metric": {"name": metric, "selector": {"matchLabels": {"app.kubernetes.io/instance": "chat"}}},
            "target": {"type": "AverageValue", "averageValue": value},
        },
    }


def test_queue_depth_per_replica(scale: Callable[..., Any]) -> None:
    spec = scale({"target": 2.5, "running_target": 8}).one("HorizontalPodAutoscaler")["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 3)
    assert spec["metrics"] == [
        _external("berth_queue_depth", "2500m"),
        _external("berth_running_requests", "8"),
    ]


def test_cpu_as_the_lesson_has_it(scale: Callable[..., Any]) -> None:
    rendered = scale({"metric": "cpu", "max_replicas": 10})
    spec = rendered.one("HorizontalPodAutoscaler")["spec"]
    target = {"type": "Utilization", "averageUtilization": 70}
    assert spec["metrics"] == [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 10)
    assert rendered.warnings == []


@pytest.mark.parametrize("count", [2, pulumi.Output.from_input])
def test_cpu_on_gpus_gets_a_warning(scale: Callable[..., Any], count: Any) -> None:
    given = count if isinstance(count, int) else None
    rendered = scale({"metric": "cpu", "gpu_count": given or pulumi.Output.from_input(2)})
    (warning,) = rendered.warnings
    assert "'chat-scaling'" in warning
    assert "2 accelerator(s)" in warning
    assert "queue_depth" in warning
    assert scale({"gpu_count": 2}).warnings == []


def test_behaviour(scale: Callable[..., Any]) -> None:
    behaviour = scale().one("HorizontalPodAutoscaler")["spec"]["behavior"]
    assert behaviour == {
        "scaleUp": {
            "stabilizationWindowSeconds": 30,
            "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": 300,
            "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 120}],
        },
    }
    up = {"window_seconds": 0, "pods": 5, "period_seconds": 15}
    down = {"window_seconds": 15, "pods": 3, "period_seconds": 10}
    behaviour = scale({"scale_up": up, "scale_down": down}).one("HorizontalPodAutoscaler")["spec"]["behavior"]
    found = [
        (
            rule["stabilizationWindowSeconds"],
            rule["policies"][0]["value"],
            rule["policies"][0]["periodSeconds"],
        )
        for rule in (behaviour["scaleUp"], behaviour["scaleDown"])
    ]
    assert found == [(0, 5, 15), (15, 3, 10)]


def test_zero_where_a_router_wakes_it(scale: Callable[..., Any]) -> None:
    wakes = {"min_replicas": 0, "wakes": True, "running_target": 8}
    spec = scale(wakes).one("HorizontalPodAutoscaler")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (0, 3)
    # Kubernetes allows zero only with metrics of this kind; while one answers, it is busy, whatever waits.
    assert spec["metrics"] == [
        _external("berth_queue_depth", "4"),
        _external("berth_running_requests", "8"),
    ]


def test_outputs_are_taken(scale: Callable[..., Any]) -> None:
    lifted = {
        key: pulumi.Output.from_input(value)
        for key, value in {"max_replicas": 5, "min_replicas": 2, "target": 3, "server": "chat"}.items()
    }
    spec = scale(lifted).one("HorizontalPodAutoscaler")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 5)
    assert spec["metrics"] == [_external("berth_queue_depth", "3")]
