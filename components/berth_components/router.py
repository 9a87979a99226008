"""The router: Envoy in front of the variants of a model, told what to do by a controller in the same pod.

A change of weights is a change of one ConfigMap: the controller sees it at once and no pod is replaced. What
Envoy reads once (its listener, the limits of keys) is in the pods' checksum, so a change of it is a rollout.
"""

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.networking import v1 as networking
from pulumi_kubernetes.policy import v1 as policy
from pulumi_kubernetes.rbac import v1 as rbac

from berth_components import network, pods, router_document, router_entrance
from berth_components.arguments import Arguments, combine, filled
from berth_components.router_args import RouterArgs
from berth_components.router_document import (
    CA_FOLDER,
    FOLDER,
    KEYS_FOLDER,
    METRICS_PORT,
    PORT,
    TLS_FOLDER,
)
from berth_components.router_settings import read

APP = "router"
GATEWAY_PORT = 8000
CONTROLLER_PORT = 9001
LOAD_PORT, LOAD_PORT_NAME = 9003, "load"
"""Where the controller says how many requests it holds; only where a backend wakes."""
ENTRY = "router.json"
_DOCUMENT_FOLDER = "/etc/berth-router"
_RUN, _CONFIG, _TLS, _CA, _KEYS = "run", "config", "tls", "ca", "keys"


