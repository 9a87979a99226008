"""Recorded clusters: lists as an API server gives them, and what a stack may ask of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from berth.operations.errors import ClusterRefused
from berth.operations.inventory import AskedModel, AskedPool, AskedSite, Finding, Inventory
from berth.operations.inventory.read import _Look

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]
L4, H100 = "NVIDIA-L4", "NVIDIA-H100-80GB-HBM3"


def node(name: str, *, gpus: int | None = 1, product: str | None = L4, **changes: Any) -> Json:
    """A node as the API server shows it, with NVIDIA's feature discovery unless `product` is None."""
    labels = {"kubernetes.io/hostname": name, **changes.get("labels", {})}
    if product:
        labels |= {
            "nvidia.com/gpu.product": product,
            "nvidia.com/gpu.count": str(changes.get("seen", gpus or 1)),
            "nvidia.com/gpu.memory": "23034",
            "nvidia.com/cuda.driver-version.full": "580.95.05",
            "nvidia.com/cuda.runtime-version.full": "13.0",
        }
    return {
        "metadata": {"name": name, "uid": name, "labels": labels},
        "spec": {
            **({"taints": changes["taints"]} if "taints" in changes else {}),
            **({"unschedulable": True} if changes.get("cordoned") else {}),
        },
        "status": {
            "conditions": [{"type": "Ready", "status": "True" if changes.get("ready", True) else "Unknown"}],
            "nodeInfo": {"kubeletVersion": changes.get("kubelet", "v1.34.2")},
            "allocatable": {"cpu": "32", **({"nvidia.com/gpu": str(gpus)} if gpus is not None else {})},
        },
    }


def pod(where: str, count: int, name: str = "trainer", namespace: str = "research") -> Json:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "nodeName": where,
            "containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": str(count)}}}],
        },
    }


def daemon_set(
    name: str, image: str, *, ready: int = 1, namespace: str = "kube-system", **labels: str
) -> Json:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"template": {"metadata": {}, "spec": {"containers": [{"name": "main", "image": image}]}}},
        "status": {"desiredNumberScheduled": 1, "numberReady": ready},
    }


PLUGIN = daemon_set("nvidia-device-plugin-daemonset", "nvcr.io/nvidia/k8s-device-plugin:v0.17.1")
OURS = daemon_set(
    "nvidia-device-plugin",
    "nvcr.io/nvidia/k8s-device-plugin:v0.19.3",
    namespace="berth-nvidia-device-plugin",
    **{"app.kubernetes.io/managed-by": "berth"},
)
CALICO = daemon_set("calico-node", "docker.io/calico/node:v3.30.0")
FLANNEL = daemon_set("kube-flannel-ds", "ghcr.io/flannel-io/flannel:v0.27.0", namespace="kube-flannel")
METALLB = daemon_set("speaker", "quay.io/metallb/speaker:v0.15.2", namespace="metallb-system")
STANDARD = {
    "metadata": {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": "example.com/disk",
}
PATHS = {
    "nodes": "/api/v1/nodes",
    "pods": "/api/v1/pods",
    "daemon_sets": "/apis/apps/v1/daemonsets",
    "deployments": "/apis/apps/v1/deployments",
    "storage": "/apis/storage.k8s.io/v1/storageclasses",
    "runtimes": "/apis/node.k8s.io/v1/runtimeclasses",
    "priorities": "/apis/scheduling.k8s.io/v1/priorityclasses",
    "namespaces": "/api/v1/namespaces",
    "crds": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
}
METRICS = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"


class Recorded:
    """A recorded cluster in place of a reader; lists come in pages of two, as a large cluster's do."""

    def __init__(self, **parts: Any) -> None:
        default: Json = {name: [] for name in PATHS}
        default |= {"nodes": [node("gpu-1")], "daemon_sets": [PLUGIN, CALICO, METALLB], "storage": [STANDARD]}
        self._parts: Json = {"minor": "34+", "metrics": None, **default, **parts}

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Json:
        if path == "/version":
            return {"major": "1", "minor": self._parts["minor"]}
        if path == METRICS:
            found = self._parts["metrics"]
            if isinstance(found, Exception):
                raise found
            if found is None:
                raise ClusterRefused(f"GET {path}: 404: not found")
            return dict(found)
        (name,) = (name for name, one in PATHS.items() if one == path)
        items = self._parts[name]
        if isinstance(items, Exception):
            raise items
        start = int((params or {}).get("continue", "0"))
        rest = {"continue": str(start + 2)} if start + 2 < len(items) else {}
        return {"metadata": rest, "items": items[start : start + 2]}


async def look(**parts: Any) -> Inventory:
    """The inventory of a recorded cluster whose parts are otherwise as given."""
    reader: Any = Recorded(**parts)
    return await _Look(reader, "https://198.18.0.1:6443").everything()


POOL = AskedPool(
    name="l4",
    accelerator="NVIDIA L4",
    kind="nvidia",
    resource="nvidia.com/gpu",
    products=(L4,),
    per_node=1,
    nodes=1,
    node_selector={"nvidia.com/gpu.product": L4},
    tolerations=({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
)
CHAT = AskedModel(
    "chat", pool="l4", accelerators=1, replicas=1, surge=0, storage_class="", load_balancer=True
)
ASKED = AskedSite(
    "onprem",
    pools=(POOL,),
    models=(CHAT,),
    namespace="berth-onprem",
    device_plugins={"nvidia": "existing"},
    metrics_adapter="owned",
    enforce_policies=True,
)


def of(findings: list[Finding], state: str) -> list[str]:
    return [one.text for one in findings if one.state == state]


def asked(changes: Json) -> AskedSite:
    site = dict(changes)
    pool = replace(POOL, **site.pop("pool", {}))
    model = replace(CHAT, **site.pop("model", {}))
    return replace(ASKED, **{"pools": (pool,), "models": (model,), **site})
