"""Where a cluster's nodes can be reached."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from berth.operations.errors import NoNodeError
from berth.operations.kube import KubeReader
from berth.operations.kubeconfig import read_access

Json = dict[str, Any]


def node_address(kubeconfig: Path, context: str = "") -> str:
    """Return the internal address of a node that is Ready and takes pods: NodePorts answer there.

    Not to be called where an event loop runs. Whether this machine has a route to it, no cluster knows.

    Raises:
        NoNodeError: the cluster has no such node.
        KubeconfigError, ClusterReadError: the cluster cannot be read.
    """
    return address_among(asyncio.run(_nodes(str(kubeconfig), context)), context or "the current context")


async def _nodes(kubeconfig: str, context: str) -> list[Json]:
    async with KubeReader(await read_access(kubeconfig, context)) as reader:
        return (await reader.get("/api/v1/nodes")).get("items") or []


def address_among(nodes: Sequence[Json], context: str) -> str:
    """Return the internal address of the first node, by name, that is Ready and takes pods.

    Raises:
        NoNodeError: there is none; it says of each node why not.
    """
    said = []
    for node in sorted(nodes, key=lambda one: str(one["metadata"]["name"])):
        addresses = node.get("status", {}).get("addresses") or []
        inside = [str(one["address"]) for one in addresses if one.get("type") == "InternalIP"]
        reason = _why_not(node) or ("" if inside else "has no InternalIP")
        if not reason:
            return inside[0]
        said.append(f"{node['metadata']['name']} {reason}")
    if not said:
        raise NoNodeError(f"{context}: the cluster has no node. Add one; then run this again")
    raise NoNodeError(
        f"{context}: no node is Ready, takes pods and has an address: {'; '.join(said)}. "
        f"`kubectl --context {context} describe node` says more; run this again once one is Ready"
    )


def _why_not(node: Json) -> str:
    conditions = node.get("status", {}).get("conditions") or []
    ready: Json = next((one for one in conditions if one.get("type") == "Ready"), {})
    if ready.get("status") != "True":
        why = f" ({ready['reason']})" if ready.get("reason") else ""
        return f"is not Ready{why}"
    return "is cordoned" if node.get("spec", {}).get("unschedulable") else ""
