"""What an EKS cluster can be told.

A value may be a `pulumi.Output`; one whose type is not `pulumi.Input` must be known when the program runs,
since it decides which objects there are.
"""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import pulumi


class VpcArgs(TypedDict):
    """A VPC of the cluster's own: a private and a public subnet in each zone, tagged for load balancers."""

    cidr: str
    """Its addresses, /16 to /20. A pod takes one of them each; a quarter goes to each zone."""
    zones: Sequence[str]
    """Two or three availability zones by name, such as eu-central-1a, that offer the pools' machines."""
    nat: NotRequired[str]
    """NAT gateways: single (default; losing its zone cuts the others off) or per-zone (for production)."""
    endpoints: NotRequired[Sequence[str]]
    """AWS services that are reached without NAT. Default: s3, which costs nothing. The others are billed by
    the hour and zone: ecr.api, ecr.dkr, sts, ec2, logs, eks, eks-auth, elasticloadbalancing, autoscaling,
    kms."""


class SystemNodesArgs(TypedDict):
    """Nodes without accelerators, for CoreDNS, gateways, autoscalers and so on."""

    machine_type: NotRequired[str]
    """Type of machine, x86-64. Default: m6i.large."""
    min_nodes: NotRequired[int]
    """Fewest nodes, 1 to 100. Default: 2, so that CoreDNS outlives a node."""
    max_nodes: NotRequired[int]
    """Most nodes, 1 to 100. Default: 6."""
    disk_size_gib: NotRequired[pulumi.Input[int]]
    """Size of each root volume, 20 to 16384 GiB. Default: 50."""


class EksClusterArgs(TypedDict):
    """Args of `EksCluster`. The provider comes by the options: `pulumi.ResourceOptions(provider=…)`."""

    name: NotRequired[str]
    """Name of the cluster in AWS. Default: the component's name."""
    existing: NotRequired[bool]
    """True: the cluster is there and is looked up by its name; nothing is created in AWS. Only name, scaling
    and node_role_arn go with it. Default: False."""
    scaling: NotRequired[str]
    """Who adds nodes: cluster-autoscaler (default; add a `ClusterAutoscaler`) or auto-mode (EKS does)."""
    node_role_arn: NotRequired[pulumi.Input[str]]
    """Role of the nodes. Required with existing, where pools need it; else it is made."""
    version: NotRequired[pulumi.Input[str]]
    """Kubernetes version, such as 1.34. Required, so that an upgrade is always a decision."""
    support: NotRequired[pulumi.Input[str]]
    """What happens when the version's standard support ends: extended (default; AWS bills more per hour) or
    standard (AWS upgrades the cluster by itself)."""
    vpc: NotRequired[VpcArgs]
    """A VPC that is made here. Exactly one of vpc and subnet_ids."""
    subnet_ids: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Private subnets that exist, in at least two zones, with a way to AWS's APIs and registries."""
    public_cidrs: NotRequired[Sequence[str]]
    """Addresses that reach the Kubernetes API from outside the VPC. Default: none, the endpoint is private.
    The whole internet is refused."""
    admin_arns: NotRequired[Sequence[str]]
    """IAM roles and users that administer the cluster; the one that runs `pulumi up` must be among them.
    Required: nobody gets in by having created it."""
    secrets_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key that encrypts Kubernetes Secrets. Default: one is made, rotated every year. Neither can be
    taken away again from a cluster."""
    log_retention_days: NotRequired[pulumi.Input[int]]
    """How long the control plane's logs are kept, in days: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365,
    400, 545, 731, 1096, 1827 or 3653. Default: 90. All five logs are always written."""
    deletion_protection: NotRequired[pulumi.Input[bool]]
    """Whether AWS refuses to delete the cluster until this is set to False. Default: True."""
    addon_versions: NotRequired[Mapping[str, str]]
    """Versions of the add-ons by name, such as {"vpc-cni": "v1.20.4-eksbuild.1"}. Default: AWS's default for
    the Kubernetes version. The names: vpc-cni, kube-proxy, coredns, eks-pod-identity-agent,
    aws-ebs-csi-driver, eks-node-monitoring-agent (v1.3.0 at least), metrics-server; with auto-mode only the
    last, EKS runs the others itself."""
    system_nodes: NotRequired[SystemNodesArgs]
    """Nodes for everything without an accelerator. Refused with auto-mode, which makes them by itself."""
    tags: NotRequired[Mapping[str, pulumi.Input[str]]]
    """AWS tags of everything that is made here. Default: none."""
