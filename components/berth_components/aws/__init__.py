"""Berth's components on AWS: clusters and pools of accelerators on EKS, identities, SageMaker endpoints.

    provider = aws.Provider("aws", region="eu-central-1")
    cluster = EksCluster("berth", {"version": "1.34", …}, pulumi.ResourceOptions(provider=provider))
    both = pulumi.ResourceOptions(providers={"aws": provider, "kubernetes": cluster.provider})
    ClusterAutoscaler("nodes", {"cluster_name": cluster.cluster_name, "kubernetes_version": "1.34"}, both)
    pool = EksNodePool("l4", {"cluster_name": cluster.cluster_name, "accelerator": "nvidia-l4", …}, both)

No component takes a default provider: the region is always said. A wrong argument raises `ArgumentError`.
"""

from berth_components.aws.cluster_autoscaler import ClusterAutoscaler, ClusterAutoscalerArgs
from berth_components.aws.eks_args import EksClusterArgs, SystemNodesArgs, VpcArgs
from berth_components.aws.eks_cluster import EksCluster
from berth_components.aws.eks_node_pool import EksNodePool
from berth_components.aws.eks_node_pool_args import EksNodePoolArgs, ReservationArgs
from berth_components.aws.sagemaker_args import (
    SageMakerAlarmsArgs,
    SageMakerEndpointArgs,
    SageMakerScalingArgs,
    SageMakerVpcArgs,
    SageMakerWeightsArgs,
)
from berth_components.aws.sagemaker_endpoint import SageMakerEndpoint
from berth_components.aws.workload_identity import (
    EksWorkloadIdentity,
    EksWorkloadIdentityArgs,
    StatementArgs,
)

__all__ = [
    "ClusterAutoscaler",
    "ClusterAutoscalerArgs",
    "EksCluster",
    "EksClusterArgs",
    "EksNodePool",
    "EksNodePoolArgs",
    "EksWorkloadIdentity",
    "EksWorkloadIdentityArgs",
    "ReservationArgs",
    "SageMakerAlarmsArgs",
    "SageMakerEndpoint",
    "SageMakerEndpointArgs",
    "SageMakerScalingArgs",
    "SageMakerVpcArgs",
    "SageMakerWeightsArgs",
    "StatementArgs",
    "SystemNodesArgs",
    "VpcArgs",
]
