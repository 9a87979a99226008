"""A model server: everything that one model needs to answer in a cluster.

    weights (fetcher, runs to its end) → engine (on loopback) and gateway (speaks to clients), at once

The gateway says that it is not ready while the engine loads. Kubernetes tells both to end together; the
engine's preStop hook waits for the gateway's drain, so that it outlives it.
"""

import base64
from collections.abc import Mapping, Sequence

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.networking import v1 as networking
from pulumi_kubernetes.policy import v1 as policy

from berth_components import network, pods
from berth_components.arguments import Arguments, combine, filled
from berth_components.model_server_args import ModelServerArgs
from berth_components.model_server_gateway import FILTERS
from berth_components.model_server_pod import (
    API_KEYS_DIR,
    GRPC_PORT,
    HTTP_PORT,
    METRICS_PORT,
    claim_spec,
    local_volumes,
    pod,
)
from berth_components.model_server_settings import read
from berth_components.model_server_weights import MANIFEST

APP = "model-server"
_NO_WAIT = {"pulumi.com/skipAwait": "true"}


class ModelServer(pulumi.ComponentResource):
    """One model, served, with everything that it needs.

    Deployment, Service, weights volume, settings, keys, disruption budget, network policy.
    Pass the cluster as `opts=pulumi.ResourceOptions(providers={"kubernetes": provider})`.
    """

    name: pulumi.Output[str]
    """Name of the objects, and value of the label app.kubernetes.io/instance."""
    namespace: pulumi.Output[str]
    """Where they are."""
    deployment: pulumi.Output[str]
    """Name of the Deployment, known once it is available."""
    service: pulumi.Output[str]
    """Name of the Service, known once it has endpoints."""
    selector: pulumi.Output[Mapping[str, str]]
    """Labels of its pods."""
    url: pulumi.Output[str]
    """Where clients inside the cluster reach it."""
    node_port: pulumi.Output[int]
    """The port on every node; 0 where there is none, or none yet."""
    address: pulumi.Output[str]
    """Host name or address of its load balancer; "" where there is none, or none yet."""

    def __init__(self, name: str, args: ModelServerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        settings = read(Arguments(f"ModelServer '{name}'", args, ModelServerArgs), name)
        super().__init__("berth:model:ModelServer", name, {}, opts)
        self._prefix = name
        self._settings = settings
        self._labels = pods.labels(APP, settings.name, model=settings.model_key, variant=settings.variant)
        self._selector = pods.selector(APP, settings.name)

        # The policy is there before the first pod, so that none ever runs without it.
        before = [
            self._service_account(),
            self._config("gateway", self._gateway_config()),
            self._config("engine", settings.engine.environment),
            *self._manifest(),
            *self._filters(),
            *self._api_keys(),
            *self._weights_claim(),
            self._network_policy(),
        ]
        deployment = self._deployment(before)
        service = self._service()
        self._disruption_budget()

        self.name = pulumi.Output.from_input(settings.name)
        self.namespace = pulumi.Output.from_input(settings.namespace)
        self.selector = pulumi.Output.all(**self._selector).apply(
            lambda known: {key: str(value) for key, value in known.items()}
        )
        self.deployment = pulumi.Output.all(settings.name, deployment.urn).apply(lambda known: str(known[0]))
        self.service = pulumi.Output.all(settings.name, service.urn).apply(lambda known: str(known[0]))
        self.url = pulumi.Output.format(
            "{0}://{1}.{2}.svc:{3}",
            "http" if settings.extras.tls_secret is None else "https",
            settings.name,
            settings.namespace,
            pods.whole(settings.access.port),
        )
        self.node_port = service.spec.apply(_node_port)
        self.address = service.status.apply(_address)
        self.register_outputs(
            {
                "name": self.name,
                "namespace": self.namespace,
                "deployment": self.deployment,
                "service": self.service,
                "selector": self.selector,
                "url": self.url,
                "nodePort": self.node_port,
                "address": self.address,
            }
        )

    def _metadata(
        self, suffix: str = "", annotations: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None
    ) -> meta.ObjectMetaArgs:
        return meta.ObjectMetaArgs(
            name=combine(lambda name: name + suffix, self._settings.name),
            namespace=self._settings.namespace,
            labels=self._labels,
            annotations=annotations,
        )

    def _child(self, depends_on: Sequence[pulumi.Resource] = ()) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=[*depends_on])

    def _service_account(self) -> core.ServiceAccount:
        return core.ServiceAccount(
            f"{self._prefix}-account",
            metadata=self._metadata("", filled(self._settings.account_annotations)),
            automount_service_account_token=False,
            opts=self._child(),
        )

    def _gateway_config(self) -> Mapping[str, pulumi.Input[str]]:
        anonymous = self._settings.api_keys is None and self._settings.api_keys_secret is None
        return {
            **self._settings.gateway_config,
            "BERTH_HOST": "0.0.0.0",  # noqa: S104 - the pod's address; a network policy guards it
            "BERTH_PORT": str(HTTP_PORT),
            "BERTH_METRICS_PORT": str(METRICS_PORT),
            **({} if self._settings.access.grpc_port is None else {"BERTH_GRPC_PORT": str(GRPC_PORT)}),
            **({} if anonymous else {"BERTH_API_KEYS_DIR": API_KEYS_DIR}),
        }

    def _manifest(self) -> list[core.ConfigMap]:
        manifest = self._settings.weights.manifest
        if manifest is None:
            return []
        return [
            core.ConfigMap(
                f"{self._prefix}-weights-manifest",
                metadata=self._metadata("-weights"),
                data={MANIFEST: manifest},
                opts=self._child(),
            )
        ]

    def _filters(self) -> list[core.ConfigMap]:
        filters = self._settings.extras.filters
        if filters is None:
            return []
        return [
            core.ConfigMap(
                f"{self._prefix}-filters",
                metadata=self._metadata("-filters"),
                data={FILTERS: filters},
                opts=self._child(),
            )
        ]

    def _config(self, container: str, data: pulumi.Input[Mapping[str, pulumi.Input[str]]]) -> core.ConfigMap:
        return core.ConfigMap(
            f"{self._prefix}-{container}-config",
            metadata=self._metadata(f"-{container}"),
            data=data,
            opts=self._child(),
        )

    def _api_keys(self) -> list[core.Secret]:
        keys = self._settings.api_keys
        if keys is None:
            return []
        # `data`, not `stringData`: server-side apply never removes an entry of the latter, so a revoked key
        # would live.
        encoded = pulumi.Output.secret(keys).apply(
            lambda known: {name: base64.b64encode(key.encode()).decode() for name, key in known.items()}
        )
        return [
            core.Secret(
                f"{self._prefix}-api-keys",
                metadata=self._metadata("-api-keys"),
                type="Opaque",
                data=encoded,
                opts=self._child(),
            )
        ]

    def _weights_claim(self) -> list[core.PersistentVolumeClaim]:
        if self._settings.weights.storage != "new-claim":
            return []
        return [
            core.PersistentVolumeClaim(
                f"{self._prefix}-weights",
                # A volume that binds when its first pod is scheduled would wait for a pod that waits for it.
                metadata=self._metadata("-weights", _NO_WAIT),
                spec=claim_spec(self._settings),
                opts=self._child(),
            )
        ]

    def _network_policy(self) -> networking.NetworkPolicy:
        access = self._settings.access

        def rules(
            cidrs: Sequence[str],
            clients: Sequence[str],
            routers: Sequence[str],
            readers: tuple[Sequence[str], Sequence[str]],
            asking: tuple[str | None, str | None],
        ) -> list[networking.NetworkPolicyIngressRuleArgs]:
            # A rule without peers would let everybody in, so there is none where nobody is named.
            clients_ports = [HTTP_PORT, *([] if access.grpc_port is None else [GRPC_PORT])]
            peers = [
                (
                    clients_ports,
                    [
                        *network.ranges(cidrs),
                        *network.namespaces(clients),
                        *(network.beside(pods.selector("router", name)) for name in routers),
                    ],
                ),
                (
                    [METRICS_PORT],
                    [
                        *network.namespaces(readers[0]),
                        *(network.beside(pods.selector("site-reporter", name)) for name in readers[1]),
                        *_app("metrics-adapter", asking[0]),
                        *_app("prometheus", asking[1]),
                    ],
                ),
            ]
            return [
                networking.NetworkPolicyIngressRuleArgs(
                    from_=allowed, ports=[network.port(port) for port in ports]
                )
                for ports, allowed in peers
                if allowed
            ]

        beside, names = self._settings.extras.egress, network.names(self._settings.dns)

        def ways_out(
            known: Sequence[networking.NetworkPolicyEgressRuleArgs],
        ) -> list[networking.NetworkPolicyEgressRuleArgs]:
            return [names, *known, *beside] if known or beside else []

        # No way out at all, for the engine is on loopback; where weights come from a hub, only there.
        return networking.NetworkPolicy(
            f"{self._prefix}-network",
            metadata=self._metadata("", self._public_reason()),
            spec=networking.NetworkPolicySpecArgs(
                pod_selector=meta.LabelSelectorArgs(match_labels=self._selector),
                policy_types=["Ingress", "Egress"],
                ingress=combine(
                    rules,
                    access.cidrs,
                    access.namespaces,
                    access.routers,
                    combine(lambda *both: both, access.metrics_namespaces, access.reporters),
                    combine(lambda *both: both, access.adapter, access.prometheus),
                ),
                egress=filled(combine(ways_out, self._settings.weights.egress)),
            ),
            opts=self._child(),
        )

    def _public_reason(self) -> pulumi.Input[Mapping[str, pulumi.Input[str]]] | None:
        """Why everybody may reach it, as an annotation; nothing where its clients are named."""
        reason = self._settings.access.public_reason
        if reason is None:
            return None
        return combine(lambda words: {f"{pods.PREFIX}public-reason": words}, reason)

    def _service(self) -> core.Service:
        access = self._settings.access
        annotations = access.annotations
        if (said := self._public_reason()) is not None:
            annotations = combine(lambda given, reason: {**given, **reason}, access.annotations, said)
        ports = [
            core.ServicePortArgs(
                name="http",
                port=access.port,
                target_port="http",
                node_port=access.node_port,
                protocol="TCP",
                app_protocol="http" if self._settings.extras.tls_secret is None else "https",
            )
        ]
        if access.grpc_port is not None:
            ports.append(
                core.ServicePortArgs(
                    name="grpc",
                    port=access.grpc_port,
                    target_port="grpc",
                    protocol="TCP",
                    app_protocol="grpc",
                )
            )
        return core.Service(
            f"{self._prefix}-service",
            metadata=self._metadata(
                "",
                # It waits for its first endpoint only, so it does not outlive a rollout that is stuck; for
                # none where its server may have no replica.
                combine(
                    lambda own, given: {**own, **given},
                    _NO_WAIT if self._settings.sleeps else pods.awaited(self._settings.patience_first),
                    annotations,
                ),
            ),
            spec=core.ServiceSpecArgs(
                type=access.service_type,
                selector=self._selector,
                external_traffic_policy=access.external_traffic_policy,
                load_balancer_source_ranges=(
                    filled(access.cidrs) if access.service_type == "LoadBalancer" else None
                ),
                ports=ports,
            ),
            opts=self._child(),
        )

    def _disruption_budget(self) -> policy.PodDisruptionBudget:
        return policy.PodDisruptionBudget(
            f"{self._prefix}-disruption",
            metadata=self._metadata(),
            spec=pods.disruption_budget(self._selector),
            opts=self._child(),
        )

    def _deployment(self, before: Sequence[pulumi.Resource]) -> apps.Deployment:
        settings = self._settings
        return apps.Deployment(
            f"{self._prefix}-deployment",
            metadata=self._metadata("", pods.awaited(settings.patience)),
            spec=apps.DeploymentSpecArgs(
                replicas=settings.replicas,
                selector=meta.LabelSelectorArgs(match_labels=self._selector),
                strategy=apps.DeploymentStrategyArgs(
                    type="RollingUpdate",
                    rolling_update=apps.RollingUpdateDeploymentArgs(
                        max_surge=settings.max_surge, max_unavailable=settings.max_unavailable
                    ),
                ),
                progress_deadline_seconds=settings.progress,
                template=core.PodTemplateSpecArgs(
                    metadata=meta.ObjectMetaArgs(
                        labels=self._pod_labels(), annotations=self._pod_annotations()
                    ),
                    spec=pod(settings, self._labels, self._selector),
                ),
            ),
            opts=self._child(before),
        )

    def _pod_labels(self) -> Mapping[str, pulumi.Input[str]]:
        simulated = {f"{pods.PREFIX}simulated-gpu": "true"} if self._settings.engine.gpu_simulated else {}
        return {**self._labels, f"{pods.PREFIX}queue-metrics": "true", **simulated}

    def _pod_annotations(self) -> Mapping[str, pulumi.Input[str]]:
        # Environment variables are read once, so changed settings need new pods. Keys are files that are read
        # again.
        settings = self._settings
        manifest, filters = settings.weights.manifest, settings.extras.filters
        checksum = combine(
            pods.checksum,
            self._gateway_config(),
            settings.engine.environment,
            *([] if manifest is None else [{MANIFEST: manifest}]),
            *([] if filters is None else [{FILTERS: filters}]),
        )
        return {
            f"{pods.PREFIX}config-checksum": checksum,
            # Without it the Cluster Autoscaler never removes a node with such a pod: an emptyDir counts as
            # local data.
            "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": local_volumes(settings),
        }


def _app(app: str, namespace: str | None) -> list[networking.NetworkPolicyPeerArgs]:
    return [] if namespace is None else [network.app_in(namespace, app)]


def _node_port(spec: core.outputs.ServiceSpec) -> int:
    ports = spec.ports or []
    return int(ports[0].node_port or 0) if ports else 0


def _address(status: core.outputs.ServiceStatus | None) -> str:
    balancer = status.load_balancer if status else None
    entries = (balancer.ingress if balancer else None) or []
    return (entries[0].hostname or entries[0].ip or "") if entries else ""
