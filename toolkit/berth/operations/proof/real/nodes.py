"""A small node autoscaler, as a cloud has one: nodes for pods that wait for a GPU, and idle ones away.

It knows one pool. What it reads is what Cluster Autoscaler and Karpenter read: pods that the scheduler could
not place, nodes, and who runs on them. It runs inside of a proof, and ends with it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from berth.operations.kube import KubeReader

Json = dict[str, Any]
POOL_LABEL, GPU = "berth.dev/pool", "nvidia.com/gpu"
_FINISHED = {"Succeeded", "Failed"}


class NodeProvider(Protocol):
    """Who makes nodes: here the local cluster, elsewhere a cloud."""

    async def add(self, count: int) -> Sequence[str]:
        """Ask for so many nodes; return their names once the scheduler knows what they have."""

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Cordon, drain and remove a node; by force, end its pods at once."""


@dataclass
class NodeAutoscaler:
    """Keeps a pool of simulated nodes between ``minimum`` and ``maximum``.

    Attributes:
        reader: the cluster.
        provider: who makes nodes.
        pool: the value of its nodes' label berth.dev/pool.
        minimum, maximum: of nodes.
        per_node: GPUs of each.
        idle_seconds: how long a node must be without such pods before it goes.
        batch_seconds: how long further pods are waited for before nodes are asked for (Karpenter: 1 s).
        say: told each decision.
    """

    reader: KubeReader
    provider: NodeProvider
    pool: str
    minimum: int
    maximum: int
    per_node: int = 1
    idle_seconds: float = 3.0
    batch_seconds: float = 0.2
    say: Callable[[str, str], None] = lambda _event, _detail: None
    nodes: dict[str, Json] = field(default_factory=dict)
    pods: dict[str, Json] = field(default_factory=dict)
    _pending_nodes: set[str] = field(default_factory=set)
    _idle_since: dict[str, float] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(
                self._follow("/api/v1/nodes", {"labelSelector": f"{POOL_LABEL}={self.pool}"}, self.nodes)
            )
            group.create_task(self._follow("/api/v1/pods", {}, self.pods))
            group.create_task(self._work())

    def keep(self, count: int) -> None:
        """Have at least so many nodes from now on."""
        self.minimum = count
        self._changed.set()

    async def _follow(self, path: str, params: dict[str, str], kept: dict[str, Json]) -> None:
        async for found in self.reader.follow(path, params):
            kept.clear()
            kept.update(found)
            self._changed.set()

    async def _work(self) -> None:
        while True:
            self._changed.clear()
            await self._grow()
            await self._shrink()
            # An idle node becomes removable without any change.
            wait: Awaitable[Any] = self._changed.wait()
            try:
                await asyncio.wait_for(wait, 0.5 if self._idle_since else 30)
            except TimeoutError:
                continue

    async def _grow(self) -> None:
        below = self.minimum - len(self.nodes)
        if below <= 0 and not any(map(waits_for_gpu, self.pods.values())):
            return
        # Pods of one rollout come within milliseconds of each other, and want their nodes together.
        await asyncio.sleep(self.batch_seconds)
        waiting = sum(map(gpus, filter(waits_for_gpu, self.pods.values())))
        free = sum(
            max(0, self._has(node) - self._used(node["metadata"]["name"])) for node in self.nodes.values()
        )
        missing = -(-(waiting - free) // self.per_node)
        count = min(max(missing, below), self.maximum - len(self.nodes))
        if count > 0:
            why = f"{waiting} pods wait for a GPU" if missing > 0 else f"at least {self.minimum} are kept"
            self.say("node requested", f"{why}: {count} nodes")
            added = await self.provider.add(count)
            self.say("node added", ", ".join(added))
            # The watch may be behind: what was just made must not be asked for twice.
            while not set(added) <= {node["metadata"]["name"] for node in self.nodes.values()}:
                self._changed.clear()
                await self._changed.wait()

    def _has(self, node: Json) -> int:
        """What a node offers; one that has said nothing yet will offer what the pool's nodes have."""
        return int((node.get("status", {}).get("allocatable") or {}).get(GPU, self.per_node))

    def _used(self, name: str) -> int:
        return sum(
            gpus(pod) for pod in self.pods.values() if pod["spec"].get("nodeName") == name and not _over(pod)
        )

    async def _shrink(self) -> None:
        now = time.monotonic()
        names = {node["metadata"]["name"] for node in self.nodes.values()}
        idle = {name for name in names if not self._used(name)}
        self._idle_since = {name: self._idle_since.get(name, now) for name in idle}
        if any(map(waits_for_gpu, self.pods.values())):
            return
        room = len(names) - self.minimum
        for name, since in sorted(self._idle_since.items(), key=lambda one: one[1])[: max(room, 0)]:
            if now - since >= self.idle_seconds:
                self.say("node idle", name)
                await self.provider.remove(name)
                self.say("node removed", name)
                self._idle_since.pop(name, None)
                for uid in [uid for uid, node in self.nodes.items() if node["metadata"]["name"] == name]:
                    del self.nodes[uid]


def gpus(pod: Json) -> int:
    """How many GPUs a pod asks for."""
    spec = pod["spec"]
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    return sum(int((((one.get("resources") or {}).get("limits")) or {}).get(GPU, 0)) for one in containers)


def _over(pod: Json) -> bool:
    return (pod.get("status") or {}).get("phase") in _FINISHED


def waits_for_gpu(pod: Json) -> str:
    """What the scheduler says of a pod that no node has a GPU for; nothing of any other pod.

    A new pod may be unschedulable for a moment for other reasons, such as a volume that is just being made:
    no node helps that.
    """
    if pod["spec"].get("nodeName") or "deletionTimestamp" in pod["metadata"] or not gpus(pod):
        return ""
    for one in (pod.get("status") or {}).get("conditions") or []:
        if one["type"] == "PodScheduled" and one.get("reason") == "Unschedulable":
            message = str(one.get("message", ""))
            return message if f"Insufficient {GPU}" in message else ""
    return ""
