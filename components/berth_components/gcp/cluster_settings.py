"""What the args of `GkeCluster` come to: checked once, with every default filled in."""

import ipaddress
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from berth_components import checks
from berth_components.arguments import Arguments, Check, Refusal, combine
from berth_components.gcp import checks as gcp_checks
from berth_components.gcp.cluster_args import (
    GkeAccessArgs,
    GkeClusterArgs,
    GkeEncryptionArgs,
    GkeMaintenanceArgs,
    GkeNetworkArgs,
    GkeSystemPoolArgs,
)
from berth_components.gcp.maintenance import Maintenance, read_maintenance
from berth_components.gcp.shared import needed, needed_input

WITH_EXISTING = (
    *("project", "location", "project_number", "existing", "access"),
    *("node_service_account", "image_repositories"),
)
"""What can be said of a cluster that is there already."""
DISK_TYPES = ("pd-balanced", "pd-ssd", "pd-standard", "hyperdisk-balanced")
_LOGS = ("SYSTEM_COMPONENTS", "WORKLOADS", "APISERVER", "CONTROLLER_MANAGER", "SCHEDULER", "KCP_VPA")
_METRICS = (
    *("SYSTEM_COMPONENTS", "APISERVER", "CONTROLLER_MANAGER", "SCHEDULER", "STORAGE", "HPA", "POD"),
    *("DEPLOYMENT", "KUBELET", "CADVISOR", "DCGM", "DAEMONSET", "STATEFULSET", "JOBSET"),
)
# The first of these need no collector in the cluster.
_WITHOUT_COLLECTORS = 4
_NODES = checks.whole_number(1, 1000, "nodes")


@dataclass(frozen=True)
class NewNetwork:
    """A network that is made: its three ranges."""

    subnet_cidr: pulumi.Input[str]
    pods_cidr: pulumi.Input[str]
    services_cidr: pulumi.Input[str]
    nat: bool
    flow_logs: pulumi.Input[bool]


@dataclass(frozen=True)
class GivenNetwork:
    """A network that is there: its names."""

    network: pulumi.Input[str]
    subnetwork: pulumi.Input[str]
    pods_range: pulumi.Input[str]
    services_range: pulumi.Input[str]


@dataclass(frozen=True)
class Access:
    """Ways to the control plane."""

    dns_endpoint: bool
    ip_endpoints: bool
    private_endpoint: bool
    authorized_networks: pulumi.Input[Mapping[str, str]]


@dataclass(frozen=True)
class Encryption:
    """The key; None where one is made."""

    key: pulumi.Input[str] | None
    rotation_period: pulumi.Input[str]
    grant_access: bool
    boot_disks: bool


@dataclass(frozen=True)
class SystemPool:
    """Nodes without accelerators."""

    machine_type: pulumi.Input[str]
    min_nodes: int
    max_nodes: int
    disk_size_gb: pulumi.Input[int]
    disk_type: pulumi.Input[str]


@dataclass(frozen=True)
class Place:
    """Where a cluster is; what new and existing ones have in common."""

    project: pulumi.Input[str]
    project_number: pulumi.Input[str] | None
    location: str
    node_service_account: pulumi.Input[str] | None
    image_repositories: Sequence[str] | None

    @property
    def region(self) -> str:
        """The region that the location is, or lies in."""
        return gcp_checks.region_of(self.location)


@dataclass(frozen=True)
class NewCluster:
    """A cluster that is made."""

    name: pulumi.Input[str]
    release_channel: pulumi.Input[str]
    min_version: pulumi.Input[str] | None
    zones: Sequence[str]
    network: NewNetwork | GivenNetwork
    access: Access
    encryption: Encryption
    logging: pulumi.Input[Sequence[str]]
    monitoring: pulumi.Input[Sequence[str]]
    managed_prometheus: bool
    maintenance: Maintenance
    deletion_protection: pulumi.Input[bool]
    system_pool: SystemPool
    cost_allocation: pulumi.Input[bool]
    security_posture: pulumi.Input[str]
    binary_authorization: pulumi.Input[str]
    gcs_fuse: pulumi.Input[bool]


def initial_per_zone(least: int, most: int, zones: int) -> int:
    """Nodes per zone to begin with: at least the minimum if that does not exceed the maximum.

    GKE creates the same number in each zone, and refuses more than the pool's maximum. With fewer than the
    minimum the autoscaler adds the rest as soon as a pod needs a node, and never goes below it afterwards.
    """
    up = math.ceil(least / zones)
    return up if up * zones <= most else least // zones


