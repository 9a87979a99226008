"""kube-state-metrics: what the API server says of pods, workloads, autoscalers, volumes, nodes."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.rbac import v1 as rbac

from berth_components import checks, network, pods
from berth_components.arguments import Arguments, combine
from berth_components.monitoring import part

APP = "kube-state-metrics"
PORT, OWN_PORT = 8080, 8081
_WHY_ONE = "two would tell every object twice, and sums over them would be wrong; it is back within seconds"
RESOURCES = {
    "": ("persistentvolumeclaims", "pods", "resourcequotas"),
    "apps": ("daemonsets", "deployments", "replicasets", "statefulsets"),
    "autoscaling": ("horizontalpodautoscalers",),
    "policy": ("poddisruptionbudgets",),
}
"""What it lists in the watched namespaces, by API group; of the cluster itself the nodes. No Secret, no
ConfigMap."""
LABELS = ("app.kubernetes.io/instance", "app.kubernetes.io/name", "berth.dev/model", "berth.dev/variant")
"""Labels of pods that become labels of kube_pod_labels."""


class KubeStateMetricsArgs(TypedDict):
    """Args of `KubeStateMetrics`."""

    namespace: pulumi.Input[str]
    """Where it is; the namespace exists."""
    image: pulumi.Input[str]
    """Its image."""
    watched: Sequence[part.WatchedArgs]
    """Namespaces whose objects it tells of."""
    api_server_cidrs: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Address ranges of the API servers. Default: any address but the clouds' metadata servers'."""
    resources: NotRequired[part.ResourcesArgs]
    """CPU and memory. Default: 50m and 64Mi, at most 256Mi."""
    image_pull_secrets: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Secrets that exist in its namespace, for the registry."""


class KubeStateMetrics(part.Part):
    """kube-state-metrics of our namespaces and the nodes, with permission for exactly that."""

    service: pulumi.Output[str]
    """Name of its Service; known once it has endpoints."""

    def __init__(
        self, name: str, args: KubeStateMetricsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing or not allowed.
        """
        given = Arguments(f"KubeStateMetrics '{name}'", args, KubeStateMetricsArgs)
        namespace = given.read("namespace", checks.dns_label)
        image = given.read("image", checks.image)
        watched = part.watched(given)
        servers = given.maybe("api_server_cidrs", checks.list_of(checks.cidr, at_least=1))
        resources = part.resources(given, "50m", "64Mi", "256Mi")
        pull_secrets = given.read("image_pull_secrets", checks.list_of(checks.dns_label), part.NOBODY)
        super().__init__("KubeStateMetrics", name, APP, namespace, opts)

        def rule(group: str, *kinds: str) -> rbac.PolicyRuleArgs:
            return rbac.PolicyRuleArgs(api_groups=[group], resources=[*kinds], verbs=["list", "watch"])

        before = [
            self._account(),
            *self._cluster_role([rule("", "nodes")]),
            *self._roles(watched, [rule(group, *kinds) for group, kinds in RESOURCES.items()]),
            self._network_policy(
                [part.admit([network.app_in(namespace, "prometheus")], PORT)], [part.api_servers(servers)]
            ),
        ]
        kinds = sorted({"nodes", *(kind for found in RESOURCES.values() for kind in found)})
        container = core.ContainerArgs(
            name=APP,
            image=image,
            image_pull_policy="IfNotPresent",
            args=[
                f"--resources={','.join(kinds)}",
                combine(lambda *known: f"--namespaces={','.join(sorted(known))}", *watched.values()),
                f"--metric-labels-allowlist=pods=[{','.join(LABELS)}]",
                f"--port={PORT}",
                f"--telemetry-port={OWN_PORT}",
            ],
            ports=[
                core.ContainerPortArgs(name="http", container_port=PORT, protocol="TCP"),
                core.ContainerPortArgs(name="own", container_port=OWN_PORT, protocol="TCP"),
            ],
            resources=resources,
            security_context=pods.restricted_container(),
            startup_probe=part.probe("/livez", "http", period=1, failures=60),
            readiness_probe=part.probe("/readyz", "own", period=5, failures=3),
            liveness_probe=part.probe("/livez", "http", period=10, failures=6),
        )
        deployment = apps.Deployment(
            f"{name}-deployment",
            metadata=self._metadata(annotations={part.ONE_REPLICA: _WHY_ONE}),
            spec=apps.DeploymentSpecArgs(
                replicas=1,
                strategy=apps.DeploymentStrategyArgs(
                    type="RollingUpdate",
                    rolling_update=apps.RollingUpdateDeploymentArgs(max_surge=1, max_unavailable=0),
                ),
                selector=meta.LabelSelectorArgs(match_labels=self._selector),
                template=self._template(self._pod(container, [], pull_secrets=pull_secrets, token=True)),
            ),
            opts=self._child(before),
        )
        service = self._service({"http": PORT})
        self._disruption_budget()
        self.service = self._served(service, deployment)
        self.register_outputs({"service": self.service})
