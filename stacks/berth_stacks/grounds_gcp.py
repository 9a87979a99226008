"""Settings of sites on Google Cloud: clusters on GKE and their pools.

The same keys as the components' args in `berth_components.gcp`, which check every value.
"""

from typing import Annotated

from berth_stacks.fields import Flag, KubernetesVersion, Settings, Text, Whole, limits, words

DISK_TYPES = ("pd-balanced", "pd-ssd", "pd-standard", "hyperdisk-balanced")


class GkeNetwork(Settings):
    """Where the cluster's nodes, pods and Services have their addresses.

    Either a network is made here from three ranges, or `network`, `subnetwork`, `podsRange` and
    `servicesRange` name one that is there. A mixture is refused.
    """

    subnet_cidr: Text | None = None
    """Addresses of the nodes. Default: 10.0.0.0/20, 4,092 nodes."""
    pods_cidr: Text | None = None
    """Addresses of the pods. Default: 10.4.0.0/14, which holds 2,048 nodes of 64 pods."""
    services_cidr: Text | None = None
    """Addresses of the Services. Default: 10.8.0.0/20, 4,096 Services."""
    nat: Flag | None = None
    """Whether private nodes reach the internet through Cloud NAT. Default: true, since weights and images
    are fetched from hubs and registries; false leaves Google's own services only (Private Google Access)."""
    flow_logs: Flag | None = None
    """Whether a tenth of the subnet's flows is logged, in 10-minute sums. Default: true, for incident
    response; false saves what Cloud Logging asks for them."""
    network: Text | None = None
    """An existing VPC network, by name or self link."""
    subnetwork: Text | None = None
    """Its subnet in the cluster's region, by name or self link."""
    pods_range: Text | None = None
    """Name of the subnet's secondary range for pods."""
    services_range: Text | None = None
    """Name of the subnet's secondary range for Services."""


class GkeAccess(Settings):
    """How people and pipelines reach the control plane."""

    dns_endpoint: Flag | None = None
    """Whether the DNS endpoint is open to callers that IAM lets in, and the kubeconfig uses it. Default:
    true: no address list to keep, no bastion host, and the caller must hold container.clusters.connect. For
    an existing cluster it says which of its endpoints the kubeconfig uses."""
    ip_endpoints: Flag | None = None
    """Whether the control plane has addresses at all. Default: true, which serves clients inside the
    network. false needs the DNS endpoint."""
    private_endpoint: Flag | None = None
    """Whether the control plane's address is a private one only. Default: true. false puts it on the
    internet, and then `authorizedNetworks` must name who may call."""
    authorized_networks: dict[Text, Text] | None = None
    """Address ranges that may call the control plane's addresses, by the name of who is there, such as
    {"office": "198.51.100.0/24"}. Default: none besides the cluster's own nodes. Everybody (0.0.0.0/0, ::/0,
    also in pieces) is refused."""


class GkeEncryption(Settings):
    """The key of Cloud KMS that encrypts Kubernetes' Secrets in the control plane's database."""

    key: Text | None = None
    """A key that is there, as projects/…/cryptoKeys/<key>. Default: one is made in the cluster's region."""
    rotation_days: Annotated[Whole, limits(1, 365)] | None = None
    """Days between rotations of the key that is made, 1 to 365. Default: 90."""
    grant_access: Flag | None = None
    """Whether Google's service agents get the right to use the key here. Default: true; false where whoever
    owns `key` has granted it. A key that is made here is always granted."""
    boot_disks: Flag | None = None
    """Whether the key also encrypts the nodes' boot disks: the system pool's, and those of GPU pools that are
    given the output `bootDiskKmsKey`. Default: false: Google's own keys encrypt them."""


class GkeMaintenanceExclusion(Settings):
    """A time in which GKE does not upgrade by itself."""

    name: Text
    """Name of the exclusion."""
    start: Text
    """When it begins, UTC, such as 2026-12-20T00:00:00Z."""
    end: Text
    """When it ends, UTC."""
    scope: Annotated[Text, words("NO_UPGRADES", "NO_MINOR_UPGRADES", "NO_MINOR_OR_NODE_UPGRADES")] | None = (
        None
    )
    """NO_UPGRADES (none at all), NO_MINOR_UPGRADES, or NO_MINOR_OR_NODE_UPGRADES (default: the control plane
    still gets its security patches)."""


