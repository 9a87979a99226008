"""Pieces of network policies: who may come in, where one may go.

Kubelet's probes come from the node itself and pass every policy by Kubernetes' own rule. A cluster whose
network plugin enforces no policy (the local one's bridge does not) accepts these objects and ignores them.
"""

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.networking import v1 as networking

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""Every namespace carries its own name under this label, and nobody can change it."""
# Where DNS is no pod that a policy could select: node-local caches; EKS Auto Mode, where nodes answer at the
# DNS Service's address: .10 of one of EKS' two default ranges (issue 2552 of aws/containers-roadmap; pull
# request 5538 of archestra-ai/archestra, 2026-06-12, tried it); Cloud DNS for GKE, which answers at the
# metadata server's address (issue 4000 of tektoncd/operator, 2026-08): port 53 gives names, no credentials.
_NODE_LOCAL = "169.254.20.10/32"
NAME_SERVERS = {
    "pods": (_NODE_LOCAL,),
    "eks": (_NODE_LOCAL, "10.100.0.10/32", "172.20.0.10/32"),
    "gke": (_NODE_LOCAL, "169.254.169.254/32"),
}
"""Addresses that answer beside the pods of kube-system, by what a cluster's DNS is."""
LINK_LOCAL = {4: "169.254.0.0/16", 6: "fe80::/10"}
"""Where the clouds' metadata servers are, among others."""
AWS_METADATA_V6 = "fd00:ec2::254/128"


def port(number: int | str) -> networking.NetworkPolicyPortArgs:
    """A TCP port, by number or by its name in the pod."""
    return networking.NetworkPolicyPortArgs(port=number, protocol="TCP")


def namespaces(names: Sequence[str]) -> list[networking.NetworkPolicyPeerArgs]:
    """All pods of the named namespaces."""
    return [
        networking.NetworkPolicyPeerArgs(
            namespace_selector=meta.LabelSelectorArgs(match_labels={NAMESPACE_LABEL: name})
        )
        for name in names
    ]


def labelled(namespace: pulumi.Input[str], labels: Mapping[str, str]) -> networking.NetworkPolicyPeerArgs:
    """Pods with some labels in a namespace."""
    return networking.NetworkPolicyPeerArgs(
        namespace_selector=meta.LabelSelectorArgs(match_labels={NAMESPACE_LABEL: namespace}),
        pod_selector=meta.LabelSelectorArgs(match_labels=labels),
    )


def app_in(namespace: pulumi.Input[str], app: str) -> networking.NetworkPolicyPeerArgs:
    """Pods of one application in a namespace."""
    return labelled(namespace, {"app.kubernetes.io/name": app})


def ranges(cidrs: Sequence[str]) -> list[networking.NetworkPolicyPeerArgs]:
    """Address ranges."""
    return [networking.NetworkPolicyPeerArgs(ip_block=networking.IPBlockArgs(cidr=cidr)) for cidr in cidrs]


def beside(labels: Mapping[str, pulumi.Input[str]]) -> networking.NetworkPolicyPeerArgs:
    """Pods of the same namespace, by their labels."""
    return networking.NetworkPolicyPeerArgs(pod_selector=meta.LabelSelectorArgs(match_labels=labels))


def names(dns: str) -> networking.NetworkPolicyEgressRuleArgs:
    """Where names are looked up, in a cluster whose DNS is one of `NAME_SERVERS`."""
    number = networking.NetworkPolicyPortArgs
    return networking.NetworkPolicyEgressRuleArgs(
        to=[*namespaces(["kube-system"]), *ranges(NAME_SERVERS[dns])],
        ports=[number(port=53, protocol="UDP"), number(port=53, protocol="TCP")],
    )


def everywhere_but_metadata() -> list[networking.NetworkPolicyPeerArgs]:
    """Every address except those where a cloud hands out credentials."""
    return [
        networking.NetworkPolicyPeerArgs(
            ip_block=networking.IPBlockArgs(cidr="0.0.0.0/0", except_=[LINK_LOCAL[4]])
        ),
        networking.NetworkPolicyPeerArgs(
            ip_block=networking.IPBlockArgs(cidr="::/0", except_=[LINK_LOCAL[6], AWS_METADATA_V6])
        ),
    ]


def private() -> list[networking.NetworkPolicyPeerArgs]:
    """Every private address, where nodes are: no address of the internet, and no metadata server."""
    ranges = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15")
    return [
        *(networking.NetworkPolicyPeerArgs(ip_block=networking.IPBlockArgs(cidr=one)) for one in ranges),
        networking.NetworkPolicyPeerArgs(
            ip_block=networking.IPBlockArgs(cidr="fc00::/7", except_=[AWS_METADATA_V6])
        ),
    ]


def deny_all(
    name: str,
    namespace: pulumi.Input[str],
    labels: dict[str, pulumi.Input[str]],
    opts: pulumi.ResourceOptions,
) -> networking.NetworkPolicy:
    """Nothing in, nothing out, for every pod of a namespace that no other policy names."""
    return networking.NetworkPolicy(
        f"{name}-default-deny",
        metadata=meta.ObjectMetaArgs(name="default-deny", namespace=namespace, labels=labels),
        spec=networking.NetworkPolicySpecArgs(
            pod_selector=meta.LabelSelectorArgs(), policy_types=["Ingress", "Egress"]
        ),
        opts=opts,
    )


def restricted_namespace(
    name: str,
    namespace: pulumi.Input[str],
    labels: dict[str, pulumi.Input[str]],
    opts: pulumi.ResourceOptions,
) -> core.Namespace:
    """A namespace in which the API server admits only pods that pass Pod Security "restricted"."""
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    return core.Namespace(
        f"{name}-namespace",
        metadata=meta.ObjectMetaArgs(name=namespace, labels={**labels, **levels}),
        opts=opts,
    )
