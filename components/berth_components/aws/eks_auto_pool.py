"""A pool under EKS Auto Mode: a NodeClass with the disk and the network, a Karpenter NodePool with the rest.

Auto Mode's nodes bring the drivers and device plugins for NVIDIA and Neuron, always have IMDSv2 with a hop
limit of 1, encrypted disks, and replace themselves (automode-learn-instances in EKS' user guide).
"""

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta import v1 as meta

from berth_components.arguments import combine
from berth_components.aws.eks_pool_settings import PoolSettings
from berth_components.node_pools import PoolSpec

NODE_CLASS_API = "eks.amazonaws.com/v1"
NODE_POOL_API = "karpenter.sh/v1"


def declare(
    name: str,
    spec: PoolSpec,
    settings: PoolSettings,
    taints: Sequence[tuple[str, str, str]],
    opts: pulumi.ResourceOptions,
) -> None:
    """Declare NodeClass and NodePool, both named after the pool."""
    metadata = meta.ObjectMetaArgs(name=name, labels={"app.kubernetes.io/managed-by": "berth"})
    node_class = CustomResource(
        f"{name}-node-class",
        api_version=NODE_CLASS_API,
        kind="NodeClass",
        metadata=metadata,
        spec=_node_class(settings),
        opts=opts,
    )
    CustomResource(
        f"{name}-node-pool",
        api_version=NODE_POOL_API,
        kind="NodePool",
        metadata=metadata,
        spec=_node_pool(name, spec, settings, taints),
        # It goes first: nodes of a class that is gone are never deleted.
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[node_class])),
    )


def _node_class(settings: PoolSettings) -> Mapping[str, object]:
    disk: dict[str, object] = {"size": combine(_gibibytes, settings.disk_size_gib)}
    if settings.volume_key_arn is not None:
        disk["kmsKeyID"] = settings.volume_key_arn
    spec: dict[str, object] = {
        "role": combine(_role_name, settings.role_arn),
        "subnetSelectorTerms": combine(_by_id, settings.subnet_ids),
        "securityGroupSelectorTerms": combine(_by_id, settings.security_group_ids),
        # Namespaces of model servers bring a default-deny policy of their own.
        "networkPolicy": "DefaultAllow",
        "ephemeralStorage": disk,
    }
    if settings.reservation:
        spec["capacityReservationSelectorTerms"] = [{"id": settings.reservation[1]}]
    return spec


def _node_pool(
    name: str, spec: PoolSpec, settings: PoolSettings, taints: Sequence[tuple[str, str, str]]
) -> Mapping[str, object]:
    return {
        "template": {
            "metadata": {"labels": {**spec.labels}},
            "spec": {
                "nodeClassRef": {"group": "eks.amazonaws.com", "kind": "NodeClass", "name": name},
                "requirements": [
                    _requirement("node.kubernetes.io/instance-type", settings.machine_type),
                    _requirement("karpenter.sh/capacity-type", spec.capacity_type),
                    _requirement("kubernetes.io/arch", "amd64"),
                ],
                "taints": [_taint(*one) for one in taints],
                "expireAfter": f"{settings.expire_after_hours}h",
            },
        },
        # Karpenter stops adding nodes at this many accelerators: the pool's max_nodes.
        "limits": {spec.resource: str(spec.max_accelerators)},
        "disruption": {
            # A replica that is moved loads its model again: only nodes without one are taken away.
            "consolidationPolicy": "WhenEmpty",
            "consolidateAfter": "5m",
            "budgets": [{"nodes": str(settings.max_unavailable)}],
        },
    }


def _requirement(key: str, value: str) -> Mapping[str, object]:
    return {"key": key, "operator": "In", "values": [value]}


def _taint(key: str, value: str, effect: str) -> Mapping[str, str]:
    return {"key": key, "effect": effect, **({"value": value} if value else {})}


def _gibibytes(size: int) -> str:
    return f"{int(size)}Gi"


def _role_name(arn: str) -> str:
    return arn.rsplit("/", 1)[-1]


def _by_id(ids: Sequence[str]) -> Sequence[Mapping[str, str]]:
    return [{"id": one} for one in ids]
