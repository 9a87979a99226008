"""The metrics adapter: brings the queue depth of all model servers to a cluster's autoscalers.

One per cluster. The API server forwards external metrics to it; it asks the Ready gateways, and the routers
that hold requests for servers without a replica. Its certificate is its own matter (design decision 8): it
makes one at its first start, keeps it in a Secret that only it writes, and puts the `caBundle` into the
APIService under a field manager of its own. So the program declares neither of the two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import pulumi
from pulumi_kubernetes.apiregistration import v1 as apiregistration
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.networking import v1 as networking
from pulumi_kubernetes.policy import v1 as policy
from pulumi_kubernetes.rbac import v1 as rbac

from berth_components import checks, network, pods
from berth_components.arguments import Arguments, combine

APP = "metrics-adapter"
OBJECT = "berth-metrics-adapter"
GROUP, VERSION = "external.metrics.k8s.io", "v1beta1"
API_SERVICE = f"{VERSION}.{GROUP}"
# GKE lets the control plane of a private cluster reach pods on 443 and 10250 only.
PORT = 10250
GATEWAY_METRICS_PORT = 9000
ROUTER_LOAD_PORT = 9003
METRICS_PORT = 9001
DEFAULT_NAMESPACE = "berth-metrics"
_ANY_API_SERVER = (
    "nobody named the API server's addresses (apiServerCidrs); "
    "whoever asks needs a certificate of its front proxy"
)
_SELECTOR: dict[str, pulumi.Input[str]] = {
    "app.kubernetes.io/name": APP,
    "app.kubernetes.io/instance": OBJECT,
}


class MetricsAdapterArgs(TypedDict):
    """Args of `MetricsAdapter`."""

    mode: NotRequired[str]
    """owned (default): this stack creates it. existing: another stack did; nothing is created here."""
    namespace: NotRequired[pulumi.Input[str]]
    """The namespace of its own, created with it. Default: berth-metrics."""
    image: NotRequired[pulumi.Input[str]]
    """Its image. Required with owned, refused with existing."""
    replicas: NotRequired[pulumi.Input[int]]
    """How many, 1 to 5. Default: 1; 2 in production, since autoscaling stands still without it."""
    api_server_cidrs: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Address ranges of the API servers that may call it, and that alone may be called. Default: any address
    but the clouds' metadata servers', since managed clusters do not tell theirs. Pods of kube-system may call
    it too: Konnectivity's agents are the way of managed control planes. It answers only to the front proxy's
    certificate."""
    prometheus_namespace: NotRequired[pulumi.Input[str]]
    """Where a Prometheus is that reads its own metrics. Default: nobody does."""
    image_pull_secrets: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Secrets that exist in its namespace, for the registry."""


@dataclass(frozen=True, kw_only=True)
class AdapterSettings:
    """The args of a `MetricsAdapter`, checked."""

    owned: bool
    namespace: pulumi.Input[str]
    image: pulumi.Input[str]
    replicas: pulumi.Input[int]
    api_servers: pulumi.Input[Sequence[str]] | None
    prometheus: pulumi.Input[str] | None
    pull_secrets: pulumi.Input[Sequence[str]]


def read(given: Arguments) -> AdapterSettings:
    """Check the args of a `MetricsAdapter`.

    Raises:
        ArgumentError: one is unknown, missing, not allowed, or contradicts another.
    """
    owned = given.plain("mode", checks.choice("owned", "existing"), "owned") == "owned"
    for key in ("image", "replicas", "api_server_cidrs", "prometheus_namespace", "image_pull_secrets"):
        if not owned and key in given:
            raise given.refuse(key, "given", "only with mode owned", "another stack owns the adapter")
    no_secrets: Sequence[str] = ()
    return AdapterSettings(
        owned=owned,
        namespace=given.read("namespace", checks.dns_label, DEFAULT_NAMESPACE),
        image=given.read("image", checks.image) if owned else "",
        replicas=given.read("replicas", checks.whole_number(1, 5, "replicas"), 1),
        api_servers=given.maybe("api_server_cidrs", checks.list_of(checks.cidr, at_least=1)),
        prometheus=given.maybe("prometheus_namespace", checks.dns_label),
        pull_secrets=given.read("image_pull_secrets", checks.list_of(checks.dns_label), no_secrets),
    )


class MetricsAdapter(pulumi.ComponentResource):
    """The external metrics API of a cluster, answered by Berth's adapter.

    There can be one external metrics API only. Where KEDA or another adapter has it, server-side apply stops
    with a conflict that names the owner.
    """

    namespace: pulumi.Output[str]
    """Where the adapter runs: model servers must let this namespace read their metrics."""
    api_service: pulumi.Output[str]
    """Name of the APIService; known once it is declared."""

    def __init__(
        self, name: str, args: MetricsAdapterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        settings = read(Arguments(f"MetricsAdapter '{name}'", args, MetricsAdapterArgs))
        namespace = settings.namespace
        super().__init__("berth:metrics:MetricsAdapter", name, {}, opts)
        self._prefix = name
        self._namespace = namespace
        self._labels = pods.labels(APP, OBJECT)
        if settings.owned:
            created = network.restricted_namespace(f"{name}", namespace, self._labels, self._child())
            before = [
                created,
                network.deny_all(name, namespace, self._labels, self._child([created])),
                self._network_policy(settings, created),
                self._account(created),
                *self._permissions(created),
            ]
            deployment = self._deployment(settings, before)
            service = self._service(created)
            self._disruption_budget(created)
            api_service = self._api_service([service, deployment])
            self.namespace = pulumi.Output.all(namespace, created.urn).apply(lambda known: str(known[0]))
            self.api_service = api_service.urn.apply(lambda _: API_SERVICE)
        else:
            self.namespace = pulumi.Output.from_input(namespace)
            self.api_service = pulumi.Output.from_input(API_SERVICE)
        self.register_outputs({"namespace": self.namespace, "apiService": self.api_service})

    def _child(self, depends_on: Sequence[pulumi.Resource] = ()) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=[*depends_on])

    def _metadata(
        self,
        name: str = OBJECT,
        namespace: pulumi.Input[str] | None = None,
        annotations: pulumi.Input[Mapping[str, str]] | None = None,
    ) -> meta.ObjectMetaArgs:
        return meta.ObjectMetaArgs(
            name=name,
            namespace=namespace or self._namespace,
            labels=self._labels,
            annotations=annotations,
        )

    def _cluster_wide(self) -> meta.ObjectMetaArgs:
        return meta.ObjectMetaArgs(name=OBJECT, labels=self._labels)

    def _account(self, created: core.Namespace) -> core.ServiceAccount:
        return core.ServiceAccount(
            f"{self._prefix}-account",
            metadata=self._metadata(),
            automount_service_account_token=False,
            opts=self._child([created]),
        )

    def _permissions(self, created: core.Namespace) -> list[pulumi.Resource]:
        account = rbac.SubjectArgs(kind="ServiceAccount", name=OBJECT, namespace=self._namespace)
        cluster_role = rbac.ClusterRole(
            f"{self._prefix}-cluster-role",
            metadata=self._cluster_wide(),
            rules=[
                # Model servers are in any namespace; of their pods the labels, addresses and readiness are
                # read.
                rbac.PolicyRuleArgs(api_groups=[""], resources=["pods"], verbs=["list", "watch"]),
                rbac.PolicyRuleArgs(
                    api_groups=["apiregistration.k8s.io"],
                    resources=["apiservices"],
                    resource_names=[API_SERVICE],
                    verbs=["get", "patch"],
                ),
            ],
            opts=self._child(),
        )
        # `create` cannot be limited to a name: the name is not known when a request to create is authorised.
        role = rbac.Role(
            f"{self._prefix}-role",
            metadata=self._metadata(),
            rules=[
                rbac.PolicyRuleArgs(api_groups=[""], resources=["secrets"], verbs=["create"]),
                rbac.PolicyRuleArgs(
                    api_groups=[""],
                    resources=["secrets"],
                    resource_names=[f"{OBJECT}-tls"],
                    verbs=["get", "update"],
                ),
            ],
            opts=self._child([created]),
        )
        return [
            cluster_role,
            role,
            rbac.ClusterRoleBinding(
                f"{self._prefix}-cluster-role-binding",
                metadata=self._cluster_wide(),
                role_ref=_role("ClusterRole", OBJECT),
                subjects=[account],
                opts=self._child([cluster_role]),
            ),
            rbac.RoleBinding(
                f"{self._prefix}-role-binding",
                metadata=self._metadata(),
                role_ref=_role("Role", OBJECT),
                subjects=[account],
                opts=self._child([role]),
            ),
            # The front proxy's CA, which proves that a request comes from the API server.
            rbac.RoleBinding(
                f"{self._prefix}-authentication-reader",
                metadata=self._metadata(f"{OBJECT}-authentication-reader", "kube-system"),
                role_ref=_role("Role", "extension-apiserver-authentication-reader"),
                subjects=[account],
                opts=self._child(),
            ),
        ]

    def _network_policy(self, settings: AdapterSettings, created: core.Namespace) -> networking.NetworkPolicy:
        def peers(cidrs: Sequence[str] | None) -> list[networking.NetworkPolicyPeerArgs]:
            return network.ranges(cidrs) if cidrs else network.everywhere_but_metadata()

        api_servers = settings.api_servers
        servers = combine(peers, api_servers)
        asked = (
            []
            if settings.prometheus is None
            else [
                networking.NetworkPolicyIngressRuleArgs(
                    from_=[network.app_in(settings.prometheus, "prometheus")],
                    ports=[network.port(METRICS_PORT)],
                )
            ]
        )

        def asked_for(what: str) -> networking.NetworkPolicyPeerArgs:
            label = {f"{pods.PREFIX}queue-metrics": what}
            return networking.NetworkPolicyPeerArgs(
                namespace_selector=meta.LabelSelectorArgs(),
                pod_selector=meta.LabelSelectorArgs(match_labels=label),
            )

        def reason(cidrs: Sequence[str] | None) -> dict[str, str]:
            return {} if cidrs else {f"{pods.PREFIX}public-reason": _ANY_API_SERVER}

        return networking.NetworkPolicy(
            f"{self._prefix}-network",
            metadata=self._metadata(annotations=combine(reason, api_servers)),
            spec=networking.NetworkPolicySpecArgs(
                pod_selector=meta.LabelSelectorArgs(match_labels=_SELECTOR),
                policy_types=["Ingress", "Egress"],
                ingress=[
                    networking.NetworkPolicyIngressRuleArgs(from_=servers, ports=[network.port(PORT)]),
                    # Managed control planes (GKE's among them) come through Konnectivity's agents, pods of
                    # kube-system. Cilium, which is GKE's Dataplane V2, counts no pod to an address range.
                    networking.NetworkPolicyIngressRuleArgs(
                        from_=network.namespaces(["kube-system"]), ports=[network.port(PORT)]
                    ),
                    *asked,
                ],
                egress=[
                    networking.NetworkPolicyEgressRuleArgs(
                        to=[asked_for("true")], ports=[network.port(GATEWAY_METRICS_PORT)]
                    ),
                    # Routers that hold requests for servers without a replica.
                    networking.NetworkPolicyEgressRuleArgs(
                        to=[asked_for("router")], ports=[network.port(ROUTER_LOAD_PORT)]
                    ),
                    # API servers listen on one of these; no name is looked up, so there is no way to DNS.
                    networking.NetworkPolicyEgressRuleArgs(
                        to=servers, ports=[network.port(443), network.port(6443)]
                    ),
                ],
            ),
            opts=self._child([created]),
        )

    def _deployment(self, settings: AdapterSettings, before: Sequence[pulumi.Resource]) -> apps.Deployment:
        def probe(path: str, period: int, failures: int) -> core.ProbeArgs:
            return core.ProbeArgs(
                http_get=core.HTTPGetActionArgs(path=path, port="https", scheme="HTTPS"),
                period_seconds=period,
                timeout_seconds=5,
                failure_threshold=failures,
            )

        container = core.ContainerArgs(
            name=APP,
            image=settings.image,
            image_pull_policy="IfNotPresent",
            command=["python3", "-m", "berth_agents.metrics_adapter"],
            env=pods.environment(
                {
                    "BERTH_ADAPTER_NAMESPACE": self._namespace,
                    "BERTH_ADAPTER_METRICS_PORT": str(METRICS_PORT),
                    "BERTH_ADAPTER_PORT": str(PORT),
                    "BERTH_ADAPTER_SERVICE": OBJECT,
                }
            ),
            ports=[
                core.ContainerPortArgs(name="https", container_port=PORT, protocol="TCP"),
                core.ContainerPortArgs(name="metrics", container_port=METRICS_PORT, protocol="TCP"),
            ],
            resources=core.ResourceRequirementsArgs(
                requests={"cpu": "50m", "memory": "64Mi"}, limits={"cpu": "500m", "memory": "256Mi"}
            ),
            security_context=pods.restricted_container(),
            startup_probe=probe("/readyz", 1, 60),
            readiness_probe=probe("/readyz", 5, 2),
            liveness_probe=probe("/livez", 10, 3),
            volume_mounts=[pods.tmp_mount(APP)],
        )
        return apps.Deployment(
            f"{self._prefix}-deployment",
            metadata=self._metadata(),
            spec=apps.DeploymentSpecArgs(
                replicas=settings.replicas,
                selector=meta.LabelSelectorArgs(match_labels=_SELECTOR),
                strategy=apps.DeploymentStrategyArgs(
                    type="RollingUpdate",
                    rolling_update=apps.RollingUpdateDeploymentArgs(max_surge=1, max_unavailable=0),
                ),
                template=core.PodTemplateSpecArgs(
                    metadata=meta.ObjectMetaArgs(
                        labels=self._labels,
                        annotations={
                            "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": f"tmp-{APP}",
                        },
                    ),
                    spec=core.PodSpecArgs(
                        service_account_name=OBJECT,
                        # It reads pods and its Secret: the one pod of ours that gets a token.
                        automount_service_account_token=True,
                        enable_service_links=False,
                        security_context=pods.restricted_pod(),
                        termination_grace_period_seconds=30,
                        image_pull_secrets=pods.pull_secrets(settings.pull_secrets),
                        topology_spread_constraints=[
                            pods.spread(_SELECTOR, "kubernetes.io/hostname", "preferred")
                        ],
                        containers=[container],
                        volumes=[pods.tmp_volume(APP)],
                    ),
                ),
            ),
            opts=self._child(before),
        )

    def _service(self, created: core.Namespace) -> core.Service:
        return core.Service(
            f"{self._prefix}-service",
            metadata=self._metadata(),
            spec=core.ServiceSpecArgs(
                type="ClusterIP",
                selector=_SELECTOR,
                ports=[core.ServicePortArgs(name="https", port=443, target_port="https", protocol="TCP")],
            ),
            opts=self._child([created]),
        )

    def _disruption_budget(self, created: core.Namespace) -> policy.PodDisruptionBudget:
        return policy.PodDisruptionBudget(
            f"{self._prefix}-disruption",
            metadata=self._metadata(),
            spec=pods.disruption_budget(_SELECTOR),
            opts=self._child([created]),
        )

    def _api_service(self, before: Sequence[pulumi.Resource]) -> apiregistration.APIService:
        return apiregistration.APIService(
            f"{self._prefix}-api-service",
            metadata=meta.ObjectMetaArgs(name=API_SERVICE, labels=self._labels),
            spec=apiregistration.APIServiceSpecArgs(
                group=GROUP,
                version=VERSION,
                group_priority_minimum=100,
                version_priority=100,
                service=apiregistration.ServiceReferenceArgs(
                    namespace=self._namespace, name=OBJECT, port=443
                ),
            ),
            opts=self._child(before),
        )


def _role(kind: str, name: str) -> rbac.RoleRefArgs:
    return rbac.RoleRefArgs(api_group="rbac.authorization.k8s.io", kind=kind, name=name)
