"""Parts of the real proof that need no cluster: the copy, the burst, the autoscaler, the numbers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, cast
from xml.etree import ElementTree as ET

import pytest
from berth.cli import proving
from berth.operations.errors import OperationsError
from berth.operations.proof import page, prove
from berth.operations.proof.real import (
    BACK,
    LINKS,
    Burst,
    NodeAutoscaler,
    numbers,
    picture,
    spread,
    usual_chain,
    workload,
)
from berth.operations.proof.real.burst import clients_for
from berth.operations.proof.real.watch import Event, Sample

from tests.toolkit.proof.broken import HPA, edit, put

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from berth.operations.kube import KubeReader
    from berth.operations.proof import Facts, Resource
    from berth.operations.proof.real import Workload

Json = dict[str, Any]
POOL, GPU = "tests", "nvidia.com/gpu"


@pytest.fixture
def work(plans: dict[str, list[Resource]], facts: Facts) -> Workload:
    return workload(plans["local"], facts, "berth-proof-tests", "a-key-of-the-proof")


def test_the_copy_is_the_stacks_own_server_with_a_gpu(work: Workload) -> None:
    kinds = [one["kind"] for one in work.objects]
    assert kinds[0] == "Namespace"
    assert {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Secret"} <= set(kinds)
    names = {one["metadata"].get("namespace", one["metadata"]["name"]) for one in work.objects}
    assert names == {"berth-proof-tests"}
    text = json.dumps(work.objects)
    assert "berth-local" not in text
    assert "pulumi.com/" not in text
    (deployment,) = (one for one in work.objects if one["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    asked = [one["resources"]["limits"].get(GPU) for one in [*pod["initContainers"], *pod["containers"]]]
    assert asked.count("1") == 1
    assert {"key": GPU, "operator": "Exists"} in pod["tolerations"]
    (service,) = (one for one in work.objects if one["kind"] == "Service")
    assert service["spec"]["type"] == "ClusterIP"
    assert not any("nodePort" in port for port in service["spec"]["ports"])
    assert (work.minimum, work.maximum, work.target, work.slots) == (1, 3, 4.0, 2)


def test_of_several_sites_the_copy_is_of_the_one_whose_cluster_it_runs_on(
    plans: dict[str, list[Resource]], facts: Facts
) -> None:
    def pod(first: str) -> Json:
        ordered = proving.in_order(plans["local-hybrid"], first)
        work = workload(ordered, facts, "berth-proof-tests", "k")
        (deployment,) = (one for one in work.objects if one["kind"] == "Deployment")
        found: Json = deployment["spec"]["template"]["spec"]
        return found

    def site(one: Resource) -> str:
        return one.cluster.rpartition("::")[2]

    for first in ("home", "cloud"):
        ordered = proving.in_order(plans["local-hybrid"], first)
        assert site(ordered[0]) == f"{first}-provider"
        assert prove("local-hybrid", ordered, facts).chains[0].cluster == first
        # Neither of the stack's own pools: their room would hide the way to a node.
        assert "berth.dev/pool" not in (pod(first).get("nodeSelector") or {})
        node = pod(first)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert node["nodeSelectorTerms"] == [
            {"matchExpressions": [{"key": "berth.dev/pool", "operator": "DoesNotExist"}]},
            {"matchExpressions": [{"key": "berth.dev/pool", "operator": "In", "values": ["berth-proof"]}]},
        ]


def test_the_chains_of_several_sites_are_told_apart(plans: dict[str, list[Resource]], facts: Facts) -> None:
    proof = prove("local-hybrid", plans["local-hybrid"], facts)
    assert {one.cluster for one in proof.chains} == {"home", "cloud"}
    lines = page(proof).splitlines()
    for site in ("home", "cloud"):
        assert any(line.startswith("HorizontalPodAutoscaler") and f" at {site}" in line for line in lines)
    assert {one["cluster"] for one in proof.to_json()["chains"]} == {"home", "cloud"}
    assert {one.cluster for one in prove("local", plans["local"], facts).chains} == {""}


def test_the_burst_asks_for_every_replica_and_is_normal_for_all(work: Workload) -> None:
    clients = clients_for(work)
    waiting_at_one = clients - work.slots
    assert waiting_at_one > work.target * (work.maximum - 1)
    waiting_at_all = clients - work.slots * work.maximum
    assert waiting_at_all < work.target * work.maximum


def test_what_has_no_autoscaler_cannot_be_proved(plans: dict[str, list[Resource]], facts: Facts) -> None:
    left = [one for one in plans["local"] if one.kind != HPA]
    with pytest.raises(OperationsError, match="nothing to prove"):
        workload(left, facts, "n", "k")


def test_what_is_not_known_is_not_deployed(plans: dict[str, list[Resource]], facts: Facts) -> None:
    from berth.operations.proof import UNKNOWN  # noqa: PLC0415 - only here

    image = ("spec", "template", "spec", "containers", 0, "image")
    plan = edit("Deployment", "smollm2", put(*image, value=UNKNOWN))(plans["local"])
    with pytest.raises(
        OperationsError, match="Deployment berth-local/smollm2: not everything of it is known"
    ):
        workload(plan, facts, "n", "k")


class Cluster:
    """A stand-in of an API server's two collections, and of who makes nodes."""

    def __init__(self) -> None:
        self.nodes: dict[str, Json] = {}
        self.pods: dict[str, Json] = {}
        self.calls: list[str] = []
        self.changed = asyncio.Condition()
        self.made = 0

    async def follow(self, path: str, _: Mapping[str, str]) -> AsyncIterator[dict[str, Json]]:
        kept = self.nodes if path.endswith("/nodes") else self.pods
        while True:
            yield dict(kept)
            async with self.changed:
                await self.changed.wait()

    async def tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def add(self, count: int) -> Sequence[str]:
        self.calls.append(f"add {count}")
        names = []
        for _ in range(count):
            self.made += 1
            name = f"node-{self.made}"
            self.nodes[name] = {"metadata": {"name": name}, "status": {"allocatable": {GPU: "1"}}}
            names.append(name)
        await self.tell()
        return names

    async def remove(self, name: str, *, force: bool = False) -> None:
        assert not force
        self.calls.append(f"remove {name}")
        del self.nodes[name]
        await self.tell()

    async def put(
        self,
        name: str,
        *,
        node: str = "",
        gpus: int = 1,
        ends: bool = False,
        why: str = f"Insufficient {GPU}",
    ) -> None:
        message = f"0/1 nodes are available: 1 {why}." if why else "waiting for a volume"
        waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        self.pods[name] = {
            "metadata": {"name": name, **({"deletionTimestamp": "now"} if ends else {})},
            "spec": {
                **({"nodeName": node} if node else {}),
                "containers": [{"name": "engine", "resources": {"limits": {GPU: str(gpus)} if gpus else {}}}],
            },
            "status": {} if node else {"conditions": [waits]},
        }
        await self.tell()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - what is awaited is not in this object alone
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def scaling(cluster: Cluster, **settings: Any) -> AsyncIterator[NodeAutoscaler]:
    scaler = NodeAutoscaler(
        cast("KubeReader", cluster), cluster, POOL,
        **{"minimum": 0, "maximum": 2, "idle_seconds": 0.05, "batch_seconds": 0.05, **settings},
    )  # fmt: skip
    task = asyncio.create_task(scaler.run())
    try:
        yield scaler
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_nodes_come_for_pods_that_wait_and_go_when_idle() -> None:
    cluster = Cluster()
    async with scaling(cluster):
        await cluster.put("asks for none", gpus=0)
        await cluster.put("waits for something else", why="")
        for name in ("a", "b", "c"):
            await cluster.put(name)
        # Three wait, the pool holds two.
        await cluster.until(lambda: len(cluster.nodes) == 2)
        first, second = cluster.nodes
        await cluster.put("a", node=first)
        await cluster.put("b", node=second)
        cluster.pods.pop("c")
        await cluster.tell()
        # A pod that ends still holds its GPU.
        await cluster.put("b", node=second, ends=True)
        cluster.pods.pop("a")
        await cluster.tell()
        await cluster.until(lambda: first not in cluster.nodes)
        assert second in cluster.nodes
        cluster.pods.pop("b")
        await cluster.tell()
        await cluster.until(lambda: not cluster.nodes)
        # And it wakes again.
        await cluster.put("d")
        await cluster.until(lambda: len(cluster.nodes) == 1)
    assert sum(int(call.split()[1]) for call in cluster.calls if call.startswith("add")) == 3


