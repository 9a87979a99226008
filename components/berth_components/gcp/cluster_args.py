"""Args of `GkeCluster`. Each says its unit, its default and why."""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import pulumi


class GkeNetworkArgs(TypedDict):
    """Where the cluster's nodes, pods and Services have their addresses.

    Either a network is made here from three ranges, or `network`, `subnetwork`, `pods_range` and
    `services_range` name one that is there. A mixture is refused.
    """

    subnet_cidr: NotRequired[pulumi.Input[str]]
    """Addresses of the nodes. Default: 10.0.0.0/20, 4,092 nodes."""
    pods_cidr: NotRequired[pulumi.Input[str]]
    """Addresses of the pods. Default: 10.4.0.0/14, which holds 2,048 nodes of 64 pods."""
    services_cidr: NotRequired[pulumi.Input[str]]
    """Addresses of the Services. Default: 10.8.0.0/20, 4,096 Services."""
    nat: NotRequired[bool]
    """Whether private nodes reach the internet through Cloud NAT. Default: True, since weights and images
    are fetched from hubs and registries; False leaves Google's own services only (Private Google Access)."""
    flow_logs: NotRequired[pulumi.Input[bool]]
    """Whether a tenth of the subnet's flows is logged, in 10-minute sums. Default: True, for incident
    response; False saves what Cloud Logging asks for them."""
    network: NotRequired[pulumi.Input[str]]
    """An existing VPC network, by name or self link."""
    subnetwork: NotRequired[pulumi.Input[str]]
    """Its subnet in the cluster's region, by name or self link."""
    pods_range: NotRequired[pulumi.Input[str]]
    """Name of the subnet's secondary range for pods."""
    services_range: NotRequired[pulumi.Input[str]]
    """Name of the subnet's secondary range for Services."""


class GkeAccessArgs(TypedDict):
    """How people and pipelines reach the control plane."""

    dns_endpoint: NotRequired[bool]
    """Whether the DNS endpoint is open to callers that IAM lets in, and the kubeconfig uses it. Default:
    True: no address list to keep, no bastion host, and the caller must hold container.clusters.connect. For
    an existing cluster it says which of its endpoints the kubeconfig uses."""
    ip_endpoints: NotRequired[bool]
    """Whether the control plane has addresses at all. Default: True, which serves clients inside the
    network. False needs the DNS endpoint."""
    private_endpoint: NotRequired[bool]
    """Whether the control plane's address is a private one only. Default: True. False puts it on the
    internet, and then `authorized_networks` must name who may call."""
    authorized_networks: NotRequired[pulumi.Input[Mapping[str, pulumi.Input[str]]]]
    """Address ranges that may call the control plane's addresses, by the name of who is there, such as
    {"office": "198.51.100.0/24"}. Default: none besides the cluster's own nodes. Everybody (0.0.0.0/0, ::/0,
    also in pieces) is refused."""


class GkeEncryptionArgs(TypedDict):
    """The key of Cloud KMS that encrypts Kubernetes' Secrets in the control plane's database."""

    key: NotRequired[pulumi.Input[str]]
    """A key that is there, as projects/…/cryptoKeys/<key>. Default: one is made in the cluster's region."""
    rotation_days: NotRequired[pulumi.Input[int]]
    """Days between rotations of the key that is made, 1 to 365. Default: 90."""
    grant_access: NotRequired[bool]
    """Whether Google's service agents get the right to use the key here. Default: True; False where whoever
    owns `key` has granted it. A key that is made here is always granted."""
    boot_disks: NotRequired[bool]
    """Whether the key also encrypts the nodes' boot disks: the system pool's, and those of GPU pools that are
    given the output `boot_disk_kms_key`. Default: False: Google's own keys encrypt them."""


class GkeMaintenanceExclusionArgs(TypedDict):
    """A time in which GKE does not upgrade by itself."""

    name: pulumi.Input[str]
    """Name of the exclusion."""
    start: pulumi.Input[str]
    """When it begins, UTC, such as 2026-12-20T00:00:00Z."""
    end: pulumi.Input[str]
    """When it ends, UTC."""
    scope: NotRequired[pulumi.Input[str]]
    """NO_UPGRADES (none at all), NO_MINOR_UPGRADES, or NO_MINOR_OR_NODE_UPGRADES (default: the control plane
    still gets its security patches)."""


class GkeMaintenanceArgs(TypedDict):
    """When GKE may upgrade control plane and nodes."""

    start: NotRequired[str]
    """Begin of the window, UTC, HH:MM. Default: 02:00."""
    hours: NotRequired[int]
    """Length of the window in hours, 4 to 24: GKE counts no shorter one. Default: 4."""
    days: NotRequired[Sequence[str]]
    """Days of the week: MO TU WE TH FR SA SU. Default: MO to TH, so that somebody is at work the next
    morning. Days and hours must give 48 hours in any 32 days: GKE refuses fewer."""
    exclusions: NotRequired[Sequence[GkeMaintenanceExclusionArgs]]
    """Times without upgrades, at most 20. Default: none."""


