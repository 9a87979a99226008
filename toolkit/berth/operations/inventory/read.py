"""Looking at a cluster: a dozen lists, each of which may be refused without hiding the others."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from berth.operations.errors import ClusterReadError
from berth.operations.inventory import recognise
from berth.operations.inventory.facts import (
    RESOURCES,
    SIMULATED_LABEL,
    Holder,
    Inventory,
    Node,
    NotRead,
    StorageClass,
    Taint,
)
from berth.operations.kube import KubeReader
from berth.operations.kubeconfig import read_access

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]
_PAGE = 500
_LISTS = {
    "nodes": "/api/v1/nodes",
    "pods": "/api/v1/pods",
    "namespaces": "/api/v1/namespaces",
    "daemon sets": "/apis/apps/v1/daemonsets",
    "deployments": "/apis/apps/v1/deployments",
    "storage classes": "/apis/storage.k8s.io/v1/storageclasses",
    "runtime classes": "/apis/node.k8s.io/v1/runtimeclasses",
    "priority classes": "/apis/scheduling.k8s.io/v1/priorityclasses",
    "custom resources": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
}
_EXTERNAL_METRICS = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"
_NOT_FOUND = ": 404: "
_NOT_ENDED = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}
# Kubernetes sets these itself for states that are told apart below.
_OF_STATES = "node.kubernetes.io/"
_LABEL = "nvidia.com/"


async def inspect(kubeconfig: str, context: str = "") -> Inventory:
    """Look at a cluster; nothing is changed.

    Args:
        kubeconfig: path of a file, or the contents of one.
        context: its name; "" for the current one.

    A cluster that cannot be reached, or refuses what is asked, is no error here: see `Inventory.not_read`.
    """
    try:
        access = await read_access(kubeconfig, context)
    except ClusterReadError as error:
        # Contents carry credentials; only a path may be shown.
        file = "the given kubeconfig" if "\n" in kubeconfig or "{" in kubeconfig else kubeconfig
        return unreachable(f"{context or 'current context'} of {file}", str(error))
    async with KubeReader(access) as reader:
        return await _Look(reader, access.server).everything()


def unreachable(server: str, reason: str) -> Inventory:
    """Return the inventory of a cluster of which nothing is known."""
    return Inventory(server, not_read=(NotRead("cluster", reason),))


class _Look:
    def __init__(self, reader: KubeReader, server: str) -> None:
        self._reader = reader
        self._server = server
        self._not_read: list[NotRead] = []

    async def everything(self) -> Inventory:
        try:
            version = _version(await self._reader.get("/version"))
        except ClusterReadError as error:
            return unreachable(self._server, str(error))
        # At once: over a slow line a dozen answers one after the other would be felt before every `up`.
        lists, metrics = await asyncio.gather(
            asyncio.gather(*(self._list(what, path) for what, path in _LISTS.items())),
            self._external_metrics(),
        )
        there = dict(zip(_LISTS, lists, strict=True))
        nodes, pods, daemon_sets = there["nodes"], there["pods"], there["daemon sets"]
        storage, runtimes = there["storage classes"], there["runtime classes"]
        priorities, namespaces = there["priority classes"], there["namespaces"]
        crds = there["custom resources"]
        found = Inventory(
            self._server,
            version=version,
            nodes=None if nodes is None else tuple(sorted(map(_node, nodes), key=lambda one: one.name)),
            holders=None if pods is None else tuple(one for pod in pods if (one := _holder(pod)) is not None),
            storage_classes=None if storage is None else tuple(map(_storage_class, storage)),
            runtime_classes=None if runtimes is None else _name_each(runtimes),
            priority_classes=None if priorities is None else _name_each(priorities),
            extensions=None if crds is None else recognise.extensions(_name_each(crds)),
            restricted_namespaces=None if namespaces is None else _levels(namespaces),
            external_metrics=None if metrics is None else _service(metrics),
            external_metrics_ours=bool(metrics) and _is_ours(metrics or {}),
        )
        if daemon_sets is not None:
            plugins = (recognise.device_plugin(each) for each in daemon_sets)
            workloads = [*daemon_sets, *(there["deployments"] or [])]
            found = replace(
                found,
                device_plugins=tuple(each for each in plugins if each is not None),
                policy_engine=recognise.policy_engine(daemon_sets, nodes or []),
                load_balancers=recognise.load_balancers(workloads, nodes or []),
            )
        return replace(found, not_read=tuple(self._not_read))

    async def _list(self, what: str, path: str) -> list[Json] | None:
        """Read a collection page by page, since there may be thousands of pods; None where it is refused."""
        query = {"limit": str(_PAGE), **(_NOT_ENDED if what == "pods" else {})}
        items: list[Json] = []
        try:
            while True:
                answer = await self._reader.get(path, query)
                items += answer.get("items") or []
                following = (answer.get("metadata") or {}).get("continue")
                if not following:
                    return items
                query["continue"] = str(following)
        except ClusterReadError as error:
            self._not_read.append(NotRead(what, str(error)))
            return None

    async def _external_metrics(self) -> Json | None:
        try:
            return await self._reader.get(_EXTERNAL_METRICS)
        except ClusterReadError as error:
            if _NOT_FOUND in str(error):
                return {}
            self._not_read.append(NotRead("external metrics", str(error)))
            return None


def _version(answer: Mapping[str, Any]) -> tuple[int, int]:
    major, minor = (re.match(r"\d+", str(answer.get(part) or "")) for part in ("major", "minor"))
    if not major or not minor:
        raise ClusterReadError(f"GET /version: no Kubernetes version in the answer: {str(answer)[:200]}")
    return int(major[0]), int(minor[0])


def _node(item: Mapping[str, Any]) -> Node:
    labels = {str(key): str(value) for key, value in (item["metadata"].get("labels") or {}).items()}
    status, spec = item.get("status") or {}, item.get("spec") or {}
    conditions = status.get("conditions") or []
    taints = (
        Taint(str(one["key"]), str(one.get("value") or ""), str(one["effect"]))
        for one in spec.get("taints") or []
    )
    return Node(
        name=str(item["metadata"]["name"]),
        ready=any(one["type"] == "Ready" and one["status"] == "True" for one in conditions),
        schedulable=not spec.get("unschedulable"),
        kubelet=str((status.get("nodeInfo") or {}).get("kubeletVersion") or "unknown"),
        labels=labels,
        taints=tuple(one for one in taints if not one.key.startswith(_OF_STATES)),
        allocatable=_accelerators(status.get("allocatable") or {}),
        product=labels.get(f"{_LABEL}gpu.product"),
        gpu_count=_whole(labels.get(f"{_LABEL}gpu.count")),
        memory_mib=_whole(labels.get(f"{_LABEL}gpu.memory")),
        driver=_labelled_version(labels, "cuda.driver", ("major", "minor", "rev")),
        cuda=_labelled_version(labels, "cuda.runtime", ("major", "minor")),
        simulated=labels.get(SIMULATED_LABEL) == "true",
    )


def _labelled_version(labels: Mapping[str, str], name: str, parts: tuple[str, ...]) -> str | None:
    """Return a version in the labels' newer spelling (…-version.full), else in the older one."""
    full = labels.get(f"{_LABEL}{name}-version.full")
    if full:
        return full
    older = [labels.get(f"{_LABEL}{name}.{part}") for part in parts]
    return ".".join(one for one in older if one) or None


