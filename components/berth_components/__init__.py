"""Pulumi components that run language models on Kubernetes.

They run under `pulumi up` as they are, in any Python program:

    cluster = ExistingCluster("own", {"kubeconfig": "~/.kube/config"})
    opts = pulumi.ResourceOptions(providers={"kubernetes": cluster.provider})
    room = RestrictedNamespace("chat", {}, opts)
    server = ModelServer("chat-model", {"namespace": room.namespace, …, "autoscaled": True}, opts)
    Autoscaler("chat-scaling", {"namespace": server.namespace, "deployment": server.deployment, …}, opts)

A wrong argument raises `ArgumentError`, which names it, its value, what is allowed, and what to do.
"""

from berth_components.arguments import ArgumentError
from berth_components.autoscaler import Autoscaler, AutoscalerArgs, ScaleDownArgs, ScaleUpArgs
from berth_components.device_plugin import DevicePlugin, DevicePluginArgs
from berth_components.existing_cluster import ExistingCluster, ExistingClusterArgs
from berth_components.hybrid_controller import HybridController
from berth_components.hybrid_controller_args import (
    HybridAccessArgs,
    HybridControllerArgs,
    HybridPolicyArgs,
    HybridSiteArgs,
)
from berth_components.keda_autoscaler import KedaAutoscaler, KedaAutoscalerArgs
from berth_components.metrics_adapter import MetricsAdapter, MetricsAdapterArgs
from berth_components.model_server import ModelServer
from berth_components.model_server_args import (
    AccessArgs,
    ConcurrencyArgs,
    EngineArgs,
    GatewayArgs,
    GpuArgs,
    ModelArgs,
    ModelServerArgs,
    PlacementArgs,
    PodTolerationArgs,
    ProbesArgs,
    ResourcesArgs,
    RolloutArgs,
    ServiceAccountArgs,
    ServiceArgs,
    TerminationArgs,
    TokensArgs,
    TolerationArgs,
    WeightsArgs,
    WeightsFileArgs,
)
from berth_components.monitoring.monitoring import Monitoring, MonitoringArgs
from berth_components.namespace import RestrictedNamespace, RestrictedNamespaceArgs
from berth_components.node_pools import NodePool, NodePoolArgs, PoolSpec, TaintArgs, read_pool
from berth_components.own_node_pool import OwnNodePool, OwnNodePoolArgs
from berth_components.router import Router
from berth_components.router_args import (
    RouterAccessArgs,
    RouterArgs,
    RouterBackendArgs,
    RouterEjectionArgs,
    RouterEntranceArgs,
    RouterHostArgs,
    RouterLimitArgs,
    RouterRetriesArgs,
    RouterRouteArgs,
    RouterTerminationArgs,
    RouterTimeoutsArgs,
    RouterVariantArgs,
    RouterWakesArgs,
)
from berth_components.site_reporter import SiteReporter
from berth_components.site_reporter_args import (
    ReportedModelArgs,
    SiteReporterAccessArgs,
    SiteReporterArgs,
    SiteReporterServiceArgs,
)

__all__ = [
    "AccessArgs",
    "ArgumentError",
    "Autoscaler",
    "AutoscalerArgs",
    "ConcurrencyArgs",
    "DevicePlugin",
    "DevicePluginArgs",
    "EngineArgs",
    "ExistingCluster",
    "ExistingClusterArgs",
    "GatewayArgs",
    "GpuArgs",
    "HybridAccessArgs",
    "HybridController",
    "HybridControllerArgs",
    "HybridPolicyArgs",
    "HybridSiteArgs",
    "KedaAutoscaler",
    "KedaAutoscalerArgs",
    "MetricsAdapter",
    "MetricsAdapterArgs",
    "ModelArgs",
    "ModelServer",
    "ModelServerArgs",
    "Monitoring",
    "MonitoringArgs",
    "NodePool",
    "NodePoolArgs",
    "OwnNodePool",
    "OwnNodePoolArgs",
    "PlacementArgs",
    "PodTolerationArgs",
    "PoolSpec",
    "ProbesArgs",
    "ReportedModelArgs",
    "ResourcesArgs",
    "RestrictedNamespace",
    "RestrictedNamespaceArgs",
    "RolloutArgs",
    "Router",
    "RouterAccessArgs",
    "RouterArgs",
    "RouterBackendArgs",
    "RouterEjectionArgs",
    "RouterEntranceArgs",
    "RouterHostArgs",
    "RouterLimitArgs",
    "RouterRetriesArgs",
    "RouterRouteArgs",
    "RouterTerminationArgs",
    "RouterTimeoutsArgs",
    "RouterVariantArgs",
    "RouterWakesArgs",
    "ScaleDownArgs",
    "ScaleUpArgs",
    "ServiceAccountArgs",
    "ServiceArgs",
    "SiteReporter",
    "SiteReporterAccessArgs",
    "SiteReporterArgs",
    "SiteReporterServiceArgs",
    "TaintArgs",
    "TerminationArgs",
    "TokensArgs",
    "TolerationArgs",
    "WeightsArgs",
    "WeightsFileArgs",
    "read_pool",
]
