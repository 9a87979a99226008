"""The namespace of the node agents: the one place of monitoring that Pod Security does not restrict."""

from typing import NotRequired, TypedDict

import pulumi
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from berth_components import checks, network, pods
from berth_components.arguments import Arguments

DEFAULT = "berth-node-agents"
REASON = (
    "node agents read the host: its /proc, /sys and file systems (node exporter), its GPUs and the kubelet's "
    "list of who has them (DCGM exporter), its containers' logs (log shipper); Pod Security baseline and "
    "restricted allow no folder of the host"
)


class NodeAgentsArgs(TypedDict):
    """Args of `NodeAgents`."""

    name: NotRequired[pulumi.Input[str]]
    """The namespace's name. Default: berth-node-agents."""


class NodeAgents(pulumi.ComponentResource):
    """A namespace that admits what reads the host, says why, and lets no packet in or out by itself."""

    namespace: pulumi.Output[str]
    """The namespace's name, known once it and its default-deny policy exist."""

    def __init__(self, name: str, args: NodeAgentsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown or not allowed.
        """
        given = Arguments(f"NodeAgents '{name}'", args, NodeAgentsArgs)
        namespace = given.read("name", checks.dns_label, DEFAULT)
        super().__init__("berth:monitoring:NodeAgents", name, {}, opts)
        labels: dict[str, pulumi.Input[str]] = {"app.kubernetes.io/managed-by": "berth"}
        levels = {f"pod-security.kubernetes.io/{mode}": "privileged" for mode in ("enforce", "audit", "warn")}
        created = core.Namespace(
            f"{name}-namespace",
            metadata=meta.ObjectMetaArgs(
                name=namespace,
                labels={**labels, **levels},
                annotations={f"{pods.PREFIX}pod-security-reason": REASON},
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        policy = network.deny_all(
            name, namespace, labels, pulumi.ResourceOptions(parent=self, depends_on=[created])
        )
        self.namespace = pulumi.Output.all(namespace, created.urn, policy.urn).apply(
            lambda known: str(known[0])
        )
        self.register_outputs({"namespace": self.namespace})
