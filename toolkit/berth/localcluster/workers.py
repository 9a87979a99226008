"""Further nodes, added and removed as a cloud's autoscaler would.

A new node is recorded before anything of it exists, and forgotten after everything of it is gone: whatever
is interrupted is finished by the same call again, by the cluster's start, or removed with the cluster.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import cgroups, controlplane, joining, network, node, warmstore
from .addresses import MAX_NODES
from .config import Worker
from .errors import ApiError, ClusterError, NodeBusyError
from .health import node_problem
from .parts import Parts, wait_for

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence
    from pathlib import Path

    from .addresses import Node
    from .progress import Progress

_PAUSE_SECONDS = 0.1
_TOO_MANY_REQUESTS = 429
_NOT_FOUND = 404
_MIRROR, _FINISHED = "kubernetes.io/config.mirror", {"Succeeded", "Failed"}


@dataclass(frozen=True)
class NodeInfo:
    """One node of a cluster as its owner sees it."""

    name: str
    address: str
    pool: str
    simulated_gpus: int
    ready: bool
    detail: str
    """Why it is not ready; empty where it is."""

    def to_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return dataclasses.asdict(self)


def add(parts: Parts, wanted: Sequence[Worker], progress: Progress, *, wait: bool) -> list[Node]:
    """Start new nodes beside each other; their indices must be free.

    Returns when their simulated GPUs show, with ``wait`` when pods can run.

    Raises:
        ClusterStartError: one did not come up.
    """
    names = ", ".join(parts.plan.node(worker.index, parts.name).name for worker in wanted)
    ready = lay_ready(parts, progress)
    with progress.step(f"starting {names}", 4) as step:
        config = dataclasses.replace(parts.config, workers=(*parts.config.workers, *wanted))
        config.write(parts.paths)
        parts = dataclasses.replace(parts, config=config)
        nodes = [parts.plan.node(worker.index, parts.name) for worker in wanted]
        since = {
            one.index: _start(parts, one, worker, ready) for one, worker in zip(nodes, wanted, strict=True)
        }
        for one, worker in zip(nodes, wanted, strict=True):
            silence = "its kubelet has said nothing yet"

            def problem(one: Node = one, worker: Worker = worker, silence: str = silence) -> str | None:
                return None if joining.show_gpus(parts, one, worker.simulated_gpus) else silence

            wait_for(parts, step.update, "kubelet", problem, parts.node_unit(one))
        for one in nodes if wait else ():

            def not_ready(one: Node = one) -> str | None:
                return node_problem(parts.api, one, since[one.index])

            wait_for(parts, step.update, "kubelet", not_ready, parts.node_unit(one))
    return nodes


def lay_ready(parts: Parts, progress: Progress) -> Path:
    """Lay the first node's images ready; a set of images once."""
    with progress.step("laying images ready", 15):
        return warmstore.ensure(parts)


def free_indices(parts: Parts, count: int) -> list[int]:
    """The lowest indices that no node has.

    Raises:
        ClusterError: there are not so many.
    """
    taken = {one.index for one in parts.nodes}
    free = [index for index in range(2, MAX_NODES + 1) if index not in taken]
    if len(free) < count:
        raise ClusterError(
            f"the cluster {parts.name!r} has {len(taken)} nodes and room for {MAX_NODES}: "
            f"{count} more do not fit; `berth cluster node remove` takes some away"
        )
    return free[:count]


def _start(parts: Parts, one: Node, worker: Worker, ready: Any) -> dt.datetime | None:
    _clear(parts, one)
    parts.pki.ensure(joining.leaves(one))
    joining.write_settings(parts, one)
    warmstore.install(parts, one, ready)
    joining.register(parts, one, worker)
    since = joining.launch(parts, one, restart=True)
    network.join(one, parts.nodes)
    return since