def read_place(given: Arguments) -> Place:
    """Check what new and existing clusters have in common.

    Raises:
        ArgumentError: an argument is missing or not allowed.
    """
    if "node_service_account" in given and "image_repositories" in given:
        raise given.refuse(
            "image_repositories",
            "given",
            "only for an account made here",
            "node_service_account is yours: grant roles/artifactregistry.reader to it yourself",
        )
    repositories = checks.list_of(gcp_checks.repository)
    return Place(
        project=needed_input(given, "project", gcp_checks.project_id),
        project_number=given.maybe("project_number", gcp_checks.project_number),
        location=needed(given, "location", gcp_checks.location),
        node_service_account=given.maybe("node_service_account", gcp_checks.account_email),
        image_repositories=needed(given, "image_repositories", repositories)
        if "image_repositories" in given
        else None,
    )


def read_existing(given: Arguments) -> tuple[pulumi.Input[str], bool]:
    """The name of the cluster that is there, and whether its DNS endpoint is used.

    Raises:
        ArgumentError: an argument is not allowed, or would change the cluster.
    """
    for key in GkeClusterArgs.__optional_keys__:
        if key in given and key not in WITH_EXISTING:
            raise given.refuse(
                key, "given", "only for a new cluster", "an existing one is looked up, never changed"
            )
    access = given.group("access", GkeAccessArgs)
    for key in ("ip_endpoints", "private_endpoint", "authorized_networks"):
        if key in access:
            raise access.refuse(
                key, "given", "only for a new cluster", "an existing one is looked up, never changed"
            )
    name = needed_input(given, "existing", gcp_checks.cluster_name)
    return name, access.plain("dns_endpoint", checks.boolean, default=True)


def read_new(given: Arguments, name: str, place: Place) -> NewCluster:
    """Check the args of a cluster that is made.

    Raises:
        ArgumentError: an argument is missing, not allowed, or contradicts another one.
    """
    channels = checks.choice("RAPID", "REGULAR", "STABLE", "EXTENDED")
    version = checks.text(
        r"1\.[0-9]{2}(\.[0-9]+(-gke\.[0-9]+)?)?", "a version such as 1.35 or 1.35.2-gke.100"
    )
    posture = checks.choice("DISABLED", "BASIC", "ENTERPRISE")
    admission = checks.choice("DISABLED", "PROJECT_SINGLETON_POLICY_ENFORCE")
    managed = given.plain("managed_prometheus", checks.boolean, default=True)
    return NewCluster(
        name=given.read("name", gcp_checks.cluster_name, name),
        release_channel=given.read("release_channel", channels, "REGULAR"),
        min_version=given.maybe("min_version", version),
        zones=_zones(given, place),
        network=_network(given.group("network", GkeNetworkArgs)),
        access=_access(given.group("access", GkeAccessArgs)),
        encryption=_encryption(given.group("encryption", GkeEncryptionArgs)),
        logging=given.read("logging", _components(_LOGS), _LOGS[:5]),
        monitoring=_monitoring(given, collected=managed),
        managed_prometheus=managed,
        maintenance=read_maintenance(given.group("maintenance", GkeMaintenanceArgs)),
        deletion_protection=given.read("deletion_protection", checks.boolean, default=True),
        system_pool=_system_pool(given.group("system_pool", GkeSystemPoolArgs)),
        cost_allocation=given.read("cost_allocation", checks.boolean, default=True),
        security_posture=given.read("security_posture", posture, "BASIC"),
        binary_authorization=given.read("binary_authorization", admission, "DISABLED"),
        gcs_fuse=given.read("gcs_fuse", checks.boolean, default=False),
    )


def read_zones(given: Arguments, location: str) -> Sequence[str]:
    """The zones that were given, each in the region of a location.

    Raises:
        ArgumentError: one is no zone, is named twice, or lies elsewhere.
    """
    zones = needed(given, "zones", checks.list_of(gcp_checks.zone, at_least=1))
    region = gcp_checks.region_of(location)
    for zone in zones:
        if gcp_checks.region_of(zone) != region:
            raise given.refuse("zones", repr(zone), f"zones of {region}, where the cluster is")
    if len(set(zones)) < len(zones):
        raise given.refuse("zones", list(zones), "each zone once")
    return zones


def _zones(given: Arguments, place: Place) -> Sequence[str]:
    if "zones" not in given:
        return ()
    zones = read_zones(given, place.location)
    if gcp_checks.is_zone(place.location):
        if place.location not in zones:
            raise given.refuse(
                "zones", list(zones), f"a list with the cluster's own zone, {place.location}, in it"
            )
        # The API wants the further zones only: the cluster's own one is always there.
        return [zone for zone in zones if zone != place.location]
    return zones


