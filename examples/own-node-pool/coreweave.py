# noqa: INP001 - a module beside its program, no package
"""A pool of nodes on CoreWeave's Kubernetes, where a pool is an object of the cluster itself.

The object's fields are CoreWeave's Node Pool reference, read 2026-11-23:
https://docs.coreweave.com/products/cks/reference/node-pool
"""

from typing import Any

import pulumi
from berth_components import PlacementArgs
from berth_components.arguments import Arguments
from berth_components.checks import plain_text
from berth_components.node_pools import NodePool, NodePoolArgs, read_pool
from pulumi_kubernetes.apiextensions import CustomResource


class CoreWeavePoolArgs(NodePoolArgs):
    """Args of `CoreWeavePool`: those of every pool, and CoreWeave's own."""

    instance_type: str
    """CoreWeave's name of the machine, such as gd-8xh100ib-i128. Changing it makes a new pool."""


class CoreWeavePool(NodePool):
    """Nodes with accelerators on CoreWeave, added and taken away by its autoscaler between two limits."""

    def __init__(
        self, name: str, args: CoreWeavePoolArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        given = Arguments(f"CoreWeavePool '{name}'", args, CoreWeavePoolArgs)
        # What all pools share is checked here: the accelerator, the counts, labels and taints. CoreWeave has
        # no spot machines, so that setting is refused instead of being passed over.
        spec = read_pool(given, name, capacity_types=("on-demand", "reserved"))
        instance_type = given.plain("instance_type", plain_text)
        super().__init__("example:coreweave:CoreWeavePool", name, spec, opts)
        CustomResource(
            f"{name}-nodes",
            api_version="compute.coreweave.com/v1alpha1",
            kind="NodePool",
            metadata={"name": name},
            spec={
                "computeClass": "default",
                "instanceType": instance_type,
                "autoscaling": True,
                "minNodes": spec.min_nodes,
                "maxNodes": spec.max_nodes,
                "targetNodes": spec.min_nodes,
                "nodeLabels": dict(spec.labels),
                # The accelerator's own taint keeps pods off that ask for none; `spec.tolerations` has it.
                "nodeTaints": [
                    dict(zip(("key", "value", "effect"), spec.accelerator.taint, strict=True)),
                    *(dict(taint) for taint in spec.taints),
                ],
            },
            # The autoscaler owns the number from then on.
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["spec.targetNodes"]),
        )
        self.finish()

    @property
    def placement(self) -> PlacementArgs:
        """What a `ModelServer` takes as its placement."""
        tolerations: Any = self.tolerations  # the same keys and values; only the type is a mapping's
        return {"node_selector": self.node_selector, "tolerations": tolerations}
