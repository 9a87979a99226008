"""A Kubernetes cluster on Google Cloud: made here, or one that is there."""

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_gcp import container

from berth_components.arguments import ArgumentError, Arguments, combine, filled
from berth_components.gcp.checks import is_zone
from berth_components.gcp.cluster_args import GkeClusterArgs
from berth_components.gcp.cluster_settings import (
    Access,
    NewCluster,
    initial_per_zone,
    read_existing,
    read_new,
    read_place,
)
from berth_components.gcp.encryption import ClusterKey, cluster_key
from berth_components.gcp.maintenance import Maintenance
from berth_components.gcp.network import ClusterNetwork, cluster_network
from berth_components.gcp.node_config import SCOPE, node_config
from berth_components.gcp.node_identity import NodeIdentity, node_identity
from berth_components.gcp.reaching import check_existing, kubeconfig_of_existing, kubeconfig_of_new
from berth_components.gcp.shared import cluster_provider, require_google
from berth_components.gcp.storage import hyperdisk_class

# GKE makes three zones' nodes for a region unless it is told which.
_ZONES_OF_A_REGION = 3
_LONGEST_NAME = 25


class GkeCluster(pulumi.ComponentResource):
    """A VPC-native cluster with private nodes, Dataplane V2, Workload Identity and encrypted Secrets.

    Pass Google's provider: `opts=pulumi.ResourceOptions(providers={"gcp": provider})`. GPU and TPU pools are
    `GkeNodePool`s beside it. GKE installs its device plugins itself. A new cluster gets a storage class for
    machines that take no persistent disks; `GkeNodePool.storage_class` names it.
    """

    provider: kubernetes.Provider
    """Pass it on: `opts=pulumi.ResourceOptions(providers={"kubernetes": cluster.provider})`."""
    kubeconfig: pulumi.Output[str]
    """A kubeconfig without a credential, for gke-gcloud-auth-plugin."""
    cluster_name: pulumi.Output[str]
    """Name of the cluster."""
    cluster_id: pulumi.Output[str]
    """projects/…/locations/…/clusters/<name>, known once its nodes can start."""
    project: pulumi.Output[str]
    """The project's ID."""
    location: pulumi.Output[str]
    """Its region or zone."""
    node_service_account: pulumi.Output[str]
    """E-mail address of the nodes' service account, for its node pools."""
    boot_disk_kms_key: pulumi.Output[str]
    """The key for the nodes' boot disks; "" where Google's own keys encrypt them."""
    workload_pool: pulumi.Output[str]
    """The pool of identities of its Kubernetes service accounts."""

    def __init__(self, name: str, args: GkeClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        who = f"GkeCluster '{name}'"
        given = Arguments(who, args, GkeClusterArgs)
        place = read_place(given)
        existing = read_existing(given) if "existing" in given else None
        if len(name) > _LONGEST_NAME:
            allowed = f"at most {_LONGEST_NAME} characters: Pulumi makes the system pool's name of it"
            raise ArgumentError(
                who, "name of the component", f"is {name!r}", allowed, "args.name may have 40"
            )
        new = None if existing else read_new(given, name, place)
        super().__init__("berth:gcp:GkeCluster", name, {}, opts)
        require_google(self, who)
        self._prefix = name
        self._place = place
        self.project = pulumi.Output.from_input(place.project)
        self.location = pulumi.Output.from_input(place.location)
        self.workload_pool = self.project.apply(lambda project: f"{project}.svc.id.goog")
        self.boot_disk_kms_key = pulumi.Output.from_input("")
        if new is not None:
            self._make(new)
        elif existing is not None:
            self._look_up(*existing)
        self.provider = cluster_provider(name, self.kubeconfig, self.cluster_id, self)
        if new is not None:
            hyperdisk_class(name, self.provider, self)
        # Not the provider: a saved plan knows no id of it yet, and `pulumi up --plan` calls that a change.
        self.register_outputs(
            {
                "kubeconfig": self.kubeconfig,
                "clusterName": self.cluster_name,
                "clusterId": self.cluster_id,
                "project": self.project,
                "location": self.location,
                "nodeServiceAccount": self.node_service_account,
                "bootDiskKmsKey": self.boot_disk_kms_key,
                "workloadPool": self.workload_pool,
            }
        )

    def _look_up(self, existing: pulumi.Input[str], by_dns: bool) -> None:
        name = pulumi.Output.from_input(existing)
        identity = node_identity(self._prefix, name, self._place, self)
        found = container.get_cluster_output(
            name=name,
            location=self._place.location,
            project=self._place.project,
            opts=pulumi.InvokeOutputOptions(parent=self),
        )
        self.cluster_name = name

        def read(known: container.GetClusterResult) -> str | pulumi.Output[str]:
            check_existing(known, self)
            return kubeconfig_of_existing(known, by_dns=by_dns)

        self.kubeconfig = found.apply(read)
        self.cluster_id = _after(
            pulumi.Output.format(
                "projects/{0}/locations/{1}/clusters/{2}", self.project, self.location, name
            ),
            identity.before,
        )
        self.node_service_account = pulumi.Output.from_input(identity.email)

    def _make(self, settings: NewCluster) -> None:
        network = cluster_network(self._prefix, self._place, settings, self)
        identity = node_identity(self._prefix, settings.name, self._place, self)
        key = cluster_key(self._prefix, self._place, settings.encryption, self)
        cluster = self._cluster(settings, network, identity, key)
        pool = self._system_pool(settings, cluster, identity, key)
        if settings.encryption.boot_disks:
            self.boot_disk_kms_key = pulumi.Output.from_input(key.name)
        self.cluster_name = pulumi.Output.from_input(settings.name)
        self.node_service_account = pulumi.Output.from_input(identity.email)
        # GKE puts its taint on GPU nodes only beside other ones, and pods need somewhere to run: what hangs
        # on the cluster waits for its plain nodes.
        self.cluster_id = _after(cluster.id, [pool, *identity.before])
        self.kubeconfig = _after(kubeconfig_of_new(self.cluster_name, cluster, settings.access), [pool])

    def _cluster(
        self, settings: NewCluster, network: ClusterNetwork, identity: NodeIdentity, key: ClusterKey
    ) -> container.Cluster:
        access = settings.access
        return container.Cluster(
            f"{self._prefix}-cluster",
            name=settings.name,
            project=self._place.project,
            location=self._place.location,
            node_locations=list(settings.zones) or None,
            release_channel=container.ClusterReleaseChannelArgs(channel=settings.release_channel),
            min_master_version=settings.min_version,
            deletion_protection=settings.deletion_protection,
            network=network.network,
            subnetwork=network.subnetwork,
            networking_mode="VPC_NATIVE",
            ip_allocation_policy=container.ClusterIpAllocationPolicyArgs(
                cluster_secondary_range_name=network.pods_range,
                services_secondary_range_name=network.services_range,
            ),
            # Dataplane V2 enforces network policies; the older data path ignores them unless told.
            datapath_provider="ADVANCED_DATAPATH",
            private_cluster_config=container.ClusterPrivateClusterConfigArgs(
                enable_private_nodes=True,
                enable_private_endpoint=access.private_endpoint if access.ip_endpoints else None,
            ),
            control_plane_endpoints_config=container.ClusterControlPlaneEndpointsConfigArgs(
                dns_endpoint_config=container.ClusterControlPlaneEndpointsConfigDnsEndpointConfigArgs(
                    allow_external_traffic=access.dns_endpoint
                ),
                ip_endpoints_config=container.ClusterControlPlaneEndpointsConfigIpEndpointsConfigArgs(
                    enabled=access.ip_endpoints
                ),
            ),
            master_authorized_networks_config=_authorized(access),
            master_auth=container.ClusterMasterAuthArgs(
                client_certificate_config=container.ClusterMasterAuthClientCertificateConfigArgs(
                    issue_client_certificate=False
                )
            ),
            # Nobody without a name reaches anything but health checks.
            anonymous_authentication_config=container.ClusterAnonymousAuthenticationConfigArgs(
                mode="LIMITED"
            ),
            enable_legacy_abac=False,
            enable_shielded_nodes=True,
            workload_identity_config=container.ClusterWorkloadIdentityConfigArgs(
                workload_pool=self.workload_pool
            ),
            database_encryption=container.ClusterDatabaseEncryptionArgs(state="ENCRYPTED", key_name=key.name),
            binary_authorization=container.ClusterBinaryAuthorizationArgs(
                evaluation_mode=settings.binary_authorization
            ),
            security_posture_config=container.ClusterSecurityPostureConfigArgs(
                mode=settings.security_posture
            ),
            cost_management_config=container.ClusterCostManagementConfigArgs(
                enabled=settings.cost_allocation
            ),
            logging_config=container.ClusterLoggingConfigArgs(enable_components=settings.logging),
            monitoring_config=container.ClusterMonitoringConfigArgs(
                enable_components=settings.monitoring,
                managed_prometheus=container.ClusterMonitoringConfigManagedPrometheusArgs(
                    enabled=settings.managed_prometheus
                ),
            ),
            maintenance_policy=_maintenance(settings.maintenance),
            addons_config=container.ClusterAddonsConfigArgs(
                gcs_fuse_csi_driver_config=container.ClusterAddonsConfigGcsFuseCsiDriverConfigArgs(
                    enabled=settings.gcs_fuse
                )
            ),
            resource_labels={"managed-by": "berth"},
            remove_default_node_pool=True,
            initial_node_count=1,
            node_config=self._first_nodes(identity, key.name if settings.encryption.boot_disks else None),
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[*network.before, *identity.before, *key.before],
                # They describe the pool that is removed as soon as the cluster is there.
                ignore_changes=["initialNodeCount", "nodeConfig", "nodePools"],
            ),
        )

    def _first_nodes(
        self, identity: NodeIdentity, disk_key: pulumi.Input[str] | None
    ) -> container.ClusterNodeConfigArgs:
        # Without it they would run as the project's default account, for the minutes that they exist.
        return container.ClusterNodeConfigArgs(
            service_account=identity.email,
            boot_disk_kms_key=disk_key,
            oauth_scopes=[SCOPE],
            shielded_instance_config=container.ClusterNodeConfigShieldedInstanceConfigArgs(
                enable_secure_boot=True, enable_integrity_monitoring=True
            ),
            workload_metadata_config=container.ClusterNodeConfigWorkloadMetadataConfigArgs(
                mode="GKE_METADATA"
            ),
        )

    def _system_pool(
        self, settings: NewCluster, cluster: container.Cluster, identity: NodeIdentity, key: ClusterKey
    ) -> container.NodePool:
        wanted = settings.system_pool
        own = 1 if is_zone(self._place.location) else 0
        zones = len(settings.zones) + own if settings.zones or own else _ZONES_OF_A_REGION
        return container.NodePool(
            f"{self._prefix}-system",
            cluster=cluster.id,
            project=self._place.project,
            location=self._place.location,
            initial_node_count=initial_per_zone(wanted.min_nodes, wanted.max_nodes, zones),
            autoscaling=container.NodePoolAutoscalingArgs(
                total_min_node_count=wanted.min_nodes,
                total_max_node_count=wanted.max_nodes,
                location_policy="BALANCED",
            ),
            management=container.NodePoolManagementArgs(auto_repair=True, auto_upgrade=True),
            upgrade_settings=container.NodePoolUpgradeSettingsArgs(
                strategy="SURGE", max_surge=1, max_unavailable=0
            ),
            # Without it a deleted pool takes its pods along at once.
            node_drain_configs=[
                container.NodePoolNodeDrainConfigArgs(respect_pdb_during_node_pool_deletion=True)
            ],
            node_config=node_config(
                machine_type=wanted.machine_type,
                service_account=identity.email,
                disk_size_gb=wanted.disk_size_gb,
                disk_type=wanted.disk_type,
                boot_disk_kms_key=key.name if settings.encryption.boot_disks else None,
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[*identity.before, *key.before],
                # The autoscaler owns the number of nodes.
                ignore_changes=["initialNodeCount", "nodeCount"],
            ),
        )


