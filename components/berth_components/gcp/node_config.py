"""What every node on Google Cloud is: shielded, and apart from its pods' identities."""

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_gcp import container

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
"""The widest scope: what the nodes may do is decided by their service account's roles alone."""


def node_config(
    *,
    machine_type: pulumi.Input[str],
    service_account: pulumi.Input[str],
    disk_size_gb: pulumi.Input[int],
    disk_type: pulumi.Input[str],
    boot_disk_kms_key: pulumi.Input[str] | None = None,
    secure_boot: pulumi.Input[bool] = True,
    labels: Mapping[str, str] | None = None,
    taints: Sequence[container.NodePoolNodeConfigTaintArgs] | None = None,
    spot: bool | None = None,
    shutdown_grace_seconds: int | None = None,
    guest_accelerators: Sequence[container.NodePoolNodeConfigGuestAcceleratorArgs] | None = None,
    reservation: container.NodePoolNodeConfigReservationAffinityArgs | None = None,
    local_ssds: pulumi.Input[int] | None = None,
    image_streaming: pulumi.Input[bool] | None = None,
) -> container.NodePoolNodeConfigArgs:
    """The configuration of a pool's nodes: the baseline, and what the pool asks for."""
    return container.NodePoolNodeConfigArgs(
        machine_type=machine_type,
        service_account=service_account,
        oauth_scopes=[SCOPE],
        image_type="COS_CONTAINERD",
        disk_size_gb=disk_size_gb,
        disk_type=disk_type,
        boot_disk_kms_key=boot_disk_kms_key,
        gvnic=container.NodePoolNodeConfigGvnicArgs(enabled=True),
        shielded_instance_config=container.NodePoolNodeConfigShieldedInstanceConfigArgs(
            enable_secure_boot=secure_boot, enable_integrity_monitoring=True
        ),
        # Pods meet GKE's metadata server, which hands out their own identity, never the node's.
        workload_metadata_config=container.NodePoolNodeConfigWorkloadMetadataConfigArgs(mode="GKE_METADATA"),
        metadata={"disable-legacy-endpoints": "true"},
        kubelet_config=container.NodePoolNodeConfigKubeletConfigArgs(
            insecure_kubelet_readonly_port_enabled="FALSE",
            shutdown_grace_period_seconds=shutdown_grace_seconds,
            shutdown_grace_period_critical_pods_seconds=CRITICAL_PODS_SECONDS
            if shutdown_grace_seconds
            else None,
        ),
        labels=labels,
        taints=taints,
        spot=spot,
        guest_accelerators=guest_accelerators,
        reservation_affinity=reservation,
        ephemeral_storage_local_ssd_config=None
        if local_ssds is None
        else container.NodePoolNodeConfigEphemeralStorageLocalSsdConfigArgs(local_ssd_count=local_ssds),
        gcfs_config=None
        if image_streaming is None
        else container.NodePoolNodeConfigGcfsConfigArgs(enabled=image_streaming),
    )


CRITICAL_PODS_SECONDS = 15
"""Of the seconds between a spot node's notice and its end, those that belong to GKE's own pods."""
