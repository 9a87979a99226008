"""The network of a cluster: made here, or named.

Annotations stay unevaluated here, so that the SDK's package `compute`, by far its largest, is loaded only
where a network is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
from pulumi_gcp import compute

from berth_components.arguments import combine
from berth_components.gcp.cluster_settings import GivenNetwork, NewCluster, Place
from berth_components.gcp.shared import load_quietly

if TYPE_CHECKING:
    from collections.abc import Sequence

PODS = "pods"
SERVICES = "services"


@dataclass(frozen=True)
class ClusterNetwork:
    """What a cluster needs to know of its network, and what must be there before its nodes."""

    network: pulumi.Input[str]
    subnetwork: pulumi.Input[str]
    pods_range: pulumi.Input[str]
    services_range: pulumi.Input[str]
    before: Sequence[pulumi.Resource]


def cluster_network(
    prefix: str, place: Place, settings: NewCluster, parent: pulumi.Resource
) -> ClusterNetwork:
    """Make the network, or take the one that was named."""
    wanted = settings.network
    if isinstance(wanted, GivenNetwork):
        return ClusterNetwork(
            wanted.network, wanted.subnetwork, wanted.pods_range, wanted.services_range, before=[]
        )
    load_quietly(lambda: compute.Network)
    child = pulumi.ResourceOptions(parent=parent)
    network = compute.Network(
        f"{prefix}-network",
        name=settings.name,
        project=place.project,
        auto_create_subnetworks=False,
        routing_mode="REGIONAL",
        opts=child,
    )
    subnetwork = compute.Subnetwork(
        f"{prefix}-subnet",
        name=settings.name,
        project=place.project,
        region=place.region,
        network=network.id,
        ip_cidr_range=wanted.subnet_cidr,
        secondary_ip_ranges=[
            compute.SubnetworkSecondaryIpRangeArgs(range_name=PODS, ip_cidr_range=wanted.pods_cidr),
            compute.SubnetworkSecondaryIpRangeArgs(range_name=SERVICES, ip_cidr_range=wanted.services_cidr),
        ],
        private_ip_google_access=True,
        log_config=combine(_flow_logs, wanted.flow_logs),
        opts=child,
    )
    nat = _nat(prefix, place, settings.name, network, subnetwork, opts=child) if wanted.nat else None
    return ClusterNetwork(
        network=network.id,
        subnetwork=subnetwork.id,
        pods_range=PODS,
        services_range=SERVICES,
        before=[nat] if nat else [],
    )


def _flow_logs(wanted: bool) -> compute.SubnetworkLogConfigArgs | None:
    if not wanted:
        return None
    return compute.SubnetworkLogConfigArgs(
        aggregation_interval="INTERVAL_10_MIN", flow_sampling=0.1, metadata="INCLUDE_ALL_METADATA"
    )


def _nat(
    prefix: str,
    place: Place,
    name: pulumi.Input[str],
    network: compute.Network,
    subnetwork: compute.Subnetwork,
    *,
    opts: pulumi.ResourceOptions,
) -> compute.RouterNat:
    router = compute.Router(
        f"{prefix}-router",
        name=name,
        project=place.project,
        region=place.region,
        network=network.id,
        opts=opts,
    )
    return compute.RouterNat(
        f"{prefix}-nat",
        name=name,
        project=place.project,
        region=place.region,
        router=router.name,
        nat_ip_allocate_option="AUTO_ONLY",
        source_subnetwork_ip_ranges_to_nat="LIST_OF_SUBNETWORKS",
        subnetworks=[
            compute.RouterNatSubnetworkArgs(name=subnetwork.id, source_ip_ranges_to_nats=["ALL_IP_RANGES"])
        ],
        # A model's download opens many connections to one address; 64 ports, the default, may run out.
        enable_dynamic_port_allocation=True,
        min_ports_per_vm=128,
        max_ports_per_vm=4096,
        enable_endpoint_independent_mapping=False,
        log_config=compute.RouterNatLogConfigArgs(enable=True, filter="ERRORS_ONLY"),
        opts=opts,
    )
