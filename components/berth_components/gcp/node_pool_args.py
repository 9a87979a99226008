"""Args of `GkeNodePool`. Each says its unit, its default and why."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import pulumi

from berth_components.node_pools import NodePoolArgs


class GkeUpgradeArgs(TypedDict):
    """How GKE replaces the pool's nodes in an upgrade of Kubernetes, and of the driver that comes with it."""

    strategy: NotRequired[str]
    """surge (default) or blue-green: a second set of nodes stands beside the first one, which is drained
    and kept for a while; it needs quota, and capacity, for twice the nodes."""
    max_surge: NotRequired[pulumi.Input[int]]
    """Of surge: further nodes during an upgrade, 0 to 20. Default: 1, so that no capacity is lost; 0 for
    reserved capacity, which has no further machine."""
    max_unavailable: NotRequired[pulumi.Input[int]]
    """Of surge: nodes that may be missing meanwhile, 0 to 20. Default: 0; 1 for reserved capacity."""
    batch_nodes: NotRequired[pulumi.Input[int]]
    """Of blue-green: nodes that are drained at a time. Default: 1."""
    batch_soak_seconds: NotRequired[pulumi.Input[int]]
    """Of blue-green: wait after each batch, 0 to 604800 seconds. Default: 300, about a model's start."""
    soak_seconds: NotRequired[pulumi.Input[int]]
    """Of blue-green: how long the drained nodes stay for a way back, 0 to 604800 seconds. Default: 3600."""


class GkeNodePoolArgs(NodePoolArgs):
    """Args of `GkeNodePool`: those of every pool, and these.

    min_nodes and max_nodes count the nodes of all zones together.
    """

    cluster: pulumi.Input[str]
    """The cluster's ID (projects/…/clusters/<name>) or name: the output `cluster_id` of `GkeCluster`."""
    project: pulumi.Input[str]
    """The project's ID."""
    location: str
    """The cluster's location: a region or a zone."""
    service_account: pulumi.Input[str]
    """E-mail address of the nodes' service account: the output `node_service_account` of `GkeCluster`."""
    machine_type: NotRequired[str]
    """Machine type; it must have exactly this accelerator, this often. Default: the smallest of the
    catalogue that has."""
    zones: NotRequired[Sequence[str]]
    """Zones of the nodes. Default: those of the cluster's region that offer the machine, by the catalogue's
    dated data; where they say nothing it must be given."""
    reservation: NotRequired[str]
    """For capacity_type reserved, and needed then: the reservation's name, or
    projects/<project>/reservations/<name> of another project's shared one."""
    location_policy: NotRequired[str]
    """How further nodes are spread over zones: any (default for spot and reserved: wherever there is
    capacity, unused reservations first) or balanced (default for on-demand)."""
    driver: NotRequired[str]
    """NVIDIA driver that GKE installs: default (what GKE qualified for the node's version; the default),
    latest, or disabled (you install it yourself). Refused for TPUs, which need none."""
    disk_size_gb: NotRequired[pulumi.Input[int]]
    """Boot disk in GB, 50 to 65536. Default: 200: images of engines have 10 GB and more, and pods' scratch
    space is on it, unless there are local SSDs."""
    disk_type: NotRequired[str]
    """pd-balanced, pd-ssd or hyperdisk-balanced. Default: hyperdisk-balanced for machines that take no other
    (a3-ultragpu, ct6e), pd-balanced for the others."""
    boot_disk_kms_key: NotRequired[pulumi.Input[str]]
    """Key of Cloud KMS for the boot disk: the output `boot_disk_kms_key` of `GkeCluster`. Compute Engine's
    service agent must be allowed to use it. Default: Google's own keys encrypt it."""
    local_ssds: NotRequired[pulumi.Input[int]]
    """Local SSDs that back the pods' scratch space (emptyDir, writable layers), 375 GB each, 1 to 16, for g2
    and a2-highgpu machines. Default: none. The larger machines have a fixed number, which is GKE's affair."""
    image_streaming: NotRequired[pulumi.Input[bool]]
    """Whether containers start while their images still load (for images in Artifact Registry, with the API
    containerfilesystem.googleapis.com enabled). Default: False."""
    secure_boot: NotRequired[pulumi.Input[bool]]
    """Whether nodes load only kernel modules that Google signed. Default: True; False for a driver of your
    own."""
    max_pods: NotRequired[pulumi.Input[int]]
    """Most pods per node, 16 to 256. Default: 64: GKE sets aside twice as many addresses for each node."""
    spot_grace_seconds: NotRequired[int]
    """For capacity_type spot: seconds between Google's notice and the node's end, 30 or 120; the last 15 of
    them belong to GKE's own pods. Default: 30, Google's; 120 needs GKE 1.35.0-gke.1171000 or later."""
    upgrade: NotRequired[GkeUpgradeArgs]
    """How nodes are replaced in upgrades. Default: surge."""
