"""What the pods of a model server tell: which machine, how long it loaded, and what its engine holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from berth.operations.errors import ClusterReadError
from berth.operations.kube import KubeReader
from berth.operations.kubeconfig import read_access

if TYPE_CHECKING:
    from berth.operations.load.settings import ScalingTarget

Json = dict[str, Any]
ENGINE, GATEWAY = "engine", "gateway"
METRICS_PORT = 9000
_GPU_MEMORY = "berth_gpu_memory_used_bytes"
_INSTANCE = "node.kubernetes.io/instance-type"
_GIB = 2**30
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


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
            memory_gib=await _memory(reader, target.namespace, names),
            load_seconds=max((one for one in times if one is not None), default=None),
        )


def _is_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def _load_seconds(pod: Json) -> float | None:
    """The gateway starts once the engine's startup probe has passed; times are whole seconds."""
    status = pod["status"]
    every = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    began = {
        one["name"]: one["state"]["running"]["startedAt"]
        for one in every
        if one.get("restartCount") == 0 and "running" in one.get("state", {})
    }
    if not {ENGINE, GATEWAY} <= began.keys():
        return None
    seconds = (_moment(began[GATEWAY]) - _moment(began[ENGINE])).total_seconds()
    return seconds if seconds > 0 else None


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


async def _memory(reader: KubeReader, namespace: str, pods: tuple[str, ...]) -> float | None:
    found = [await _gpu_memory(reader, namespace, pod) for pod in pods]
    if any(found):
        return max(one for one in found if one)
    used = [await _main_memory(reader, namespace, pod) for pod in pods]
    return max((one for one in used if one), default=None)


async def _gpu_memory(reader: KubeReader, namespace: str, pod: str) -> float | None:
    """All GPUs of the pod, as its gateway sees them."""
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}:{METRICS_PORT}/proxy/metrics"
    try:
        text = await reader.text(path)
    except ClusterReadError:
        return None
    lines = [line for line in text.splitlines() if line.startswith((f"{_GPU_MEMORY}{{", f"{_GPU_MEMORY} "))]
    return sum(float(line.rpartition(" ")[2]) for line in lines) / _GIB or None


async def _main_memory(reader: KubeReader, namespace: str, pod: str) -> float | None:
    """The engine's container, as metrics-server says it."""
    try:
        found = await reader.get(f"/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods/{pod}")
    except ClusterReadError:
        return None
    used = [one["usage"]["memory"] for one in found.get("containers") or [] if one["name"] == ENGINE]
    return _bytes(used[0]) / _GIB if used else None


def _bytes(quantity: str) -> float:
    number = quantity.rstrip("KMGTik")
    return float(number) * _UNITS.get(quantity[len(number) :], 1)
