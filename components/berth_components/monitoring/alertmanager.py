"""Alertmanager: groups alerts, keeps them quiet where somebody said so, and tells people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.networking import v1 as networking

from berth_components import checks, network, pods
from berth_components.arguments import Arguments, combine
from berth_components.model_server_gateway import way_out
from berth_components.monitoring import part

APP = "alertmanager"
PORT, PEER_PORT = 9093, 9094
DATA_DIR, CONFIG_DIR = "/alertmanager", "/etc/alertmanager/config"
SECRETS_DIR = "/etc/alertmanager/secrets"
"""Where the receivers' secrets are, a file for each."""


class AlertmanagerOwnArgs(TypedDict):
    """How many Alertmanagers there are, whom they reach, and who may ask them."""

    receivers: NotRequired[Sequence[part.EgressArgs]]
    """Where the receivers are, for the network policy. Default: nowhere: nobody is told."""
    replicas: NotRequired[int]
    """How many, 1 to 3; several tell each other what was sent. Default: 1; 2 in production."""
    storage: NotRequired[pulumi.Input[str]]
    """Size of the volume of a single one: silences, and what was sent. Several have them from each other.
    Default: 1Gi."""
    storage_class: NotRequired[pulumi.Input[str]]
    """The volume's class. Default: the cluster's."""
    retention_hours: NotRequired[pulumi.Input[int]]
    """How long what was sent is remembered. Default: 120."""
    external_url: NotRequired[pulumi.Input[str]]
    """Where people reach it: links in messages. Default: its name in the cluster."""
    node_port: NotRequired[pulumi.Input[int]]
    """Port on every node, for a cluster that nobody else reaches. Default: none."""
    client_cidrs: NotRequired[Sequence[str]]
    """Address ranges that may ask and silence it. It has no login. Default: none."""
    client_namespaces: NotRequired[Sequence[str]]
    """Namespaces that may ask it. Default: none but Prometheus and Grafana."""
    resources: NotRequired[part.ResourcesArgs]
    """CPU and memory. Default: 25m and 64Mi, at most 256Mi."""


