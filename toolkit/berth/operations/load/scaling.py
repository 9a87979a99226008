"""What the autoscaler did meanwhile: watched, with the time of each step, through a kubeconfig."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from berth.operations.errors import ClusterReadError, OperationsError
from berth.operations.kube import Json, KubeReader
from berth.operations.kubeconfig import read_access
from berth.operations.load.settings import ScalingTarget

QUEUE_METRIC = "berth_queue_depth"
SAMPLE_SECONDS = 1.0
MAX_PROBLEMS = 20
MAX_SAMPLES = 7200  # two hours by the second; after that the timeline's end is left out, and said


@dataclass(slots=True)
class Sample:
    """The state at one moment; `at` in seconds of the monotonic clock. `None` where it is not known."""

    at: float
    desired: int | None
    current: int | None
    ready: int
    queue_depth: int | None


@dataclass(slots=True)
class PodTimes:
    """When a pod was first seen, was first seen Ready, and was gone (monotonic seconds)."""

    name: str
    seen: float
    ready: float | None = None
    gone: float | None = None
    is_ready: bool = False


@dataclass(slots=True)
class State:
    """What is known now, and when it changed."""

    minimum: int | None = None
    maximum: int | None = None
    desired: int | None = None
    current: int | None = None
    queue_depth: int | None = None
    queue_problem: str | None = None
    scaling_problem: str | None = None
    scaling_problems: list[tuple[float, str]] = field(default_factory=list)
    pods: dict[str, PodTimes] = field(default_factory=dict)
    desired_changes: list[tuple[float, int]] = field(default_factory=list)

    @property
    def ready(self) -> int:
        """How many pods are Ready."""
        return sum(pod.is_ready for pod in self.pods.values() if pod.gone is None)

    @property
    def present(self) -> int:
        """How many pods there are, terminating ones among them."""
        return sum(pod.gone is None for pod in self.pods.values())

    def desire(self, now: float, replicas: int) -> None:
        """Note how many replicas are wanted."""
        if self.desired != replicas:
            self.desired = replicas
            self.desired_changes.append((now, replicas))


class ScalingWatch:
    """Follows a Deployment, its autoscaler, its pods and its queue. Reads only."""

    def __init__(
        self, reader: KubeReader, target: ScalingTarget, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._reader, self._target, self._now = reader, target, now
        self.state = State()
        self.samples: list[Sample] = []
        self.problems: list[str] = []
        self._known: set[str] = set()
        self._needed = {"deployment", "pods", *(["autoscaler"] if target.autoscaler else [])}
        self._first_look = asyncio.Event()
        self._changed = asyncio.Condition()

    async def until(self, condition: Callable[[State], bool]) -> None:
        """Wait until the state meets a condition."""
        async with self._changed:
            await self._changed.wait_for(lambda: condition(self.state))

    async def wait_for_first_look(self, seconds: float) -> None:
        """Wait until Deployment, pods and autoscaler were seen once.

        Raises:
            ClusterReadError: they were not seen in time; the message says what was in the way.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._first_look.wait()
        except TimeoutError as error:
            missing = ", ".join(sorted(self._needed - self._known))
            raise ClusterReadError(
                f"Deployment {self._target.namespace}/{self._target.deployment} cannot be watched: no answer "
                f"about its {missing} within {seconds:g} s."
            ) from error
        if self.problems:
            raise ClusterReadError(" ".join(self.problems))

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Return what must run while it watches."""
        target = self._target
        apps = f"/apis/apps/v1/namespaces/{target.namespace}/deployments"
        autoscalers = f"/apis/autoscaling/v2/namespaces/{target.namespace}/horizontalpodautoscalers"
        selector = ",".join(f"{key}={value}" for key, value in sorted(target.selector.items()))
        named = {"fieldSelector": f"metadata.name={target.deployment}"}
        loops = [
            self._guarded(self._follow(apps, named, "deployment", self._deployment)),
            self._guarded(
                self._follow(
                    f"/api/v1/namespaces/{target.namespace}/pods",
                    {"labelSelector": selector},
                    "pods",
                    self._pods,
                )
            ),
            self._sample(),
        ]
        if target.autoscaler:
            named = {"fieldSelector": f"metadata.name={target.autoscaler}"}
            loops.append(self._guarded(self._follow(autoscalers, named, "autoscaler", self._autoscaler)))
            loops.append(self._measure_queue(selector))
        return loops

    async def _guarded(self, loop: Coroutine[Any, Any, None]) -> None:
        try:
            await loop
        except OperationsError as error:
            self.problems.append(str(error))
            self._first_look.set()

    async def _follow(
        self, path: str, params: dict[str, str], what: str, take: Callable[[list[Json]], None]
    ) -> None:
        async for objects in self._reader.follow(path, params):
            if not objects and what != "pods":
                raise ClusterReadError(f"There is no {what} with {params['fieldSelector']} at {path}.")
            take(list(objects.values()))
            async with self._changed:
                self._changed.notify_all()
            self._known.add(what)
            if self._known >= self._needed:
                self._first_look.set()

    def _deployment(self, objects: list[Json]) -> None:
        (deployment,) = objects
        self.state.current = int((deployment.get("status") or {}).get("replicas") or 0)
        # The Deployment is told before the autoscaler's own status is written: the first to say it counts.
        self.state.desire(self._now(), int(deployment["spec"].get("replicas", 1)))

    def _autoscaler(self, objects: list[Json]) -> None:
        (autoscaler,) = objects
        spec, status = autoscaler["spec"], autoscaler.get("status") or {}
        self.state.minimum = int(spec.get("minReplicas", 1))
        self.state.maximum = int(spec["maxReplicas"])
        conditions = {one["type"]: one for one in status.get("conditions") or []}
        active = conditions.get("ScalingActive")
        blind = active is not None and active["status"] == "False"
        problem = f"{active['reason']}: {active['message']}" if active and blind else None
        if (
            problem
            and problem != self.state.scaling_problem
            and len(self.state.scaling_problems) < MAX_PROBLEMS
        ):
            self.state.scaling_problems.append((self._now(), problem))
        self.state.scaling_problem = problem

    def _pods(self, objects: list[Json]) -> None:
        now, pods = self._now(), self.state.pods
        present = set()
        for item in objects:
            uid = item["metadata"]["uid"]
            present.add(uid)
            pod = pods.setdefault(uid, PodTimes(item["metadata"]["name"], now))
            conditions = (item.get("status") or {}).get("conditions") or []
            is_ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
            pod.is_ready = is_ready and "deletionTimestamp" not in item["metadata"]
            if pod.is_ready and pod.ready is None:
                pod.ready = now
        for uid, pod in pods.items():
            if uid not in present and pod.gone is None:
                pod.gone = now

    async def _measure_queue(self, selector: str) -> None:
        """Ask for the queue depth as the autoscaler does: the API server, which asks the metrics adapter."""
        path = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{self._target.namespace}/{QUEUE_METRIC}"
        while True:
            try:
                found = await self._reader.get(path, {"labelSelector": selector})
                self.state.queue_depth = sum(int(item["value"]) for item in found["items"])
                self.state.queue_problem = None
            except (OperationsError, KeyError, ValueError) as error:
                self.state.queue_depth, self.state.queue_problem = None, str(error)
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _sample(self) -> None:
        await self._first_look.wait()
        while len(self.samples) < MAX_SAMPLES:
            state = self.state
            self.samples.append(
                Sample(self._now(), state.desired, state.current, state.ready, state.queue_depth)
            )
            await asyncio.sleep(SAMPLE_SECONDS)


@asynccontextmanager
async def watching(target: ScalingTarget) -> AsyncIterator[ScalingWatch]:
    """Watch a target for as long as the context lasts.

    Raises:
        KubeconfigError, ClusterReadError: it cannot be watched.
    """
    access = await read_access(target.kubeconfig, target.context)
    async with KubeReader(access) as reader:
        watch = ScalingWatch(reader, target)
        tasks = [asyncio.create_task(loop) for loop in watch.loops()]
        try:
            await watch.wait_for_first_look(15)
            yield watch
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
