"""A storage class for machines that take no persistent disks, which are what GKE's own classes make."""

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.storage import v1 as storage

HYPERDISK = "berth-hyperdisk-balanced"
"""Its name in every cluster that is made here."""
ONLY_HYPERDISK = ("a3-ultragpu-", "ct6e-")
"""Machines that take no persistent disk: TPU v6e takes Hyperdisk Balanced and ML only (Cloud TPU, "Attach
durable block storage to a TPU VM"), a3-ultragpu boots from Hyperdisk Balanced. A volume of GKE's default
class, standard-rwo, is a balanced persistent disk: it cannot be attached there, and its pod never starts."""


def hyperdisk_class(
    prefix: str, provider: kubernetes.Provider, parent: pulumi.Resource
) -> storage.StorageClass:
    """Declare it. A volume is made in its pod's zone, goes with its claim, and has 4 GiB or more."""
    return storage.StorageClass(
        f"{prefix}-hyperdisk",
        metadata=meta.ObjectMetaArgs(name=HYPERDISK, labels={"app.kubernetes.io/managed-by": "berth"}),
        provisioner="pd.csi.storage.gke.io",
        parameters={"type": "hyperdisk-balanced"},
        volume_binding_mode="WaitForFirstConsumer",
        reclaim_policy="Delete",
        allow_volume_expansion=True,
        opts=pulumi.ResourceOptions(parent=parent, provider=provider),
    )
