"""What a load reports about the autoscaler, on the real API server.

The replicas are objects that no node runs: this test scales them as an autoscaler would, and says of each
that it is Ready as a kubelet would. The whole path, with a model and the metrics adapter, is in
tests/cluster.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from berth.operations import node_address
from berth.operations.errors import ClusterReadError
from berth.operations.load import LoadSettings, Progress, ScalingTarget, render, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.cluster

LABELS = {"app.kubernetes.io/instance": "chat"}


class Workload:
    """A Deployment with an autoscaler that is left blind, in a namespace of its own."""

    def __init__(self, cluster: Any, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace

    async def kubectl(self, *words: str) -> str:
        return str(await asyncio.to_thread(self.cluster.kubectl, "-n", self.namespace, *words))

    async def scale(self, replicas: int) -> None:
        await self.kubectl("scale", "deployment/chat", f"--replicas={replicas}")

    async def make_ready(self, count: int) -> None:
        """Say of `count` pods that they are Ready, once they are there."""
        ready: set[str] = set()
        while len(ready) < count:
            pods = json.loads(await self.kubectl("get", "pods", "-o", "json"))["items"]
            for name in {pod["metadata"]["name"] for pod in pods} - ready:
                status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
                await self.kubectl(
                    "patch", "pod", name, "--subresource=status", "--type=merge", "-p", json.dumps(status)
                )
                ready.add(name)

    def target(self, **changes: Any) -> ScalingTarget:
        return ScalingTarget(
            **{
                "kubeconfig": str(self.cluster.kubeconfig),
                "namespace": self.namespace,
                "deployment": "chat",
                "autoscaler": "chat",
                "selector": LABELS,
                **changes,
            }
        )


@pytest.fixture
async def workload(cluster: Any, tmp_path: Path) -> AsyncIterator[Workload]:
    made = Workload(cluster, f"berth-load-test-{secrets.token_hex(3)}")
    template = {
        "metadata": {"labels": LABELS},
        "spec": {
            "schedulerName": "nobody",
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "none", "image": "berth.local/none:0"}],
        },
    }
    metric = {
        "type": "External",
        "external": {"metric": {"name": "nobody_exports_this"}, "target": {"type": "Value", "value": "1"}},
    }
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made.namespace}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "chat", "namespace": made.namespace},
            "spec": {"replicas": 1, "selector": {"matchLabels": LABELS}, "template": template},
        },
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "chat", "namespace": made.namespace},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
                "minReplicas": 1,
                "maxReplicas": 5,
                "metrics": [metric],
            },
        },
    ]
    file = tmp_path / "objects.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    cluster.kubectl("apply", "--server-side", "-f", str(file))
    await made.make_ready(1)
    await made.kubectl("wait", "hpa/chat", "--for=condition=ScalingActive=False", "--timeout=90s")
    yield made
    cluster.kubectl("delete", "namespace", made.namespace, "--wait=false")


async def test_replicas_are_timed_on_their_way_up_and_back(server: Any, key: str, workload: Workload) -> None:
    loading = asyncio.Event()
    ending = asyncio.Event()

    def on_progress(progress: Progress) -> None:
        if progress.phase == "loading":
            loading.set()
        if progress.phase == "scaling down":
            ending.set()

    settings = LoadSettings(
        endpoint=server.url,
        key=key,
        rate=5,
        duration_seconds=6,
        target=workload.target(),
        scale_down_seconds=60,
    )
    running = asyncio.create_task(run(settings, on_progress))
    await loading.wait()
    await workload.scale(3)
    await workload.make_ready(3)
    await ending.wait()
    await workload.scale(1)
    report = await running
    scaling = report.scaling
    assert scaling is not None
    assert (scaling.before, scaling.peak_desired, scaling.peak_ready) == (1, 3, 3)
    assert (scaling.minimum, scaling.maximum) == (1, 5)
    assert [one.number for one in scaling.new_replicas] == [2, 3]
    for one in scaling.new_replicas:
        assert one.desired is not None
        assert one.ready is not None
        assert 0 <= one.desired < one.created < one.ready
    assert scaling.scale_down is not None
    assert scaling.scale_down.complete
    assert scaling.scale_down.desired is not None
    assert scaling.scale_down.gone is not None
    assert 0 <= scaling.scale_down.desired <= scaling.scale_down.gone
    assert {sample.ready for sample in scaling.timeline} >= {1, 3}
    # Nobody answers for the queue here, and the autoscaler is blind: both are said, not passed over.
    assert any("queue depth is not known" in problem for problem in scaling.problems)
    assert any("FailedGetExternalMetric" in problem for problem in scaling.problems)
    text = render(report)
    assert "New replica" in text
    assert "Way back   to 1" in text
    assert max(len(line) for line in text.splitlines()) <= 80
    json.dumps(report.to_json())


async def test_a_way_back_that_does_not_come_is_said(server: Any, key: str, workload: Workload) -> None:
    loading = asyncio.Event()
    settings = LoadSettings(
        endpoint=server.url,
        key=key,
        rate=5,
        duration_seconds=4,
        target=workload.target(),
        scale_down_seconds=1,
    )
    running = asyncio.create_task(run(settings, lambda _: loading.set()))
    await loading.wait()
    await workload.scale(2)
    report = await running
    assert report.scaling is not None
    assert report.scaling.scale_down is not None
    assert not report.scaling.scale_down.complete
    assert "Way back   not at 1 within" in render(report)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"deployment": "nobody"}, "no deployment with metadata.name=nobody"),
        ({"autoscaler": "nobody"}, "no autoscaler with metadata.name=nobody"),
    ],
)
async def test_a_target_that_is_not_there_is_named_before_anything_is_sent(
    server: Any, key: str, workload: Workload, changes: dict[str, str], said: str
) -> None:
    settings = LoadSettings(endpoint=server.url, key=key, rate=5, target=workload.target(**changes))
    with pytest.raises(ClusterReadError, match=said):
        await run(settings)
    assert not server.seen


def test_the_node_address_is_that_of_a_ready_node(cluster: Any) -> None:
    assert node_address(cluster.kubeconfig) == cluster.node_address