class GkeMaintenance(Settings):
    """When GKE may upgrade control plane and nodes."""

    start: Text | None = None
    """Begin of the window, UTC, HH:MM. Default: 02:00."""
    hours: Annotated[Whole, limits(4, 24)] | None = None
    """Length of the window in hours, 4 to 24: GKE counts no shorter one. Default: 4."""
    days: list[Text] | None = None
    """Days of the week: MO TU WE TH FR SA SU. Default: MO to TH, so that somebody is at work the next
    morning. Days and hours must give 48 hours in any 32 days: GKE refuses fewer."""
    exclusions: list[GkeMaintenanceExclusion] | None = None
    """Times without upgrades, at most 20. Default: none."""


class GkeSystemPool(Settings):
    """The pool of plain nodes for GKE's own pods, the metrics adapter and whatever needs no accelerator."""

    machine_type: Text | None = None
    """Machine type. Default: e2-standard-4."""
    min_nodes: Annotated[Whole, limits(1, 1000)] | None = None
    """Fewest nodes in all zones together, 1 to 1000. Default: 1."""
    max_nodes: Annotated[Whole, limits(1, 1000)] | None = None
    """Most nodes in all zones together, up to 1000. Default: 3."""
    disk_size_gb: Annotated[Whole, limits(20, 65536)] | None = None
    """Boot disk in GB, 20 to 65536. Default: 100."""
    disk_type: Annotated[Text, words(*DISK_TYPES)] | None = None
    """pd-balanced (default), pd-ssd, pd-standard or hyperdisk-balanced."""


class Gke(Settings):
    """A cluster on GKE, made here or there already."""

    project: Text | None = None
    """The project's ID. Default: none, which is an open finding."""
    location: Text
    """A region (control plane and nodes in several zones) or a zone (one of each: for development)."""
    project_number: Text | None = None
    """The project's number, a string. Default: looked up (resourcemanager.projects.get); given, a preview
    without credentials knows every name made of it."""
    existing: Text | None = None
    """Name of a cluster that is there: it is looked up, never changed, and settings of new clusters are
    refused. Default: a new cluster is made."""
    name: Text | None = None
    """The new cluster's name, up to 40 characters. Default: <stack>-<site>."""
    release_channel: Annotated[Text, words("RAPID", "REGULAR", "STABLE", "EXTENDED")] | None = None
    """Which versions GKE upgrades to: RAPID, REGULAR (default: tried in RAPID before), STABLE or EXTENDED."""
    min_version: KubernetesVersion | None = None
    """Lowest Kubernetes version of the control plane, such as 1.35. Default: the channel's."""
    zones: list[Text] | None = None
    """Zones of the nodes, in the cluster's region. Default: GKE's choice of three, or the cluster's zone."""
    network: GkeNetwork | None = None
    """Addresses and network. Default: a network is made."""
    access: GkeAccess | None = None
    """Who reaches the control plane. Default: the DNS endpoint, and a private address."""
    encryption: GkeEncryption | None = None
    """Encryption of Secrets. Default: with a key made here. It cannot be switched off."""
    logging: list[Text] | None = None
    """Components whose logs go to Cloud Logging. Default: SYSTEM_COMPONENTS, WORKLOADS, APISERVER,
    CONTROLLER_MANAGER, SCHEDULER; KCP_VPA besides. SYSTEM_COMPONENTS must be among them."""
    monitoring: list[Text] | None = None
    """Components whose metrics go to Cloud Monitoring. Default: SYSTEM_COMPONENTS, APISERVER,
    CONTROLLER_MANAGER, SCHEDULER, STORAGE, HPA, POD, DEPLOYMENT, KUBELET, CADVISOR and DCGM (the GPUs' own
    metrics). SYSTEM_COMPONENTS must be among them."""
    managed_prometheus: Flag | None = None
    """Whether Google's collectors for Prometheus run in the cluster. Default: true."""
    maintenance: GkeMaintenance | None = None
    """When GKE may upgrade. Default: MO to TH, 02:00 to 06:00 UTC."""
    deletion_protection: Flag | None = None
    """Whether a destroy is refused until this is false and applied. Default: true."""
    system_pool: GkeSystemPool | None = None
    """Nodes without accelerators. Default: 1 to 3 of e2-standard-4."""
    node_service_account: Text | None = None
    """E-mail address of the nodes' service account. Default: one is made, with
    roles/container.defaultNodeServiceAccount and nothing else but reading images."""
    image_repositories: list[Text] | None = None
    """Repositories of Artifact Registry that the account made for the nodes may read, as
    projects/…/repositories/<name>. Default: all of the project. An empty list: none."""
    cost_allocation: Flag | None = None
    """Whether the bill is broken down by namespace and label. Default: true."""
    security_posture: Annotated[Text, words("DISABLED", "BASIC", "ENTERPRISE")] | None = None
    """DISABLED, BASIC (default: Google lists what it finds wrong with workloads) or ENTERPRISE."""
    binary_authorization: Annotated[Text, words("DISABLED", "PROJECT_SINGLETON_POLICY_ENFORCE")] | None = None
    """DISABLED (default: the project's policy admits every image until somebody writes one) or
    PROJECT_SINGLETON_POLICY_ENFORCE."""
    gcs_fuse: Flag | None = None
    """Whether pods can mount buckets (Cloud Storage FUSE). Default: false."""