class GkeSystemPoolArgs(TypedDict):
    """The pool of plain nodes for GKE's own pods, the metrics adapter and whatever needs no accelerator."""

    machine_type: NotRequired[pulumi.Input[str]]
    """Machine type. Default: e2-standard-4."""
    min_nodes: NotRequired[int]
    """Fewest nodes in all zones together, 1 to 1000. Default: 1."""
    max_nodes: NotRequired[int]
    """Most nodes in all zones together, up to 1000. Default: 3."""
    disk_size_gb: NotRequired[pulumi.Input[int]]
    """Boot disk in GB, 20 to 65536. Default: 100."""
    disk_type: NotRequired[pulumi.Input[str]]
    """pd-balanced (default), pd-ssd, pd-standard or hyperdisk-balanced."""


class GkeClusterArgs(TypedDict):
    """Args of `GkeCluster`."""

    project: pulumi.Input[str]
    """The project's ID."""
    location: str
    """A region (control plane and nodes in several zones) or a zone (one of each: for development)."""
    project_number: NotRequired[pulumi.Input[str]]
    """The project's number, a string. Default: looked up (resourcemanager.projects.get); given, a preview
    without credentials knows every name made of it."""
    existing: NotRequired[pulumi.Input[str]]
    """Name of a cluster that is there: it is looked up, never changed, and settings of new clusters are
    refused. Default: a new cluster is made."""
    name: NotRequired[pulumi.Input[str]]
    """The new cluster's name, up to 40 characters. Default: the component's name."""
    release_channel: NotRequired[pulumi.Input[str]]
    """Which versions GKE upgrades to: RAPID, REGULAR (default: tried in RAPID before), STABLE or EXTENDED."""
    min_version: NotRequired[pulumi.Input[str]]
    """Lowest Kubernetes version of the control plane, such as 1.35. Default: the channel's."""
    zones: NotRequired[Sequence[str]]
    """Zones of the nodes, in the cluster's region. Default: GKE's choice of three, or the cluster's zone."""
    network: NotRequired[GkeNetworkArgs]
    """Addresses and network. Default: a network is made."""
    access: NotRequired[GkeAccessArgs]
    """Who reaches the control plane. Default: the DNS endpoint, and a private address."""
    encryption: NotRequired[GkeEncryptionArgs]
    """Encryption of Secrets. Default: with a key made here. It cannot be switched off."""
    logging: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Components whose logs go to Cloud Logging. Default: SYSTEM_COMPONENTS, WORKLOADS, APISERVER,
    CONTROLLER_MANAGER, SCHEDULER; KCP_VPA besides. SYSTEM_COMPONENTS must be among them."""
    monitoring: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Components whose metrics go to Cloud Monitoring. Default: SYSTEM_COMPONENTS, APISERVER,
    CONTROLLER_MANAGER, SCHEDULER, STORAGE, HPA, POD, DEPLOYMENT, KUBELET, CADVISOR and DCGM (the GPUs' own
    metrics). SYSTEM_COMPONENTS must be among them."""
    managed_prometheus: NotRequired[bool]
    """Whether Google's collectors for Prometheus run in the cluster. Default: True. Without them GKE has the
    metrics of SYSTEM_COMPONENTS, APISERVER, CONTROLLER_MANAGER and SCHEDULER only; others are refused."""
    maintenance: NotRequired[GkeMaintenanceArgs]
    """When GKE may upgrade. Default: MO to TH, 02:00 to 06:00 UTC."""
    deletion_protection: NotRequired[pulumi.Input[bool]]
    """Whether a destroy is refused until this is False and applied. Default: True."""
    system_pool: NotRequired[GkeSystemPoolArgs]
    """Nodes without accelerators. Default: 1 to 3 of e2-standard-4."""
    node_service_account: NotRequired[pulumi.Input[str]]
    """E-mail address of the nodes' service account. Default: one is made, with
    roles/container.defaultNodeServiceAccount and nothing else but reading images."""
    image_repositories: NotRequired[Sequence[str]]
    """Repositories of Artifact Registry that the account made for the nodes may read, as
    projects/…/repositories/<name>. Default: all of the project. An empty list: none."""
    cost_allocation: NotRequired[pulumi.Input[bool]]
    """Whether the bill is broken down by namespace and label. Default: True."""
    security_posture: NotRequired[pulumi.Input[str]]
    """DISABLED, BASIC (default: Google lists what it finds wrong with workloads) or ENTERPRISE."""
    binary_authorization: NotRequired[pulumi.Input[str]]
    """DISABLED (default: the project's policy admits every image until somebody writes one) or
    PROJECT_SINGLETON_POLICY_ENFORCE."""
    gcs_fuse: NotRequired[pulumi.Input[bool]]
    """Whether pods can mount buckets (Cloud Storage FUSE). Default: False."""