def _accelerators(quantities: Mapping[str, Any]) -> dict[str, int]:
    found = {}
    for key, value in quantities.items():
        if key in RESOURCES or str(key).startswith(f"{_LABEL}mig-"):
            found[str(key)] = _whole(str(value)) or 0
    return found


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _holder(pod: Mapping[str, Any]) -> Holder | None:
    """Return what accelerators a pod holds: Kubernetes' own sum over its containers."""
    spec = pod["spec"]
    running: dict[str, int] = {}
    starting: dict[str, int] = {}
    # A container that starts before the others gives back what it had, unless it is a sidecar.
    for container in spec.get("initContainers") or []:
        mine = _requested(container)
        if container.get("restartPolicy") == "Always":
            running = _sum(running, mine)
            starting = _most(starting, running)
        else:
            starting = _most(starting, _sum(running, mine))
    for container in spec.get("containers") or []:
        running = _sum(running, _requested(container))
    total = _most(running, starting)
    if not any(total.values()):
        return None
    meta = pod["metadata"]
    return Holder(str(spec.get("nodeName") or ""), str(meta["namespace"]), str(meta["name"]), total)


def _requested(container: Mapping[str, Any]) -> dict[str, int]:
    resources = container.get("resources") or {}
    return _accelerators({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {*one, *other}}


def _most(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {key: max(one.get(key, 0), other.get(key, 0)) for key in {*one, *other}}


def _storage_class(item: Mapping[str, Any]) -> StorageClass:
    notes = item["metadata"].get("annotations") or {}
    return StorageClass(
        str(item["metadata"]["name"]),
        str(item.get("provisioner") or ""),
        notes.get("storageclass.kubernetes.io/is-default-class") == "true",
    )


def _name_each(items: list[Json]) -> tuple[str, ...]:
    return tuple(sorted(str(item["metadata"]["name"]) for item in items))


def _levels(namespaces: list[Json]) -> dict[str, str]:
    key = "pod-security.kubernetes.io/enforce"
    labelled = {one["metadata"]["name"]: (one["metadata"].get("labels") or {}).get(key) for one in namespaces}
    return {str(name): str(level) for name, level in labelled.items() if level}


def _service(api_service: Mapping[str, Any]) -> str:
    service = (api_service.get("spec") or {}).get("service") or {}
    return f"{service['namespace']}/{service['name']}" if service else ""


def _is_ours(api_service: Mapping[str, Any]) -> bool:
    labels = (api_service.get("metadata") or {}).get("labels") or {}
    return bool(labels.get("app.kubernetes.io/managed-by") == "berth")