class AlertmanagerArgs(AlertmanagerOwnArgs):
    """Args of `Alertmanager`."""

    namespace: pulumi.Input[str]
    """Where it is; the namespace exists."""
    image: pulumi.Input[str]
    """Its image, whose entrypoint is the server."""
    config: pulumi.Input[Mapping[str, Any]]
    """Routes and receivers in Alertmanager's shape. Secrets are named by file, below `SECRETS_DIR`."""
    secrets: NotRequired[pulumi.Input[Mapping[str, pulumi.Input[str]]]]
    """The receivers' secrets by file name: URLs, keys, passwords. Default: none."""
    dns: NotRequired[str]
    """Who answers names: pods, eks or gke, as for model servers. Default: pods."""
    image_pull_secrets: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Secrets that exist in its namespace, for the registry."""


@dataclass(frozen=True, kw_only=True)
class _Settings:
    image: pulumi.Input[str]
    config: pulumi.Input[str]
    secrets: pulumi.Input[Mapping[str, str]] | None
    replicas: int
    storage: pulumi.Input[str]
    storage_class: pulumi.Input[str] | None
    flags: Sequence[pulumi.Input[str]]
    ingress: Sequence[networking.NetworkPolicyIngressRuleArgs]
    egress: Sequence[networking.NetworkPolicyEgressRuleArgs]
    node_port: pulumi.Input[int] | None
    resources: core.ResourceRequirementsArgs
    pull_secrets: pulumi.Input[Sequence[str]]


class Alertmanager(part.Part):
    """Alertmanager as a StatefulSet, with its volume, secrets, network policy and Services."""

    service: pulumi.Output[str]
    """Name of its Service; known once it has endpoints."""
    url: pulumi.Output[str]
    """Where others in the cluster ask it."""

    def __init__(self, name: str, args: AlertmanagerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        given = Arguments(f"Alertmanager '{name}'", args, AlertmanagerArgs)
        namespace = given.read("namespace", checks.dns_label)
        settings = _read(given, namespace)
        super().__init__("Alertmanager", name, APP, namespace, opts)
        self._settings = settings
        before: list[pulumi.Resource] = [
            self._account(),
            self._network_policy(settings.ingress, settings.egress),
            self._config("-config", {"alertmanager.yml": settings.config}),
            *self._secrets(),
        ]
        if settings.replicas == 1:
            before.append(self._claim(settings.storage, settings.storage_class))
        else:
            before.append(self._peers())
        stateful_set = self._stateful_set(before)
        service = self._service({"http": PORT}, settings.node_port)
        self._disruption_budget()
        self.service = self._served(service, stateful_set)
        self.url = self._url(PORT)
        self.register_outputs({"service": self.service, "url": self.url})

    def _secrets(self) -> list[pulumi.Resource]:
        secrets = self._settings.secrets
        if secrets is None:
            return []
        return [
            core.Secret(
                f"{self._prefix}-secrets",
                metadata=self._metadata("-secrets"),
                type="Opaque",
                data=pulumi.Output.secret(secrets).apply(
                    lambda known: {name: part.base64_of(text) for name, text in known.items()}
                ),
                opts=self._child(),
            )
        ]

    def _peers(self) -> core.Service:
        """Names by which several find each other."""
        return core.Service(
            f"{self._prefix}-peers",
            metadata=self._metadata("-peers"),
            spec=core.ServiceSpecArgs(
                cluster_ip="None",
                # They meet before they are Ready.
                publish_not_ready_addresses=True,
                selector=self._selector,
                ports=[
                    core.ServicePortArgs(name="peers", port=PEER_PORT, target_port="peers", protocol="TCP")
                ],
            ),
            opts=self._child(),
        )

    def _stateful_set(self, before: Sequence[pulumi.Resource]) -> apps.StatefulSet:
        settings = self._settings
        several = settings.replicas > 1
        mounts = [part.mount("config", CONFIG_DIR), part.mount("data", DATA_DIR, read_only=False)]
        volumes = [
            part.config_volume("config", f"{self.object}-config"),
            core.VolumeArgs(name="data", empty_dir=core.EmptyDirVolumeSourceArgs(size_limit="256Mi"))
            if several
            else self._data_volume(),
        ]
        if settings.secrets is not None:
            mounts.append(part.mount("secrets", SECRETS_DIR))
            secret = core.SecretVolumeSourceArgs(secret_name=f"{self.object}-secrets", default_mode=0o440)
            volumes.append(core.VolumeArgs(name="secrets", secret=secret))
        ports = [core.ContainerPortArgs(name="http", container_port=PORT, protocol="TCP")]
        if several:
            ports.append(core.ContainerPortArgs(name="peers", container_port=PEER_PORT, protocol="TCP"))
        container = core.ContainerArgs(
            name=APP,
            image=settings.image,
            image_pull_policy="IfNotPresent",
            args=[*settings.flags],
            ports=ports,
            resources=settings.resources,
            security_context=pods.restricted_container(),
            startup_probe=part.probe("/-/ready", "http", period=1, failures=120),
            readiness_probe=part.probe("/-/ready", "http", period=5, failures=3),
            liveness_probe=part.probe("/-/healthy", "http", period=10, failures=6),
            volume_mounts=mounts,
        )
        spec = self._pod(container, volumes, pull_secrets=settings.pull_secrets)
        if several:
            spec.topology_spread_constraints = [
                pods.spread(self._selector, "kubernetes.io/hostname", "preferred", "controller-revision-hash")
            ]
        return apps.StatefulSet(
            f"{self._prefix}-stateful-set",
            metadata=self._metadata(),
            spec=apps.StatefulSetSpecArgs(
                replicas=settings.replicas,
                service_name=f"{self.object}-peers" if several else self.object,
                pod_management_policy="Parallel",
                selector=meta.LabelSelectorArgs(match_labels=self._selector),
                template=self._template(
                    spec,
                    combine(lambda config: pods.checksum({"config": config}), settings.config),
                    local=["data"] if several else [],
                ),
            ),
            opts=self._child(before),
        )


def _read(given: Arguments, namespace: pulumi.Input[str]) -> _Settings:
    storage, storage_class, pull_secrets = part.read_storage(given, "1Gi")
    replicas = given.plain("replicas", checks.whole_number(1, 3, "replicas"), 1)
    for key in ("storage", "storage_class"):
        if replicas > 1 and key in given:
            raise given.refuse(
                key, "given", "only with one replica", "several have their state from each other"
            )
    ways = [way_out(one) for one in given.groups("receivers", part.EgressArgs)]
    clients = part.read_clients(given)
    allowed = [network.app_in(namespace, "prometheus"), network.app_in(namespace, "grafana"), *clients]
    peers = [network.app_in(namespace, APP)]
    names = network.names(given.plain("dns", checks.choice(*network.NAME_SERVERS), "pods"))
    egress = [names, *ways] if ways or replicas > 1 else []
    return _Settings(
        image=given.read("image", checks.image),
        config=combine(part.text_of, given.read("config", part.mapping)),
        secrets=given.maybe("secrets", checks.mapping_of(checks.dns_label, checks.plain_text)),
        replicas=replicas,
        storage=storage,
        storage_class=storage_class,
        flags=_flags(given, namespace, replicas),
        ingress=[part.admit(allowed, PORT), *([part.admit(peers, PEER_PORT)] if replicas > 1 else [])],
        egress=[*egress, *([part.reach(peers, PEER_PORT)] if replicas > 1 else [])],
        node_port=given.maybe("node_port", part.NODE_PORT),
        resources=part.resources(given, "25m", "64Mi", "256Mi"),
        pull_secrets=pull_secrets,
    )


def _flags(given: Arguments, namespace: pulumi.Input[str], replicas: int) -> list[pulumi.Input[str]]:
    hours = given.read("retention_hours", checks.whole_number(1, 8760, "hours"), 120)
    flags: list[pulumi.Input[str]] = [
        f"--config.file={CONFIG_DIR}/alertmanager.yml",
        f"--storage.path={DATA_DIR}",
        combine(lambda known: f"--data.retention={int(known)}h", hours),
        f"--web.listen-address=0.0.0.0:{PORT}",
        "--log.format=json",
    ]
    if "external_url" in given:
        url = given.read("external_url", checks.text(r"https?://\S+", "a URL, http:// or https://"))
        flags.append(combine(lambda known: f"--web.external-url={known}", url))
    if replicas == 1:
        # Nobody to meet, so it listens to nobody.
        return [*flags, "--cluster.listen-address="]
    peers: list[pulumi.Input[str]] = [
        combine(
            lambda known, number=number: (
                f"--cluster.peer=berth-{APP}-{number}.berth-{APP}-peers.{known}.svc:{PEER_PORT}"
            ),
            namespace,
        )
        for number in range(replicas)
    ]
    return [*flags, f"--cluster.listen-address=0.0.0.0:{PEER_PORT}", *peers]