def _authorized(access: Access) -> container.ClusterMasterAuthorizedNetworksConfigArgs | None:
    if not access.ip_endpoints:
        return None

    def blocks(
        networks: Mapping[str, str],
    ) -> Sequence[container.ClusterMasterAuthorizedNetworksConfigCidrBlockArgs]:
        return [
            container.ClusterMasterAuthorizedNetworksConfigCidrBlockArgs(cidr_block=cidr, display_name=name)
            for name, cidr in networks.items()
        ]

    return container.ClusterMasterAuthorizedNetworksConfigArgs(
        cidr_blocks=filled(combine(blocks, access.authorized_networks)),
        # Other customers' machines on Google Cloud are not ours.
        gcp_public_cidrs_access_enabled=False,
    )


def _maintenance(wanted: Maintenance) -> container.ClusterMaintenancePolicyArgs:
    exclusions = [
        container.ClusterMaintenancePolicyMaintenanceExclusionArgs(
            exclusion_name=one.name,
            start_time=one.start,
            end_time=one.end,
            exclusion_options=container.ClusterMaintenancePolicyMaintenanceExclusionExclusionOptionsArgs(
                scope=one.scope
            ),
        )
        for one in wanted.exclusions
    ]
    return container.ClusterMaintenancePolicyArgs(
        recurring_window=container.ClusterMaintenancePolicyRecurringWindowArgs(
            start_time=wanted.start, end_time=wanted.end, recurrence=wanted.recurrence
        ),
        maintenance_exclusions=exclusions or None,
    )


def _after(value: pulumi.Input[str], before: Sequence[pulumi.Resource]) -> pulumi.Output[str]:
    """The value, known once other resources are there."""

    def first(known: str, *_: str) -> str:
        return known

    return pulumi.Output.from_input(combine(first, value, *(one.urn for one in before)))
