"""Where the nodes of a cluster can be reached."""

from berth.operations.errors import ClusterReadError
from berth.operations.kube import KubeReader
from berth.operations.kubeconfig import read_access


async def node_address(kubeconfig: str, context: str = "") -> str:
    """Return an address of a node, where NodePorts answer: an external one if there is any, else an internal one.

    Args:
        kubeconfig: path of a kubeconfig, or its contents.
        context: of the kubeconfig; `""` is its current one.

    Raises:
        KubeconfigError: the kubeconfig cannot be used.
        ClusterReadError: the cluster does not answer, does not show its nodes, or none has an address.
    """
    async with KubeReader(await read_access(kubeconfig, context)) as reader:
        nodes = (await reader.get("/api/v1/nodes")).get("items") or []
    found = {
        entry["type"]: entry["address"]
        for node in nodes
        for entry in node.get("status", {}).get("addresses", [])
    }
    for kind in ("ExternalIP", "InternalIP"):
        if kind in found:
            return str(found[kind])
    raise ClusterReadError(
        f"none of the {len(nodes)} nodes of the context {context or '(current)'} says an address; "
        "set sites.<site>.nodeAddress in the stack's file"
    )
