"""The proof for real: bursts on a copy of a stack's model server, and a pool of nodes that starts empty."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from berth.operations.completion import ask
from berth.operations.errors import ClusterReadError
from berth.operations.kubeconfig import read_access

from .burst import burst, clients_for
from .measured import Burst, numbers, usual_chain
from .nodes import NodeAutoscaler, NodeProvider
from .watch import Watch
from .workload import POOL, PROOF_LABEL, Workload, workload
from .writer import KubeWriter, path_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from berth.operations.proof.facts import Facts, Resource

_UP_SECONDS, _DOWN_SECONDS, _READY_SECONDS, _GONE_SECONDS = 300.0, 600.0, 300.0, 120.0
_PLATEAU_SECONDS = 3.0
_EXTERNAL_API = "/apis/external.metrics.k8s.io/v1beta1"
_KEPT = {"controller.kubernetes.io/pod-deletion-cost": "1000"}
"""The replica on the node that stays is kept when the number falls, so that the pool can become empty."""


@dataclass(frozen=True)
class Ground:
    """The cluster of a real proof.

    Attributes:
        kubeconfig: path or contents.
        provider: who makes nodes there.
        hpa_sync_seconds: how often its HPA controller looks.
    """

    kubeconfig: str
    provider: NodeProvider
    hpa_sync_seconds: float


@dataclass(frozen=True)
class Measured:
    """What was seen."""

    work: Workload
    bursts: tuple[Burst, ...]
    hpa_sync_seconds: float
    warm: bool = False

    def to_json(self) -> dict[str, Any]:
        """As plain data; times in seconds."""
        return {
            "simulated": "nodes are sandboxes of one machine, their GPUs are counted by the scheduler only",
            "hpa_sync_seconds": self.hpa_sync_seconds,
            "nodes_before_the_burst": self.work.maximum - self.work.minimum if self.warm else 0,
            "replicas": [self.work.minimum, self.work.maximum],
            **numbers(self.bursts),
            "usual_chain_burst_to_ready_seconds": usual_chain(self.bursts),
            "bursts": [one.to_json() for one in self.bursts],
        }


@dataclass(frozen=True)
class Wanted:
    """How a real proof goes.

    Attributes:
        bursts: how many, one after the other.
        seed: of the moments at which they begin.
        warm: whether the pool's nodes are there before each burst, instead of none.
        say: told what happens.
    """

    bursts: int = 1
    seed: int = 0
    warm: bool = False
    say: Callable[[str, str], None] = lambda _phase, _detail: None


async def prove_really(
    resources: Iterable[Resource], facts: Facts, ground: Ground, wanted: Wanted
) -> Measured:
    """Burst, scale up through a new node, plateau, scale down to an empty pool; and again.

    Nothing of the stack itself is touched: a copy in a namespace of its own is loaded, and removed.

    Raises:
        ChainBroken: a link of the chain did not move; says which, and what was seen instead.
    """
    key = secrets.token_urlsafe(24)
    work = workload(resources, facts, f"berth-proof-{secrets.token_hex(3)}", key)
    async with KubeWriter(await read_access(ground.kubeconfig)) as kube:
        await _require_adapter(kube)
        await _clear(kube, ground.provider)
        try:
            return await _proved(kube, work, key, ground, wanted)
        finally:
            wanted.say("removing", "the copy and its nodes")
            await asyncio.shield(_clear(kube, ground.provider))


async def _require_adapter(kube: KubeWriter) -> None:
    try:
        await kube.get(_EXTERNAL_API)
    except ClusterReadError as error:
        raise ClusterReadError(
            f"nobody answers for the external metrics API, by which replicas scale: {error}. "
            "`./berth up local` deploys the metrics adapter"
        ) from error


async def _clear(kube: KubeWriter, provider: NodeProvider) -> None:
    """Remove what this proof, or one that was killed, has made."""
    for item in await _left(kube):
        await kube.delete(f"/api/v1/namespaces/{item['metadata']['name']}")
    nodes = await kube.get("/api/v1/nodes", {"labelSelector": f"berth.dev/pool={POOL}"})
    for item in nodes["items"]:
        await provider.remove(item["metadata"]["name"], force=True)
    # A replica that still ends would keep the first node's GPU from the next proof's.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GONE_SECONDS):
            while await _left(kube):  # noqa: ASYNC110 - the API server decides
                await asyncio.sleep(0.2)


async def _left(kube: KubeWriter) -> list[dict[str, Any]]:
    found = await kube.get("/api/v1/namespaces", {"labelSelector": f"{PROOF_LABEL}=true"})
    return list(found["items"])


async def _proved(kube: KubeWriter, work: Workload, key: str, ground: Ground, wanted: Wanted) -> Measured:
    watch = Watch(kube, work, POOL)
    most = work.maximum - work.minimum
    scaler = NodeAutoscaler(kube, ground.provider, POOL, minimum=0, maximum=most, say=watch.note)
    wanted.say("deploying", f"a copy of {work.deployment} into {work.namespace}")
    for one in work.objects:
        await kube.apply(one)
    async with AsyncExitStack() as running:
        await running.enter_async_context(_beside(watch.loops()))
        url = await _first_answer(kube, watch, key)
        # From here on: the replica that stays is on the first node, and no node of the pool is kept by it.
        await running.enter_async_context(_beside([scaler.run()]))
        if wanted.warm:
            scaler.keep(most)
            await watch.until(lambda seen: seen.ready_nodes >= most, _READY_SECONDS, "nodes before the burst")
        chance = random.Random(wanted.seed)  # noqa: S311 - when a burst begins
        bursts = []
        for number in range(1, wanted.bursts + 1):
            # At any moment of the autoscaler's period, as in life.
            await asyncio.sleep(chance.uniform(0, ground.hpa_sync_seconds))
            wanted.say("burst", f"{number} of {wanted.bursts}: {clients_for(work)} clients")
            bursts.append(await _one(watch, url, key, number, wanted))
        return Measured(work, tuple(bursts), ground.hpa_sync_seconds, warm=wanted.warm)


@asynccontextmanager
async def _beside(loops: list[Any]) -> AsyncIterator[None]:
    """Run the loops meanwhile; what fails in one of them fails here."""
    body = asyncio.current_task()
    failed: list[BaseException] = []

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            failed.append(error)
            if body is not None:
                body.cancel()

    tasks = [asyncio.create_task(loop) for loop in loops]
    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    except asyncio.CancelledError:
        if failed and body is not None:
            body.uncancel()
            raise _first(failed[0]) from None
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _first_answer(kube: KubeWriter, watch: Watch, key: str) -> str:
    """Wait for the first replicas, keep them where they are, and ask once."""
    work = watch.work
    await watch.until(lambda seen: seen.ready >= work.minimum, _READY_SECONDS, "the first replica")
    for pod in watch.pods.values():
        path = f"/api/v1/namespaces/{work.namespace}/pods/{pod['metadata']['name']}"
        await kube.patch(path, {"metadata": {"annotations": _KEPT}})
    service = next(one for one in work.objects if one["kind"] == "Service")
    address = (await kube.get(path_of(service)))["spec"]["clusterIP"]
    url = f"http://{address}:{work.port}"
    await ask(url, key, "What is Kubernetes?", max_new_tokens=8, wait_seconds=_READY_SECONDS)
    await watch.until(lambda seen: seen.queue == 0, _READY_SECONDS, "the metrics adapter's answer")
    return url


async def _one(watch: Watch, url: str, key: str, number: int, wanted: Wanted) -> Burst:
    work, first_event, first_sample = watch.work, len(watch.events), len(watch.samples)
    began = time.monotonic()
    async with burst(work, url, key, time.monotonic) as tally:
        limit = work.target * work.minimum
        await watch.until(lambda seen: (seen.queue or 0) > limit, _UP_SECONDS, "a queue above its target")
        watch.note("queue", f"{watch.queue} waiting")
        await watch.until(lambda seen: seen.desired > work.minimum, _UP_SECONDS, "more replicas wanted")
        await watch.until(lambda seen: seen.ready > work.minimum, _UP_SECONDS, "a new replica")
        await watch.until(lambda seen: seen.ready >= work.maximum, _UP_SECONDS, "every replica")
        watch.note("all ready", f"{watch.ready} replicas")
        await watch.until(_is_normal, _UP_SECONDS, "a queue within its target")
        watch.note("queue normal", f"{watch.queue} waiting")
        wanted.say("plateau", f"{watch.ready} replicas, {len(watch.nodes)} new nodes")
        await asyncio.sleep(_PLATEAU_SECONDS)
    ended = time.monotonic()
    watch.note("load ended")
    wanted.say("scaling down", "until the pool is empty")
    await watch.until(lambda seen: seen.desired <= work.minimum, _DOWN_SECONDS, "fewer replicas wanted")
    watch.note("fewer desired", str(watch.desired))
    await watch.until(lambda seen: len(seen.pods) <= work.minimum, _DOWN_SECONDS, "replicas gone")
    watch.note("replicas gone")
    if not wanted.warm:
        await watch.until(lambda seen: not seen.nodes, _DOWN_SECONDS, "an empty pool")
        watch.note("pool empty")
    requests = {"answered": tally.ok, **{f"not: {name}": count for name, count in tally.errors.items()}}
    return Burst(
        number,
        began,
        ended,
        tuple(watch.events[first_event:]),
        tuple(watch.samples[first_sample:]),
        clients_for(work),
        requests,
    )


def _is_normal(seen: Watch) -> bool:
    """Whether fewer wait than would keep every replica: what the autoscaler itself would call too little."""
    return seen.queue is not None and seen.queue < seen.work.target * seen.ready
