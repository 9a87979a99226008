"""What the pods of a model server tell: which machine, how long it loaded, and what its engine holds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from berth.operations.errors import ClusterReadError
from berth.operations.kube import KubeReader
from berth.operations.kubeconfig import read_access
from berth.operations.quantities import amount

if TYPE_CHECKING:
    from collections.abc import Callable

    from berth.operations.load.settings import ScalingTarget

Json = dict[str, Any]
ENGINE, GATEWAY = "engine", "gateway"
METRICS_PORT = 9000
_GPU_MEMORY = "berth_gpu_memory_used_bytes"
_WORKING_SET = "container_memory_working_set_bytes"
_INSTANCE = "node.kubernetes.io/instance-type"
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Replicas:
    """The replicas as they are now.

    Attributes:
        pods: names of those that are Ready, sorted.
        machine: what they run on, in words; "" where that cannot be read.
        memory_gib: what the engine of the fullest holds: GPU memory, else main memory; `None` where nobody
            tells.
        load_seconds: the longest time from an engine's start until it answered; `None` where one restarted.
    """

    pods: tuple[str, ...]
    machine: str
    memory_gib: float | None
    load_seconds: float | None


async def replicas_of(target: ScalingTarget) -> Replicas:
    """Look at a model server's pods; nothing is changed.

    Raises:
        ClusterReadError: the pods cannot be read. What else cannot be read is left out.
    """
    access = await read_access(target.kubeconfig, target.context)
    selector = ",".join(f"{key}={value}" for key, value in target.selector.items())
    async with KubeReader(access) as reader:
        found = await reader.get(f"/api/v1/namespaces/{target.namespace}/pods", {"labelSelector": selector})
        pods = sorted(
            (pod for pod in found.get("items") or [] if _is_ready(pod)),
            key=lambda pod: pod["metadata"]["name"],
        )
        names = tuple(str(pod["metadata"]["name"]) for pod in pods)
        times = [_load_seconds(pod) for pod in pods]
        return Replicas(
            pods=names,
            machine=await _machine(reader, pods[0]) if pods else "",
            memory_gib=await _memory(reader, target.namespace, pods),
            load_seconds=max((one for one in times if one is not None), default=None),
        )


def _is_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def _load_seconds(pod: Json) -> float | None:
    """From the engine's start until the pod was Ready, once a token had come; in whole seconds.

    None where one restarted, or where it is longer than it may take: the pod was not Ready once more since.
    """
    status = pod["status"]
    every = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    began = {
        one["name"]: one["state"]["running"]["startedAt"]
        for one in every
        if one.get("restartCount") == 0 and "running" in one.get("state", {})
    }
    if not {ENGINE, GATEWAY} <= began.keys():
        return None
    ready: Json = next((one for one in status["conditions"] if one["type"] == "Ready"), {})
    if "lastTransitionTime" not in ready:
        return None
    seconds = (_moment(ready["lastTransitionTime"]) - _moment(began[ENGINE])).total_seconds()
    return seconds if 0 < seconds <= _most(pod) else None


def _most(pod: Json) -> float:
    """Seconds after which an engine that does not answer is restarted, at the least."""
    engine: Json = next((one for one in pod["spec"].get("containers") or [] if one["name"] == ENGINE), {})
    probe, alive = engine.get("startupProbe") or {}, engine.get("livenessProbe") or {}
    if probe:
        return float(probe.get("failureThreshold", 3)) * float(probe.get("periodSeconds", 10))
    asked = float(alive.get("failureThreshold", 3)) * float(alive.get("periodSeconds", 10))
    return asked + float(alive.get("initialDelaySeconds", 0)) if alive else math.inf


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def _machine(reader: KubeReader, pod: Json) -> str:
    try:
        node = await reader.get(f"/api/v1/nodes/{pod['spec']['nodeName']}")
    except (ClusterReadError, KeyError):
        return ""
    kind = (node["metadata"].get("labels") or {}).get(_INSTANCE)
    status = node.get("status", {})
    cores = status.get("capacity", {}).get("cpu", "?")
    return f"{kind or status.get('nodeInfo', {}).get('architecture', 'a node')} with {cores} cores"


async def _memory(reader: KubeReader, namespace: str, pods: list[Json]) -> float | None:
    for look in (_gpu_memory, _kubelet_memory, _metrics_server_memory):
        found = [await look(reader, namespace, pod) for pod in pods]
        if any(found):
            return max(one for one in found if one)
    return None


async def _gpu_memory(reader: KubeReader, namespace: str, pod: Json) -> float | None:
    """All GPUs of the pod, as its gateway sees them."""
    name = pod["metadata"]["name"]
    path = f"/api/v1/namespaces/{namespace}/pods/{name}:{METRICS_PORT}/proxy/metrics"
    return await _sum(reader, path, lambda line: line.startswith(f"{_GPU_MEMORY}{{"))


async def _kubelet_memory(reader: KubeReader, namespace: str, pod: Json) -> float | None:
    """The engine's container, as the node's kubelet says it to who may ask."""
    labels = f'container="{ENGINE}",namespace="{namespace}",pod="{pod["metadata"]["name"]}"'
    path = f"/api/v1/nodes/{pod['spec'].get('nodeName')}/proxy/metrics/resource"
    return await _sum(reader, path, lambda line: line.startswith(f"{_WORKING_SET}{{{labels}}}"))


async def _sum(reader: KubeReader, path: str, wanted: Callable[[str], bool]) -> float | None:
    """The values of some lines of an exposition, in GiB; `None` where it or they cannot be had."""
    try:
        text = await reader.text(path)
    except ClusterReadError:
        return None
    # After the value there may be a moment.
    values = [float(line.rpartition("}")[2].split()[0]) for line in text.splitlines() if wanted(line)]
    return sum(values) / _GIB or None


async def _metrics_server_memory(reader: KubeReader, namespace: str, pod: Json) -> float | None:
    """The engine's container, as metrics-server says it."""
    name = pod["metadata"]["name"]
    try:
        found = await reader.get(f"/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods/{name}")
    except ClusterReadError:
        return None
    used = [one["usage"]["memory"] for one in found.get("containers") or [] if one["name"] == ENGINE]
    held = amount(used[0]) if used else None
    return None if held is None else held / _GIB
