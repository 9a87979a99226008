"""Where a cluster's nodes can be reached."""

import asyncio
from pathlib import Path
from typing import Any

from berth.operations.errors import ClusterReadError
from berth.operations.kube import KubeReader
from berth.operations.kubeconfig import read_access


def node_address(kubeconfig: Path, context: str = "") -> str:
    """Return the internal address of a node that is Ready and takes pods: NodePorts answer there.

    Not to be called where an event loop runs. Whether this machine has a route to it, no cluster knows.

    Raises:
        KubeconfigError, ClusterReadError: the cluster cannot be read, or has no such node.
    """
    return asyncio.run(_node_address(str(kubeconfig), context))


async def _node_address(kubeconfig: str, context: str) -> str:
    async with KubeReader(await read_access(kubeconfig, context)) as reader:
        nodes = (await reader.get("/api/v1/nodes")).get("items") or []
    for node in sorted(nodes, key=lambda one: str(one["metadata"]["name"])):
        if not _takes_pods(node):
            continue
        for address in node["status"].get("addresses") or []:
            if address["type"] == "InternalIP":
                return str(address["address"])
    names = ", ".join(str(node["metadata"]["name"]) for node in nodes) or "none"
    raise ClusterReadError(
        f"No node of the context {context or '(the current one)'} of {kubeconfig} is Ready, takes pods and "
        f"has an InternalIP; its nodes are: {names}. Set nodeAddress of the site to where NodePorts answer."
    )


def _takes_pods(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions") or []
    is_ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return is_ready and not node.get("spec", {}).get("unschedulable")
