"""Clusters, pools of accelerator nodes and identities on Google Cloud.

    cluster = GkeCluster("prod", {"project": "models-prod-1", "location": "europe-west4"}, opts)
    pool = GkeNodePool("l4", {"cluster": cluster.cluster_id, "accelerator": "nvidia-l4", …}, opts)

Pass Google's provider explicitly: `opts=pulumi.ResourceOptions(providers={"gcp": provider})`.
"""

from berth_components.gcp.cluster import GkeCluster
from berth_components.gcp.cluster_args import (
    GkeAccessArgs,
    GkeClusterArgs,
    GkeEncryptionArgs,
    GkeMaintenanceArgs,
    GkeMaintenanceExclusionArgs,
    GkeNetworkArgs,
    GkeSystemPoolArgs,
)
from berth_components.gcp.node_pool import GkeNodePool
from berth_components.gcp.node_pool_args import GkeNodePoolArgs, GkeUpgradeArgs
from berth_components.gcp.workload_identity import (
    BucketRoleArgs,
    GkeWorkloadIdentity,
    GkeWorkloadIdentityArgs,
)

__all__ = [
    "BucketRoleArgs",
    "GkeAccessArgs",
    "GkeCluster",
    "GkeClusterArgs",
    "GkeEncryptionArgs",
    "GkeMaintenanceArgs",
    "GkeMaintenanceExclusionArgs",
    "GkeNetworkArgs",
    "GkeNodePool",
    "GkeNodePoolArgs",
    "GkeSystemPoolArgs",
    "GkeUpgradeArgs",
    "GkeWorkloadIdentity",
    "GkeWorkloadIdentityArgs",
]