class Router(pulumi.ComponentResource):
    """Envoy in front of the variants of a model.

    Deployment, Service and entrance, the document, disruption budget, network policy, and an account that
    reads that document and the namespace's endpoints.
    """

    name: pulumi.Output[str]
    """Name of the objects."""
    namespace: pulumi.Output[str]
    """Where they are."""
    service: pulumi.Output[str]
    """Name of the Service, known once it has endpoints."""
    url: pulumi.Output[str]
    """Where clients reach it: its DNS name, or its name in the cluster."""
    node_port: pulumi.Output[int]
    """The port on every node; 0 where there is none, or none yet."""
    address: pulumi.Output[str]
    """Host name or address of its load balancer; "" where there is none, or none yet."""

    def __init__(self, name: str, args: RouterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        settings = read(Arguments(f"Router '{name}'", args, RouterArgs), name)
        super().__init__("berth:router:Router", name, {}, opts)
        self._prefix = name
        self._settings = settings
        self._labels = pods.labels(APP, settings.name)
        self._selector = pods.selector(APP, settings.name)
        account = self._account()
        before = [account, *self._permissions(account), self._config(), self._network_policy()]
        deployment = self._deployment(before)
        service = router_entrance.service(name, settings, self._metadata, self._selector, self._child())
        router_entrance.entrance(name, settings, self._metadata, self._child([service]))
        self._disruption_budget()

        self.name = pulumi.Output.from_input(settings.name)
        self.namespace = pulumi.Output.from_input(settings.namespace)
        self.service = pulumi.Output.all(settings.name, service.urn, deployment.urn).apply(
            lambda known: str(known[0])
        )
        self.url = router_entrance.url(settings)
        self.node_port = service.spec.apply(router_entrance.node_port)
        self.address = service.status.apply(router_entrance.address)
        self.register_outputs(
            {
                "name": self.name,
                "namespace": self.namespace,
                "service": self.service,
                "url": self.url,
                "nodePort": self.node_port,
                "address": self.address,
            }
        )

    def _metadata(
        self, annotations: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None
    ) -> meta.ObjectMetaArgs:
        return meta.ObjectMetaArgs(
            name=self._settings.name,
            namespace=self._settings.namespace,
            labels=self._labels,
            annotations=annotations,
        )

    def _child(self, depends_on: Sequence[pulumi.Resource] = ()) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=[*depends_on])

    def _account(self) -> core.ServiceAccount:
        return core.ServiceAccount(
            f"{self._prefix}-account",
            metadata=self._metadata(),
            automount_service_account_token=False,
            opts=self._child(),
        )

    def _permissions(self, account: core.ServiceAccount) -> list[pulumi.Resource]:
        role = rbac.Role(
            f"{self._prefix}-role",
            metadata=self._metadata(),
            rules=[
                # A list or watch of one name counts as one of that name.
                rbac.PolicyRuleArgs(
                    api_groups=[""],
                    resources=["configmaps"],
                    # The document, and weights that others set: a canary.
                    resource_names=[
                        self._settings.name,
                        combine(lambda name: f"{name}-weights", self._settings.name),
                    ],
                    verbs=["list", "watch"],
                ),
                rbac.PolicyRuleArgs(
                    api_groups=["discovery.k8s.io"], resources=["endpointslices"], verbs=["list", "watch"]
                ),
            ],
            opts=self._child(),
        )
        binding = rbac.RoleBinding(
            f"{self._prefix}-role-binding",
            metadata=self._metadata(),
            role_ref=rbac.RoleRefArgs(
                api_group="rbac.authorization.k8s.io", kind="Role", name=self._settings.name
            ),
            subjects=[
                rbac.SubjectArgs(
                    kind="ServiceAccount", name=self._settings.name, namespace=self._settings.namespace
                )
            ],
            opts=self._child([role, account]),
        )
        return [role, binding]

    def _config(self) -> core.ConfigMap:
        return core.ConfigMap(
            f"{self._prefix}-document",
            metadata=self._metadata(),
            data={ENTRY: router_document.text(self._settings.document)},
            opts=self._child(),
        )

    def _network_policy(self) -> networking.NetworkPolicy:
        settings, access = self._settings, self._settings.access

        wakes = (LOAD_PORT,) if settings.needs.wakes else ()

        def ways_in(
            cidrs: Sequence[str],
            clients: Sequence[str],
            readers: Sequence[str],
            prometheus: str | None,
            adapter: str | None,
        ) -> list[networking.NetworkPolicyIngressRuleArgs]:
            asking = [network.app_in(prometheus, "prometheus")] if prometheus else []
            # A rule without peers would let everybody in, so there is none where nobody is named.
            peers = [
                ((PORT,), [*network.ranges(cidrs), *network.namespaces(clients)]),
                ((METRICS_PORT, CONTROLLER_PORT, *wakes), [*network.namespaces(readers), *asking]),
                (wakes, [network.app_in(adapter, "metrics-adapter")] if adapter else []),
            ]
            return [
                networking.NetworkPolicyIngressRuleArgs(
                    from_=allowed, ports=[network.port(port) for port in ports]
                )
                for ports, allowed in peers
                if allowed
            ]

        def servers(cidrs: Sequence[str] | None) -> list[networking.NetworkPolicyPeerArgs]:
            return network.ranges(cidrs) if cidrs else network.everywhere_but_metadata()

        out = [
            # API servers listen on one of these; their name is not looked up.
            networking.NetworkPolicyEgressRuleArgs(
                to=combine(servers, access.api_servers), ports=[network.port(443), network.port(6443)]
            )
        ]
        out += [
            networking.NetworkPolicyEgressRuleArgs(
                to=[network.beside(pods.selector("model-server", service))],
                ports=[network.port(GATEWAY_PORT)],
            )
            for service in settings.services
        ]
        if settings.needs.ports_elsewhere:
            elsewhere = [
                networking.NetworkPolicyPortArgs(port=port, protocol="TCP")
                for port in settings.needs.ports_elsewhere
            ]
            out += [
                network.names(settings.dns),
                networking.NetworkPolicyEgressRuleArgs(to=network.everywhere_but_metadata(), ports=elsewhere),
            ]
        reason = router_entrance.public_reason(settings)
        return networking.NetworkPolicy(
            f"{self._prefix}-network",
            metadata=self._metadata(filled(reason)),
            spec=networking.NetworkPolicySpecArgs(
                pod_selector=meta.LabelSelectorArgs(match_labels=self._selector),
                policy_types=["Ingress", "Egress"],
                ingress=combine(
                    ways_in,
                    access.cidrs,
                    access.namespaces,
                    access.metrics_namespaces,
                    access.prometheus,
                    access.adapter,
                ),
                egress=out,
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
        patience = combine(
            lambda replicas, grace: max(600, int(replicas) * (int(grace) + 120)),
            settings.replicas,
            settings.grace,
        )
        return apps.Deployment(
            f"{self._prefix}-deployment",
            metadata=self._metadata(pods.awaited(patience)),
            spec=apps.DeploymentSpecArgs(
                replicas=settings.replicas,
                selector=meta.LabelSelectorArgs(match_labels=self._selector),
                strategy=apps.DeploymentStrategyArgs(
                    type="RollingUpdate",
                    rolling_update=apps.RollingUpdateDeploymentArgs(max_surge=1, max_unavailable=0),
                ),
                template=core.PodTemplateSpecArgs(
                    metadata=meta.ObjectMetaArgs(
                        labels={
                            **self._labels,
                            # By it the metrics adapter finds who holds requests.
                            **({f"{pods.PREFIX}queue-metrics": "router"} if settings.needs.wakes else {}),
                        },
                        annotations={
                            f"{pods.PREFIX}config-checksum": router_document.checksum_of(settings.static),
                            "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": (
                                f"{_RUN},tmp-{APP},tmp-envoy"
                            ),
                        },
                    ),
                    spec=self._pod(),
                ),
            ),
            opts=self._child(before),
        )

    def _pod(self) -> core.PodSpecArgs:
        settings, placement = self._settings, self._settings.placement
        return core.PodSpecArgs(
            service_account_name=settings.name,
            # The controller follows the document and the endpoints.
            automount_service_account_token=True,
            enable_service_links=False,
            security_context=pods.restricted_pod(),
            termination_grace_period_seconds=settings.grace,
            image_pull_secrets=pods.pull_secrets(settings.pull_secrets),
            node_selector=filled(placement.node_selector),
            tolerations=filled(placement.tolerations),
            priority_class_name=placement.priority_class,
            runtime_class_name=placement.runtime_class,
            topology_spread_constraints=[
                pods.spread(self._selector, "kubernetes.io/hostname", placement.spread),
                pods.spread(self._selector, "topology.kubernetes.io/zone", "preferred"),
            ],
            # Envoy is a native sidecar, so that it serves on while the controller drains it. What it reads to
            # start is written before it.
            init_containers=[self._begin(), self._envoy()],
            containers=[self._controller()],
            volumes=self._volumes(),
        )

    def _environment(self) -> list[core.EnvVarArgs]:
        settings = self._settings
        return pods.environment(
            {
                "BERTH_ROUTER_FOLDER": FOLDER,
                "BERTH_ROUTER_DOCUMENT": f"{_DOCUMENT_FOLDER}/{ENTRY}",
                "BERTH_ROUTER_NAMESPACE": settings.namespace,
                "BERTH_ROUTER_CONFIG_MAP": settings.name,
                "BERTH_ROUTER_PORT": str(CONTROLLER_PORT),
                "BERTH_ROUTER_PRE_STOP_SECONDS": pods.whole(settings.pre_stop),
                "BERTH_ROUTER_DRAIN_SECONDS": pods.whole(settings.drain),
                **(
                    {"BERTH_ROUTER_LOAD_PORT": str(LOAD_PORT), "BERTH_ROUTER_KEYS": KEYS_FOLDER}
                    if settings.needs.wakes
                    else {}
                ),
            }
        )

    def _own_container(
        self, name: str, mounts: Sequence[core.VolumeMountArgs] = (), **further: object
    ) -> core.ContainerArgs:
        return core.ContainerArgs(
            name=name,
            image=self._settings.image,
            image_pull_policy="IfNotPresent",
            env=self._environment(),
            resources=core.ResourceRequirementsArgs(
                requests={"cpu": "20m", "memory": "64Mi"}, limits={"cpu": "500m", "memory": "192Mi"}
            ),
            security_context=pods.restricted_container(),
            volume_mounts=[
                core.VolumeMountArgs(name=_RUN, mount_path=FOLDER),
                core.VolumeMountArgs(name=_CONFIG, mount_path=_DOCUMENT_FOLDER, read_only=True),
                pods.tmp_mount(APP),
                *self._authorities(),
                *mounts,
            ],
            **further,  # type: ignore[arg-type] # of ContainerArgs' own
        )

    def _authorities(self) -> list[core.VolumeMountArgs]:
        """CAs of backends: the controller hands them to Envoy, so a renewed one counts without new pods."""
        return [
            core.VolumeMountArgs(name=f"{_CA}-{number}", mount_path=f"{CA_FOLDER}/{number}", read_only=True)
            for number, _ in enumerate(self._settings.needs.ca_secrets)
        ]

    def _begin(self) -> core.ContainerArgs:
        return self._own_container("begin", command=["python3", "-m", "berth_agents.router", "begin"])

    def _controller(self) -> core.ContainerArgs:
        def probe(path: str, period: int, failures: int) -> core.ProbeArgs:
            return core.ProbeArgs(
                http_get=core.HTTPGetActionArgs(path=path, port="probes"),
                period_seconds=period,
                timeout_seconds=5,
                failure_threshold=failures,
            )

        load = {LOAD_PORT_NAME: LOAD_PORT} if self._settings.needs.wakes else {}
        ports = {"probes": CONTROLLER_PORT, **load}
        return self._own_container(
            APP,
            [
                core.VolumeMountArgs(name=volume, mount_path=f"{KEYS_FOLDER}/{backend}", read_only=True)
                for volume, backend, _ in self._keys()
            ],
            command=["python3", "-m", "berth_agents.router"],
            ports=[
                core.ContainerPortArgs(name=name, container_port=port, protocol="TCP")
                for name, port in ports.items()
            ],
            startup_probe=probe("/ready", 1, 120),
            readiness_probe=probe("/ready", 2, 2),
            liveness_probe=probe("/live", 10, 3),
        )

    def _envoy(self) -> core.ContainerArgs:
        settings = self._settings
        mounts = [core.VolumeMountArgs(name=_RUN, mount_path=FOLDER), pods.tmp_mount("envoy")]
        if settings.entrance.own_tls:
            mounts.append(core.VolumeMountArgs(name=_TLS, mount_path=TLS_FOLDER, read_only=True))
        mounts += self._authorities()
        return core.ContainerArgs(
            name="envoy",
            image=settings.envoy_image,
            image_pull_policy="IfNotPresent",
            restart_policy="Always",
            command=["envoy"],
            args=[
                "--config-path", f"{FOLDER}/bootstrap.json",
                "--concurrency", "2",
                "--log-level", "warning",
                "--disable-hot-restart",
            ],
            ports=[
                core.ContainerPortArgs(name="http", container_port=PORT, protocol="TCP"),
                core.ContainerPortArgs(name="metrics", container_port=METRICS_PORT, protocol="TCP"),
            ],
            resources=settings.resources,
            security_context=pods.restricted_container(),
            # Ready is what the controller says. Alive: /ready would be "no" while it drains.
            startup_probe=core.ProbeArgs(
                http_get=core.HTTPGetActionArgs(path="/ready", port="metrics"),
                period_seconds=1,
                timeout_seconds=5,
                failure_threshold=120,
            ),
            liveness_probe=core.ProbeArgs(
                tcp_socket=core.TCPSocketActionArgs(port="metrics"),
                period_seconds=10,
                timeout_seconds=5,
                failure_threshold=3,
            ),
            volume_mounts=mounts,
        )  # fmt: skip

    def _volumes(self) -> list[core.VolumeArgs]:
        settings = self._settings
        volumes = [
            core.VolumeArgs(
                name=_RUN, empty_dir=core.EmptyDirVolumeSourceArgs(medium="Memory", size_limit="32Mi")
            ),
            core.VolumeArgs(name=_CONFIG, config_map=core.ConfigMapVolumeSourceArgs(name=settings.name)),
            pods.tmp_volume(APP),
            pods.tmp_volume("envoy"),
        ]
        if settings.entrance.own_tls:
            volumes.append(
                core.VolumeArgs(
                    name=_TLS,
                    secret=core.SecretVolumeSourceArgs(
                        secret_name=settings.entrance.certificate, default_mode=0o440
                    ),
                )
            )
        return [
            *volumes,
            *(
                core.VolumeArgs(name=f"{_CA}-{number}", secret=pods.authority(secret))
                for number, secret in enumerate(settings.needs.ca_secrets)
            ),
            *(
                core.VolumeArgs(
                    name=volume,
                    secret=core.SecretVolumeSourceArgs(secret_name=secret, default_mode=0o440),
                )
                for volume, _, secret in self._keys()
            ),
        ]

    def _keys(self) -> list[tuple[str, str, pulumi.Input[str]]]:
        """Volume, backend and Secret of the keys that wake a backend."""
        return [
            (f"{_KEYS}-{number}", backend, secret)
            for number, (backend, secret) in enumerate(self._settings.needs.wakes.items())
            if secret is not None
        ]
