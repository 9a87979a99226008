"""What a pool of accelerator nodes on EKS can be told."""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import pulumi

from berth_components.node_pools import NodePoolArgs


class ReservationArgs(TypedDict):
    """Capacity that was bought in advance."""

    id: pulumi.Input[str]
    """The reservation, cr-…. The pool's subnets must be in its zone."""
    kind: str
    """capacity-block (a Capacity Block for ML; EKS empties the pool 40 minutes before its end) or on-demand
    (an On-Demand Capacity Reservation)."""


class EksNodePoolArgs(NodePoolArgs):
    """Args of `EksNodePool`, besides those of every pool."""

    cluster_name: pulumi.Input[str]
    """The cluster: `EksCluster.cluster_name`."""
    node_role_arn: pulumi.Input[str]
    """Role of the nodes: `EksCluster.node_role_arn`."""
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    """Private subnets of the nodes: `EksCluster.subnet_ids`, or those in zones that offer the machine."""
    scaling: NotRequired[str]
    """cluster-autoscaler (default) or auto-mode, as the cluster's."""
    security_group_ids: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Security groups of the nodes: `EksCluster.security_group_ids`. Required with auto-mode; else EKS puts
    nodes into the cluster's own, and it is refused."""
    machine_type: NotRequired[str]
    """Type of machine; it must have exactly the accelerators that the pool says. Default: the catalogue's
    smallest one that has."""
    disk_size_gib: NotRequired[pulumi.Input[int]]
    """Size of each node's disk, 50 to 16384 GiB: images of GPU engines take tens of GiB. Default: 200."""
    volume_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key of the disks; its policy must let Auto Scaling's service-linked role use it (with auto-mode the
    cluster's role). Default: AWS's own key for EBS. They are always encrypted."""
    reservation: NotRequired[ReservationArgs]
    """Required with capacity_type reserved, else refused."""
    max_unavailable: NotRequired[int]
    """Nodes that an update may replace at a time, 1 to 100. Default: 1. Pods' disruption budgets hold
    besides."""
    update_strategy: NotRequired[str]
    """surge (default): new nodes come before old ones are drained, up to two per zone of the pool at a time
    and above max_nodes. minimal: the old one goes first, where no further machine is to be had. Refused with
    auto-mode."""
    node_repair: NotRequired[bool]
    """Whether EKS replaces nodes that are broken, also where only the accelerator is, which needs the add-on
    eks-node-monitoring-agent (`EksCluster` makes it; an existing cluster brings its own). Default: True.
    Refused with auto-mode, which always does."""
    kubernetes_version: NotRequired[pulumi.Input[str]]
    """Version of the nodes, so that they are upgraded apart from the control plane. Default: the cluster's
    when they are made. Refused with auto-mode."""
    ami_release: NotRequired[pulumi.Input[str]]
    """Release of the machine image, such as 1.34.1-20251007; it brings the driver. Default: the newest when
    the pool is made. Refused with auto-mode."""
    expire_after_hours: NotRequired[int]
    """auto-mode only: age at which a node is replaced, 1 to 504 hours, so that it gets security fixes.
    Default: 336."""
    tags: NotRequired[Mapping[str, pulumi.Input[str]]]
    """AWS tags of the pool, its machines and disks. Default: none. Refused with auto-mode, whose roles may
    not set any."""
