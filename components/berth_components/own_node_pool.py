"""A pool of nodes that are already there: own hardware, and any cluster that a kubeconfig reaches."""

from collections.abc import Mapping
from dataclasses import replace

import pulumi
from berth_catalogue.accelerators import Accelerator

from berth_components.arguments import Arguments
from berth_components.node_pools import NodePool, NodePoolArgs, PoolSpec, read_pool

PRODUCT_LABEL = "nvidia.com/gpu.product"
"""GPU feature discovery's label: the model of a node's GPUs."""


class OwnNodePoolArgs(NodePoolArgs):
    """Args of `OwnNodePool`: those of every pool, read as what is there.

    `labels` are labels that the nodes carry; they find the nodes. Default: nvidia.com/gpu.product, as GPU
    feature discovery sets it, where the accelerator has one spelling only. Of several (an H100 is sold as SXM
    and as PCIe) name one: a pool is found by equal labels, as on every ground, and replicas on unlike cards
    would share one target of load.

    `taints` are further taints that the nodes carry. `min_nodes` is left out or equal to `max_nodes`: nobody
    adds machines here. `capacity_type` is refused, for the same reason.
    """


class OwnNodePool(NodePool):
    """Finds nodes by their labels; creates nothing.

    A `DevicePlugin` is of the cluster, not of a pool: make one for all its pools (`node_selectors`), or none
    where the cluster has its own.
    """

    def __init__(self, name: str, args: OwnNodePoolArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        spec = read_own_pool(Arguments(f"OwnNodePool '{name}'", args, OwnNodePoolArgs), name)
        super().__init__("berth:own:OwnNodePool", name, spec, opts)
        self.finish()


def read_own_pool(given: Arguments, name: str) -> PoolSpec:
    """Check the args of an `OwnNodePool`.

    Raises:
        ArgumentError: as the component's.
    """
    if "capacity_type" in given:
        raise given.refuse(
            "capacity_type",
            "given",
            "no capacity_type: the machines are there",
            "remove it, or use a cloud's pool",
        )
    spec = read_pool(given, name, label_nodes=False)
    if "min_nodes" in given and spec.min_nodes != spec.max_nodes:
        raise given.refuse(
            "min_nodes",
            spec.min_nodes,
            f"max_nodes, {spec.max_nodes}, or nothing",
            "own hardware has no machines to add or take away; say in both how many there are",
        )
    if spec.accelerator.vendor == "google":
        raise given.refuse(
            "accelerator",
            spec.accelerator.key,
            "an accelerator that exists outside Google Cloud",
            "use a GKE pool",
        )
    return replace(
        spec, min_nodes=spec.max_nodes, node_selector=spec.labels or _by_product(given, spec.accelerator)
    )


def _by_product(given: Arguments, found: Accelerator) -> Mapping[str, str]:
    products = found.product_labels
    if len(products) == 1:
        return {PRODUCT_LABEL: products[0]}
    if not products:
        allowed, look = "labels that the pool's nodes carry", "kubectl get nodes --show-labels"
    else:
        allowed = f"{PRODUCT_LABEL} with one of {', '.join(products)}, or other labels of the nodes"
        look = f"kubectl get nodes -L {PRODUCT_LABEL}"
    raise given.refuse("labels", "missing", allowed, f"see which they have: {look}")