def remove(parts: Parts, one: Node, progress: Progress, *, seconds: float, force: bool) -> None:
    """Cordon the node, drain it, and remove everything of it.

    Raises:
        NodeBusyError: pods did not leave within ``seconds``; the node takes pods again.
    """
    path = f"/api/v1/nodes/{one.name}"
    with progress.step(f"removing {one.name}", 5) as step:
        if not force and parts.api.get(path) is not None:
            parts.api.patch(path, {"spec": {"unschedulable": True}})
            try:
                _drain(parts, one, seconds, step.update)
            except ClusterError:
                parts.api.patch(path, {"spec": {"unschedulable": None}})
                raise
        parts.node_unit(one).stop()
        _delete(parts, path)
        for pod in _pods(parts, one):
            _delete(parts, _path(pod), {"gracePeriodSeconds": 0})
        _clear(parts, one)
        left = tuple(worker for worker in parts.config.workers if worker.index != one.index)
        dataclasses.replace(parts.config, workers=left).write(parts.paths)


def _clear(parts: Parts, one: Node) -> None:
    """Remove what a node has on this machine; it need not be there."""
    unit = parts.node_unit(one)
    unit.stop()
    cgroups.remove(one.cgroup)
    network.leave(one, parts.nodes)
    shutil.rmtree(parts.paths.node(one.index), ignore_errors=True)
    socket = node.socket(one)
    files = [
        *socket.parent.glob(f"{socket.name}*"),
        unit.script,
        unit.own_log,
        *(unit.log(program.name) for program in unit.programs),
        *(parts.pki.folder / f"node{one.index}.{ending}" for ending in ("key", "crt", "pub")),
        controlplane.kubeconfig_file(parts.paths, f"node{one.index}"),
    ]
    for file in files:
        file.unlink(missing_ok=True)


def _drain(parts: Parts, one: Node, seconds: float, update: Any) -> None:
    """Evict pods as `kubectl drain` does: budgets are respected, what every node has stays."""
    end = time.monotonic() + seconds
    said = ""
    while leaving := [pod for pod in _pods(parts, one) if _must_leave(pod)]:
        for pod in leaving:
            if "deletionTimestamp" not in pod["metadata"]:
                said = _evict(parts, pod) or said
        if time.monotonic() > end:
            names = ", ".join(f"{p['metadata']['namespace']}/{p['metadata']['name']}" for p in leaving)
            raise NodeBusyError(
                f"{one.name}: after {seconds:g} s it still has {names}"
                + (f" ({said})" if said else "")
                + ". It takes pods again; mend the PodDisruptionBudget, or remove it with --force, which "
                "ends its pods at once."
            )
        update(f"{len(leaving)} pods leave")
        time.sleep(_PAUSE_SECONDS)


def _must_leave(pod: dict[str, Any]) -> bool:
    metadata = pod["metadata"]
    owners = {owner["kind"] for owner in metadata.get("ownerReferences", [])}
    return not (
        "DaemonSet" in owners
        or _MIRROR in metadata.get("annotations", {})
        or pod.get("status", {}).get("phase") in _FINISHED
    )


def _evict(parts: Parts, pod: dict[str, Any]) -> str:
    """Ask for a pod's end; returns why it was refused for now."""
    metadata = {key: pod["metadata"][key] for key in ("name", "namespace")}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    try:
        parts.api.request("POST", f"{_path(pod)}/eviction", body)
    except ApiError as error:
        if error.status not in {_TOO_MANY_REQUESTS, _NOT_FOUND}:
            raise
        return str(error) if error.status == _TOO_MANY_REQUESTS else ""
    return ""


def _pods(parts: Parts, one: Node) -> list[dict[str, Any]]:
    found = parts.api.get(f"/api/v1/pods?fieldSelector=spec.nodeName%3D{one.name}") or {}
    items: list[dict[str, Any]] = found.get("items", [])
    return items


def _path(pod: dict[str, Any]) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def _delete(parts: Parts, path: str, body: dict[str, Any] | None = None) -> None:
    try:
        parts.api.request("DELETE", path, body)
    except ApiError as error:
        if error.status != _NOT_FOUND:
            raise


def listed(parts: Parts) -> list[NodeInfo]:
    """Every node, asked whether it is ready."""
    found = []
    workers = {worker.index: worker for worker in parts.config.workers}
    for one in parts.nodes:
        worker = workers.get(one.index, Worker(one.index, simulated_gpus=parts.config.simulated_gpus))
        try:
            problem = node_problem(parts.api, one, None)
        except ApiError as error:
            problem = str(error)
        if parts.node_unit(one).head() is None:
            problem = "its programs do not run"
        found.append(
            NodeInfo(
                one.name, str(one.address), worker.pool, worker.simulated_gpus, not problem, problem or ""
            )
        )
    return found
