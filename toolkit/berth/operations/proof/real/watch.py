"""When each link of the chain was seen to move, by watching what the chain writes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from berth.operations.errors import ChainBroken, OperationsError

from .nodes import POOL_LABEL, waits_for_gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from berth.operations.kube import KubeReader

    from .workload import Workload

Json = dict[str, Any]
QUEUE_METRIC = "berth_queue_depth"
SAMPLE_SECONDS = 0.5


@dataclass(frozen=True)
class Event:
    """Something that was seen, in seconds of the monotonic clock."""

    at: float
    name: str
    detail: str = ""


@dataclass(frozen=True)
class Sample:
    """The state at one moment; `None` where it is not known."""

    at: float
    queue: int | None
    desired: int
    ready: int
    nodes: int


@dataclass
class Watch:
    """Follows the proof's Deployment, its pods, the pool's nodes and the queue. Reads only."""

    reader: KubeReader
    work: Workload
    pool: str
    now: Callable[[], float] = time.monotonic
    events: list[Event] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    desired: int = 0
    pods: dict[str, Json] = field(default_factory=dict)
    nodes: dict[str, Json] = field(default_factory=dict)
    queue: int | None = None
    queue_problem: str = "nobody was asked yet"
    problem: str = "nothing was seen yet"
    _seen: set[tuple[str, str]] = field(default_factory=set)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def note(self, name: str, detail: str = "") -> None:
        """Note that something happened now."""
        self.events.append(Event(self.now(), name, detail))

    @property
    def ready(self) -> int:
        """How many pods are Ready and stay."""
        return sum(
            _is_ready(pod) and "deletionTimestamp" not in pod["metadata"] for pod in self.pods.values()
        )

    @property
    def ready_nodes(self) -> int:
        """How many of the pool's nodes are Ready."""
        return sum(map(_is_ready, self.nodes.values()))

    async def until(self, condition: Callable[[Watch], bool], seconds: float, what: str) -> None:
        """Wait until the state meets a condition.

        Raises:
            ChainBroken: it did not within ``seconds``; says what was seen instead.
        """
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: condition(self))
        except TimeoutError:
            queue = self.queue_problem if self.queue is None else f"{self.queue} waiting"
            replicas = f"{self.desired} replicas are wanted, {self.ready} are Ready"
            raise ChainBroken(
                f"{what}: not within {seconds:g} s; {replicas}, "
                f"{len(self.nodes)} nodes are in the pool, {queue}. {self.problem}".strip()
            ) from None

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Return what must run while it watches."""
        namespace = self.work.namespace
        apps = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        selector = ",".join(f"{key}={value}" for key, value in sorted(self.work.selector.items()))
        return [
            self._follow(apps, {"fieldSelector": f"metadata.name={self.work.deployment}"}, self._deployment),
            self._follow(f"/api/v1/namespaces/{namespace}/pods", {"labelSelector": selector}, self._pods),
            self._follow("/api/v1/nodes", {"labelSelector": f"{POOL_LABEL}={self.pool}"}, self._nodes),
            self._measure(namespace, selector),
        ]

    async def _follow(
        self, path: str, params: dict[str, str], take: Callable[[dict[str, Json]], None]
    ) -> None:
        async for objects in self.reader.follow(path, params):
            take(objects)
            await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _once(self, uid: str, name: str, detail: str) -> None:
        if (uid, name) not in self._seen:
            self._seen.add((uid, name))
            self.note(name, detail)

    def _deployment(self, objects: dict[str, Json]) -> None:
        for one in objects.values():
            wanted = int(one["spec"].get("replicas", 1))
            if wanted != self.desired:
                self.note("desired", str(wanted))
                self.desired = wanted

    def _pods(self, objects: dict[str, Json]) -> None:
        for uid in self.pods.keys() - objects.keys():
            self._once(uid, "pod gone", self.pods[uid]["metadata"]["name"])
        self.pods = objects
        reasons = []
        for uid, pod in objects.items():
            name, status = pod["metadata"]["name"], pod.get("status") or {}
            self._once(uid, "pod created", name)
            if reason := waits_for_gpu(pod):
                self._once(uid, "pod pending", f"{name}: {reason}")
                reasons.append(f"{name}: {reason}")
            if pod["spec"].get("nodeName"):
                self._once(uid, "pod scheduled", f"{name} on {pod['spec']['nodeName']}")
            self._containers(uid, name, status)
            if _is_ready(pod):
                self._once(uid, "pod ready", name)
            if "deletionTimestamp" in pod["metadata"]:
                self._once(uid, "pod ends", name)
        self.problem = "; ".join(reasons)

    def _containers(self, uid: str, name: str, status: Json) -> None:
        for container in [
            *(status.get("initContainerStatuses") or []),
            *(status.get("containerStatuses") or []),
        ]:
            ended = container["state"].get("terminated") or {}
            if container["name"] == "weights" and ended.get("exitCode") == 0:
                self._once(uid, "weights there", name)
            if container["name"] == "engine" and container.get("started"):
                self._once(uid, "engine started", name)

    def _nodes(self, objects: dict[str, Json]) -> None:
        for uid in self.nodes.keys() - objects.keys():
            self._once(uid, "node gone", self.nodes[uid]["metadata"]["name"])
        self.nodes = objects
        for uid, node in objects.items():
            self._once(uid, "node registered", node["metadata"]["name"])
            if _is_ready(node):
                self._once(uid, "node ready", node["metadata"]["name"])

    async def _measure(self, namespace: str, selector: str) -> None:
        """Ask for the queue depth as the autoscaler does: the API server, which asks the metrics adapter."""
        path = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{QUEUE_METRIC}"
        while True:
            try:
                found = await self.reader.get(path, {"labelSelector": selector})
                self.queue, self.queue_problem = sum(int(item["value"]) for item in found["items"]), ""
            except (OperationsError, KeyError, ValueError) as error:
                self.queue, self.queue_problem = None, str(error)
            self.samples.append(Sample(self.now(), self.queue, self.desired, self.ready, self.ready_nodes))
            await self._tell()
            await asyncio.sleep(SAMPLE_SECONDS)


def _is_ready(item: Json) -> bool:
    conditions = (item.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