class GkeUpgrade(Settings):
    """How GKE replaces the pool's nodes in an upgrade of Kubernetes, and of the driver that comes with it."""

    strategy: Annotated[Text, words("surge", "blue-green")] | None = None
    """surge (default) or blue-green: a second set of nodes stands beside the first one, which is drained
    and kept for a while; it needs quota, and capacity, for twice the nodes."""
    max_surge: Annotated[Whole, limits(0, 20)] | None = None
    """Of surge: further nodes during an upgrade, 0 to 20. Default: 1, so that no capacity is lost; 0 for
    reserved capacity, which has no further machine."""
    max_unavailable: Annotated[Whole, limits(0, 20)] | None = None
    """Of surge: nodes that may be missing meanwhile, 0 to 20. Default: 0; 1 for reserved capacity."""
    batch_nodes: Whole | None = None
    """Of blue-green: nodes that are drained at a time. Default: 1."""
    batch_soak_seconds: Annotated[Whole, limits(0, 604800)] | None = None
    """Of blue-green: wait after each batch, 0 to 604800 seconds. Default: 300, about a model's start."""
    soak_seconds: Annotated[Whole, limits(0, 604800)] | None = None
    """Of blue-green: how long the drained nodes stay for a way back, 0 to 604800 seconds. Default: 3600."""


class GkePool(Settings):
    """What only a pool on GKE has. Its min and max count the nodes of all zones together."""

    zones: list[Text] | None = None
    """Zones of the nodes. Default: those of the cluster's region that offer the machine, by the catalogue's
    dated data; where they say nothing it must be given."""
    reservation: Text | None = None
    """For capacity reserved, and needed then: the reservation's name, or
    projects/<project>/reservations/<name> of another project's shared one."""
    location_policy: Annotated[Text, words("any", "balanced")] | None = None
    """How further nodes are spread over zones: any (default for spot and reserved: wherever there is
    capacity, unused reservations first) or balanced (default for on-demand)."""
    driver: Annotated[Text, words("default", "latest", "disabled")] | None = None
    """NVIDIA driver that GKE installs: default (what GKE qualified for the node's version; the default),
    latest, or disabled (you install it yourself). Refused for TPUs, which need none."""
    disk_size_gb: Annotated[Whole, limits(50, 65536)] | None = None
    """Boot disk in GB, 50 to 65536. Default: 200: images of engines have 10 GB and more, and pods' scratch
    space is on it, unless there are local SSDs."""
    disk_type: Annotated[Text, words("pd-balanced", "pd-ssd", "hyperdisk-balanced")] | None = None
    """pd-balanced, pd-ssd or hyperdisk-balanced. Default: hyperdisk-balanced for machines that take no other
    (a3-ultragpu, ct6e), pd-balanced for the others."""
    local_ssds: Annotated[Whole, limits(1, 16)] | None = None
    """Local SSDs that back the pods' scratch space (emptyDir, writable layers), 375 GB each, 1 to 16, for g2
    and a2-highgpu machines. Default: none. The larger machines come with theirs, which GKE uses so."""
    image_streaming: Flag | None = None
    """Whether containers start while their images still load (for images in Artifact Registry, with the API
    containerfilesystem.googleapis.com enabled). Default: false."""
    secure_boot: Flag | None = None
    """Whether nodes load only kernel modules that Google signed. Default: true; false for a driver of your
    own."""
    max_pods: Annotated[Whole, limits(16, 256)] | None = None
    """Most pods per node, 16 to 256. Default: 64: GKE sets aside twice as many addresses for each node."""
    spot_grace_seconds: Whole | None = None
    """For capacity spot: seconds between Google's notice and the node's end, 30 or 120; the last 15 of
    them belong to GKE's own pods. Default: 30, Google's; 120 needs GKE 1.35.0-gke.1171000 or later."""
    upgrade: GkeUpgrade | None = None
    """How nodes are replaced in upgrades. Default: surge."""
