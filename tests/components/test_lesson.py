"""Every field of the lesson's Kubernetes example is an argument here, or better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from berth_components import Autoscaler, ModelServer

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]


def test_the_lessons_example(render: Callable[..., Any], base_args: Callable[[Json], Json]) -> None:
    digest = "registry.example/llm-model@sha256:" + "c" * 64
    args = base_args(
        {
            "name": "llm-inference-service",
            "replicas": 3,
            "gateway.image": "your-registry/llm-model:v1.0.0",
            "engine.image": digest,
            "engine.resources": {
                "cpu_request": "4",
                "cpu_limit": "8",
                "memory_request": "12Gi",
                "memory_limit": "16Gi",
            },
            # The catalogue's one engine computes on CPUs; a GPU for it can only be a simulated one.
            "gpu": {"count": 1, "simulated": True},
            "concurrency": {"slots": 8, "max_concurrent_requests": 16},
            "weights.storage": "claim",
            "weights.claim_name": "model-pvc",
            "weights.file": "llama-7b-chat-q4.gguf",
            "service.type": "LoadBalancer",
            "probes.readiness_period_seconds": 10,
        }
    )

    def program() -> None:
        ModelServer("llm", args)  # type: ignore[arg-type] # built up by the test
        Autoscaler(
            "llm-hpa",
            {
                "namespace": "room",
                "deployment": "llm-inference-service",
                "server": "llm-inference-service",
                "metric": "cpu",
                "target": 70,
                "min_replicas": 1,
                "max_replicas": 10,
            },
        )

    rendered = render(program)
    deployment, service = rendered.one("Deployment"), rendered.one("Service")
    assert deployment["metadata"]["name"] == service["metadata"]["name"] == "llm-inference-service"
    assert deployment["spec"]["replicas"] == 3
    pod = deployment["spec"]["template"]["spec"]
    engine, gateway = pod["containers"]
    assert (gateway["image"], engine["image"]) == ("your-registry/llm-model:v1.0.0", digest)
    assert engine["resources"] == {
        "requests": {"cpu": "4", "memory": "12Gi", "nvidia.com/gpu": "1"},
        "limits": {"cpu": "8", "memory": "16Gi", "nvidia.com/gpu": "1"},
    }
    assert gateway["ports"][0]["containerPort"] == 8000
    # Better than /health after 30 s: a start-up probe, no fixed delay, and /ready, which asks the model.
    assert gateway["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "http"}
    assert gateway["readinessProbe"]["periodSeconds"] == 10
    assert rendered.one("ConfigMap", "llm-inference-service-engine")["data"]["BERTH_WEIGHTS"] == (
        "/models/llama-7b-chat-q4.gguf"
    )
    assert (
        rendered.one("ConfigMap", "llm-inference-service-gateway")["data"]["MAX_CONCURRENT_REQUESTS"] == "16"
    )
    assert {"name": "weights", "persistentVolumeClaim": {"claimName": "model-pvc"}} in pod["volumes"]
    assert {"name": "weights", "mountPath": "/models", "readOnly": True} in engine["volumeMounts"]
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["spec"]["ports"][0].items() >= {"port": 80, "targetPort": "http"}.items()
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    scaler = rendered.one("HorizontalPodAutoscaler")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (1, 10)
    assert scaler["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 70}
