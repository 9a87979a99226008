"""The key that encrypts Kubernetes' Secrets in a cluster's database, and boot disks where that is asked."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_gcp import kms

from berth_components.gcp.cluster_settings import Encryption, Place
from berth_components.gcp.project import compute_agent, gke_agent, number_of

_USE = "roles/cloudkms.cryptoKeyEncrypterDecrypter"


@dataclass(frozen=True)
class ClusterKey:
    """The key, and the grants that must be there before it is used."""

    name: pulumi.Input[str]
    before: Sequence[pulumi.Resource]


def cluster_key(prefix: str, place: Place, wanted: Encryption, parent: pulumi.Resource) -> ClusterKey:
    """Make the key, or take the one that was named; let Google's service agents use it."""
    child = pulumi.ResourceOptions(parent=parent)
    name = wanted.key
    if name is None:
        # No names of our own: a key ring can never be deleted, so a second `up` would find the name taken.
        ring = kms.KeyRing(f"{prefix}-keys", project=place.project, location=place.region, opts=child)
        key = kms.CryptoKey(
            f"{prefix}-key",
            key_ring=ring.id,
            purpose="ENCRYPT_DECRYPT",
            rotation_period=wanted.rotation_period,
            opts=child,
        )
        name = key.id
    if wanted.key is not None and not wanted.grant_access:
        return ClusterKey(name, [])
    number = number_of(place.project, place.project_number, parent)
    agents = {"database": gke_agent(number)}
    if wanted.boot_disks:
        agents["disks"] = compute_agent(number)
    grants = [
        kms.CryptoKeyIAMMember(f"{prefix}-key-{use}", crypto_key_id=name, role=_USE, member=agent, opts=child)
        for use, agent in agents.items()
    ]
    return ClusterKey(name, grants)