def _network(given: Arguments) -> NewNetwork | GivenNetwork:
    names = ("network", "subnetwork", "pods_range", "services_range")
    making = ("subnet_cidr", "pods_cidr", "services_cidr", "nat", "flow_logs")
    named = [key for key in names if key in given]
    if named:
        for key in making:
            if key in given:
                raise given.refuse(
                    key, "given", f"only without {named[0]}", "an existing network is not changed"
                )
        return GivenNetwork(
            network=needed_input(given, "network", checks.plain_text),
            subnetwork=needed_input(given, "subnetwork", checks.plain_text),
            pods_range=needed_input(given, "pods_range", gcp_checks.range_name),
            services_range=needed_input(given, "services_range", gcp_checks.range_name),
        )
    subnet = given.read("subnet_cidr", gcp_checks.ipv4_range, "10.0.0.0/20")
    pods = given.read("pods_cidr", gcp_checks.ipv4_range, "10.4.0.0/14")
    services = given.read("services_cidr", gcp_checks.ipv4_range, "10.8.0.0/20")

    def apart(subnet: str, pods: str, services: str) -> str:
        ranges = {"subnet_cidr": subnet, "pods_cidr": pods, "services_cidr": services}
        for (one, left), (other, right) in itertools.combinations(ranges.items(), 2):
            if ipaddress.IPv4Network(left).overlaps(ipaddress.IPv4Network(right)):
                raise given.refuse(other, right, f"a range apart from {one}, which is {left}")
        return services

    return NewNetwork(
        subnet_cidr=subnet,
        pods_cidr=pods,
        services_cidr=combine(apart, subnet, pods, services),
        nat=given.plain("nat", checks.boolean, default=True),
        flow_logs=given.read("flow_logs", checks.boolean, default=True),
    )


def _access(given: Arguments) -> Access:
    dns = given.plain("dns_endpoint", checks.boolean, default=True)
    addresses = given.plain("ip_endpoints", checks.boolean, default=True)
    private = given.plain("private_endpoint", checks.boolean, default=True)
    empty: Mapping[str, str] = {}
    networks = given.read("authorized_networks", gcp_checks.named_ranges, empty)
    if not addresses:
        if not dns:
            raise given.refuse("ip_endpoints", False, "True", "without the DNS endpoint nobody gets in")
        for key in ("private_endpoint", "authorized_networks"):
            if key in given:
                raise given.refuse(key, "given", "only with ip_endpoints", "the control plane has no address")

    def somebody(known: Mapping[str, str]) -> Mapping[str, str]:
        if not private and not known:
            raise given.refuse(
                "authorized_networks",
                "empty",
                "at least one range by name",
                "private_endpoint is False: the control plane has an address on the internet",
            )
        return known

    return Access(dns, addresses, private, combine(somebody, networks))


def _encryption(given: Arguments) -> Encryption:
    key = given.maybe("key", gcp_checks.kms_key)
    if key is not None and "rotation_days" in given:
        raise given.refuse("rotation_days", "given", "only for a key made here", "its owner rotates 'key'")
    if key is None and "grant_access" in given:
        raise given.refuse("grant_access", "given", "only with key", "a key made here is always granted")
    days = given.read("rotation_days", checks.whole_number(1, 365, "days"), 90)
    return Encryption(
        key=key,
        rotation_period=combine(_seconds, days),
        grant_access=given.plain("grant_access", checks.boolean, default=True),
        boot_disks=given.plain("boot_disks", checks.boolean, default=False),
    )


def _monitoring(given: Arguments, *, collected: bool) -> pulumi.Input[Sequence[str]]:
    usual = _METRICS[:11] if collected else _METRICS[:_WITHOUT_COLLECTORS]

    def sent(known: Sequence[str]) -> Sequence[str]:
        lost = [] if collected else [one for one in known if one not in usual]
        if lost:
            raise given.refuse(
                "monitoring",
                list(known),
                f"only {', '.join(usual)} without managed_prometheus",
                f"Google's collectors are what gathers {', '.join(lost)}",
            )
        return known

    return combine(sent, given.read("monitoring", _components(_METRICS), usual))


def _seconds(days: int) -> str:
    return f"{days * 86400}s"


def _components(allowed: Sequence[str]) -> Check[Sequence[str]]:
    each = checks.list_of(checks.choice(*allowed))

    def check(value: object) -> Sequence[str]:
        found = each(value)
        if "SYSTEM_COMPONENTS" not in found:
            raise Refusal("a list with SYSTEM_COMPONENTS in it", "GKE sends the others only beside it")
        if len(set(found)) < len(found):
            raise Refusal("each component once")
        return found

    return check


def _system_pool(given: Arguments) -> SystemPool:
    least = given.plain("min_nodes", _NODES, 1)
    most = given.plain("max_nodes", _NODES, max(3, least))
    if least > most:
        raise given.refuse("min_nodes", least, f"at most max_nodes, {most}")
    return SystemPool(
        machine_type=given.read("machine_type", gcp_checks.machine_type, "e2-standard-4"),
        min_nodes=least,
        max_nodes=most,
        disk_size_gb=given.read("disk_size_gb", checks.whole_number(20, 65536, "GB"), 100),
        disk_type=given.read("disk_type", checks.choice(*DISK_TYPES), "pd-balanced"),
    )
