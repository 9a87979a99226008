"""What makes one node of a cluster: each step makes what is missing and leaves what is right."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from . import cgroups, controlplane, linking, network, node
from .health import said_problem
from .parts import wait_for
from .pki import node_leaves

if TYPE_CHECKING:
    from .addresses import Node
    from .config import Worker
    from .images import ScratchImage
    from .parts import Parts
    from .pki import Leaf

GPU = "nvidia.com/gpu"
SIMULATED_GPU_LABEL = "berth.dev/simulated-gpu"
POOL_LABEL = "berth.dev/pool"
# As device plugins' documentation and the clouds' GPU pools have it: nobody lands there by accident.
GPU_TAINT = {"key": GPU, "value": "present", "effect": "NoSchedule"}


def leaves(one: Node) -> list[Leaf]:
    """The certificates that the node needs."""
    return node_leaves(one.name, one.address, one.index)


def write_settings(parts: Parts, one: Node) -> bool:
    """Write the node's files, its keys being there; say whether one changed that its programs read."""
    user = f"node{one.index}"
    file = controlplane.kubeconfig_file(parts.paths, user)
    controlplane.write_kubeconfig(file, parts.plan, parts.pki, user, parts.name)
    return node.write_settings(
        one, parts.paths, parts.packages, parts.pause.reference, egress=parts.config.egress
    )


def launch(parts: Parts, one: Node, *, restart: bool) -> dt.datetime | None:
    """Start the node's programs unless they run; say when, None where they ran."""
    unit = parts.node_unit(one)
    if restart or unit.head() is None or not network.is_connected(one):
        unit.stop()
        cgroups.remove(one.cgroup)
    links = linking.running(parts.paths)
    network.ensure_node(one, parts.nodes, egress=parts.config.egress, links=links)
    cgroups.ensure(one.cgroup)
    began = dt.datetime.now(dt.UTC)
    return began if unit.ensure() else None


def register(parts: Parts, one: Node, worker: Worker | None = None) -> None:
    """Give the node its pods' addresses, also before its kubelet has said a word.

    Labels and taints are for a node that the API server does not know yet; later they are their owner's.
    """
    path = f"/api/v1/nodes/{one.name}"
    addresses: dict[str, Any] = {"podCIDR": str(one.pods), "podCIDRs": [str(one.pods)]}
    found = parts.api.get(path)
    if found is None:
        metadata = {"name": one.name, "labels": _labels(worker) if worker else {}}
        spec = {**addresses, **({"taints": [GPU_TAINT]} if worker and worker.simulated_gpus else {})}
        parts.api.apply({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec})
    elif not found.get("spec", {}).get("podCIDR"):
        parts.api.patch(path, {"spec": addresses})


def _labels(worker: Worker) -> dict[str, str]:
    labels = {POOL_LABEL: worker.pool} if worker.pool else {}
    return {**labels, SIMULATED_GPU_LABEL: "true"} if worker.simulated_gpus else labels


def import_images(parts: Parts, one: Node, *images: ScratchImage) -> None:
    """Put images of the cluster's own into the node, once its containerd listens."""
    store = parts.store(one)
    unit = parts.node_unit(one)
    problem = "it does not listen yet"
    wait_for(parts, lambda _: None, "containerd", lambda: None if store.answers() else problem, unit)
    for image in images:
        if not store.has(image.reference):
            store.add(image.write(parts.paths.images))


def show_gpus(parts: Parts, one: Node, count: int) -> bool:
    """Say on the node's status that it has GPUs, and on its labels that they are simulated.

    Returns False where the node is not ready yet. Its kubelet's first word takes all such resources away;
    and a scheduler that met the GPUs together with the taint of a node that is not ready would look again
    only seconds later.
    """
    path = f"/api/v1/nodes/{one.name}"
    found = parts.api.get(path) or {}
    if said_problem(found, None):
        return False
    label = found.get("metadata", {}).get("labels", {}).get(SIMULATED_GPU_LABEL)
    has = found.get("status", {}).get("allocatable", {}).get(GPU)
    if (label, has) != (("true", str(count)) if count else (None, None)):
        parts.api.patch(path, {"metadata": {"labels": {SIMULATED_GPU_LABEL: "true" if count else None}}})
        amount = {GPU: str(count) if count else None}
        parts.api.patch(f"{path}/status", {"status": {"capacity": amount, "allocatable": amount}})
    return True