async def test_the_minimum_stays() -> None:
    cluster = Cluster()
    await cluster.add(2)
    async with scaling(cluster, minimum=1) as scaler:
        await cluster.until(lambda: len(cluster.nodes) == 1)
        await cluster.until(lambda: len(scaler.nodes) == 1)
    assert len(cluster.nodes) == 1


def burst(number: int, ready: float | None) -> Burst:
    events = [Event(100.0 + at, name) for at, name in ((1, "queue"), (2, "desired"))]
    events += [Event(100.0 + ready, "pod ready")] if ready is not None else []
    events += [Event(130.0, "fewer desired"), Event(140.0, "pool empty")]
    samples = [Sample(100.0 + at, at % 5 or None, 1 + at // 10, 1 + at // 12, at // 15) for at in range(40)]
    return Burst(number, 100.0, 120.0, tuple(events), tuple(samples), 14, {"answered": 3})


def test_percentiles_are_values_that_were_measured() -> None:
    assert spread([3.0, 1.0, 2.0]) == {"values": [3.0, 1.0, 2.0], "p50": 2.0, "p95": 3.0, "max": 3.0}
    assert spread([float(n) for n in range(1, 21)])["p95"] == 19.0
    assert spread([None, 2.0])["values"] == [None, 2.0]
    assert spread([None]) == {"values": [None]}


def test_every_link_has_its_values() -> None:
    found = numbers([burst(1, 5.0), burst(2, 7.5)])
    assert set(found) == {key for key, _, _ in (*LINKS, *BACK)}
    assert found["burst_to_ready_seconds"]["values"] == [5.0, 7.5]
    assert found["end_to_pool_empty_seconds"]["values"] == [20.0, 20.0]
    assert found["burst_to_engine_seconds"] == {"values": [None, None]}


def test_the_usual_chain_is_later_and_says_that_it_is_computed() -> None:
    found = usual_chain([burst(1, 5.0), burst(2, 7.5)])
    assert found["computed"] is True
    assert 5.0 < found["p50"] < found["p95"] < 7.5 + 45
    assert usual_chain([burst(1, None)]) == {"computed": True, "scrape_seconds": 15.0, "poll_seconds": 30.0}


def test_the_picture_is_xml_that_says_everything_in_words() -> None:
    drawn = picture(burst(1, 5.0), "A <title> & more")
    root = ET.fromstring(drawn)  # noqa: S314 - our own
    text = " ".join(root.itertext())
    for word in ("A <title> & more", "requests waiting", "more replicas are wanted", "5.0 s", "simulated"):
        assert word in text
    assert picture(Burst(1, 0.0, 1.0, (), (), 0), "nothing").startswith("<svg")
