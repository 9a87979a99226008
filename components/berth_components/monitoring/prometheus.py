"""Prometheus: asks everything that tells metrics, keeps them, evaluates the rules and sends the alerts.

One replica on a volume of its own, since two would keep different samples and every alert twice; what must
outlive the cluster goes on by remote write. A changed configuration or rule replaces the pod at once
(docs/decisions/0029).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NotRequired, TypedDict

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.networking import v1 as networking
from pulumi_kubernetes.rbac import v1 as rbac

from berth_components import checks, network, pods
from berth_components.arguments import Arguments, combine
from berth_components.model_server_gateway import way_out
from berth_components.monitoring import part

APP = "prometheus"
PORT = 9090
DATA_DIR, CONFIG_DIR, RULES_DIR = "/prometheus", "/etc/prometheus", "/etc/prometheus-rules"
TOKEN_DIR = "/etc/prometheus-remote-write"  # noqa: S105 - a path
TOKEN = "token"  # noqa: S105 - a file's name
# Of the volume: the log of the newest two hours and a compaction need room beside the blocks.
_SHARE_OF_BLOCKS = Decimal("0.8")
_STARTUP_SECONDS = 600
_WHY_ONE = (
    "two would keep different samples and send every alert twice; the dead-man's switch tells of its "
    "absence, and remote write keeps samples elsewhere"
)


class RemoteWriteArgs(TypedDict):
    """Where samples go on to."""

    url: pulumi.Input[str]
    """The receiver, such as https://metrics.example.com/api/v1/write."""
    egress: part.EgressArgs
    """Where that is, for the network policy."""
    token: NotRequired[pulumi.Input[str]]
    """Its bearer token, a secret. Default: none."""


class TargetArgs(TypedDict):
    """Pods that are asked for metrics, for the network policy."""

    namespace: pulumi.Input[str]
    """Where they are."""
    labels: NotRequired[Mapping[str, str]]
    """Their labels. Default: every pod of the namespace."""
    port: int
    """Where they answer."""


class PrometheusOwnArgs(TypedDict):
    """What a Prometheus keeps, for how long, and who may ask it."""

    retention_days: NotRequired[pulumi.Input[int]]
    """How long samples are kept, at the most. Default: 15."""
    storage: NotRequired[pulumi.Input[str]]
    """Size of its volume; four fifths of it hold samples, the oldest go first. Default: 20Gi."""
    storage_class: NotRequired[pulumi.Input[str]]
    """The volume's class. Default: the cluster's."""
    remote_write: NotRequired[RemoteWriteArgs]
    """Where samples go on to. Default: nowhere."""
    receiver: NotRequired[bool]
    """Whether it takes samples that others push, by remote write and OTLP. Default: no."""
    node_port: NotRequired[pulumi.Input[int]]
    """Port on every node, for a cluster that nobody else reaches. Default: none."""
    client_cidrs: NotRequired[Sequence[str]]
    """Address ranges that may ask it. It has no login. Default: none."""
    client_namespaces: NotRequired[Sequence[str]]
    """Namespaces that may ask it. Default: none but Grafana."""
    resources: NotRequired[part.ResourcesArgs]
    """CPU and memory. Default: 200m and 512Mi, at most 2Gi."""


class PrometheusArgs(PrometheusOwnArgs):
    """Args of `Prometheus`."""

    namespace: pulumi.Input[str]
    """Where it is; the namespace exists."""
    image: pulumi.Input[str]
    """Its image, whose entrypoint is the server."""
    scrape_configs: pulumi.Input[Sequence[Mapping[str, Any]]]
    """What is asked, as `scraping.scrape_configs` gives it or as Prometheus' documentation says."""
    targets: Sequence[TargetArgs]
    """Pods that it may reach."""
    watched: NotRequired[Sequence[part.WatchedArgs]]
    """Namespaces in which it finds pods. Default: none."""
    reads_nodes: NotRequired[bool]
    """Whether it asks the kubelets. Default: no."""
    rule_groups: NotRequired[pulumi.Input[Sequence[Mapping[str, Any]]]]
    """Groups of rules in Prometheus' shape. Default: none."""
    evaluation_seconds: NotRequired[pulumi.Input[int]]
    """How often rules are evaluated. Default: 15."""
    external_labels: NotRequired[pulumi.Input[Mapping[str, pulumi.Input[str]]]]
    """Labels of everything that leaves it. Default: none."""
    alertmanager: NotRequired[str]
    """Label app.kubernetes.io/name of the Alertmanagers beside it. Default: none, and alerts stay here."""
    api_server_cidrs: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Address ranges of the API servers. Default: any address but the clouds' metadata servers'."""
    dns: NotRequired[str]
    """Who answers names: pods, eks or gke, as for model servers. Default: pods."""
    image_pull_secrets: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Secrets that exist in its namespace, for the registry."""


@dataclass(frozen=True, kw_only=True)
class _Settings:
    image: pulumi.Input[str]
    config: pulumi.Input[str]
    rules: pulumi.Input[Mapping[str, str]]
    watched: Mapping[str, pulumi.Input[str]]
    reads_nodes: bool
    token: pulumi.Input[str] | None
    flags: Sequence[pulumi.Input[str]]
    ingress: Sequence[networking.NetworkPolicyIngressRuleArgs]
    egress: Sequence[networking.NetworkPolicyEgressRuleArgs]
    node_port: pulumi.Input[int] | None
    storage: pulumi.Input[str]
    storage_class: pulumi.Input[str] | None
    resources: core.ResourceRequirementsArgs
    pull_secrets: pulumi.Input[Sequence[str]]


class Prometheus(part.Part):
    """Prometheus as a StatefulSet of one, with its volume, permissions, network policy and Service."""

    service: pulumi.Output[str]
    """Name of its Service; known once it has endpoints."""
    url: pulumi.Output[str]
    """Where others in the cluster ask it."""

    def __init__(self, name: str, args: PrometheusArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        given = Arguments(f"Prometheus '{name}'", args, PrometheusArgs)
        namespace = given.read("namespace", checks.dns_label)
        settings = _read(given, namespace)
        super().__init__("Prometheus", name, APP, namespace, opts)
        self._settings = settings
        before: list[pulumi.Resource] = [
            self._account(),
            *self._permissions(),
            self._network_policy(settings.ingress, settings.egress),
            self._config("-config", {"prometheus.yml": settings.config}),
            self._config("-rules", settings.rules),
            self._claim(settings.storage, settings.storage_class),
            *self._token(),
        ]
        stateful_set = self._stateful_set(before)
        service = self._service({"http": PORT}, settings.node_port)
        self._disruption_budget()
        self.service = self._served(service, stateful_set)
        self.url = self._url(PORT)
        self.register_outputs({"service": self.service, "url": self.url})

    def _permissions(self) -> list[pulumi.Resource]:
        found = self._roles(
            self._settings.watched,
            # Where pods are, what they are called and labelled; nothing else of a namespace.
            [rbac.PolicyRuleArgs(api_groups=[""], resources=["pods"], verbs=["get", "list", "watch"])],
        )
        if self._settings.reads_nodes:
            found += self._cluster_role(
                [
                    rbac.PolicyRuleArgs(api_groups=[""], resources=["nodes"], verbs=["get", "list", "watch"]),
                    # Metrics alone; nodes/proxy would also run commands in pods.
                    rbac.PolicyRuleArgs(api_groups=[""], resources=["nodes/metrics"], verbs=["get"]),
                ]
            )
        return found

    def _token(self) -> list[pulumi.Resource]:
        token = self._settings.token
        if token is None:
            return []
        return [
            core.Secret(
                f"{self._prefix}-remote-write",
                metadata=self._metadata("-remote-write"),
                type="Opaque",
                data={TOKEN: part.encoded(token)},
                opts=self._child(),
            )
        ]

    def _stateful_set(self, before: Sequence[pulumi.Resource]) -> apps.StatefulSet:
        settings = self._settings
        mounts = [
            part.mount("config", CONFIG_DIR),
            part.mount("rules", RULES_DIR),
            part.mount("data", DATA_DIR, read_only=False),
            pods.tmp_mount(APP),
        ]
        volumes = [
            part.config_volume("config", f"{self.object}-config"),
            part.config_volume("rules", f"{self.object}-rules"),
            self._data_volume(),
            pods.tmp_volume(APP),
        ]
        if settings.token is not None:
            mounts.append(part.mount("remote-write", TOKEN_DIR))
            secret = core.SecretVolumeSourceArgs(
                secret_name=f"{self.object}-remote-write", default_mode=0o440
            )
            volumes.append(core.VolumeArgs(name="remote-write", secret=secret))
        container = core.ContainerArgs(
            name=APP,
            image=settings.image,
            image_pull_policy="IfNotPresent",
            args=[*settings.flags],
            ports=[core.ContainerPortArgs(name="http", container_port=PORT, protocol="TCP")],
            resources=settings.resources,
            security_context=pods.restricted_container(),
            # It reads the log of the last hours before it answers.
            startup_probe=part.probe("/-/ready", "http", period=1, failures=_STARTUP_SECONDS),
            readiness_probe=part.probe("/-/ready", "http", period=5, failures=3),
            liveness_probe=part.probe("/-/healthy", "http", period=10, failures=6),
            volume_mounts=mounts,
        )
        checksum = combine(
            lambda config, rules: pods.checksum({"config": config}, rules), settings.config, settings.rules
        )
        return apps.StatefulSet(
            f"{self._prefix}-stateful-set",
            metadata=self._metadata(
                annotations={**pods.awaited(2 * _STARTUP_SECONDS), part.ONE_REPLICA: _WHY_ONE}
            ),
            spec=apps.StatefulSetSpecArgs(
                replicas=1,
                service_name=self.object,
                selector=meta.LabelSelectorArgs(match_labels=self._selector),
                template=self._template(
                    self._pod(
                        container,
                        volumes,
                        pull_secrets=settings.pull_secrets,
                        # It finds pods and nodes by the API server.
                        token=True,
                        grace=120,
                    ),
                    checksum,
                    local=[f"tmp-{APP}"],
                ),
            ),
            opts=self._child(before),
        )


def _read(given: Arguments, namespace: pulumi.Input[str]) -> _Settings:
    storage, storage_class, pull_secrets = part.read_storage(given, "20Gi")
    alertmanager = given.plain("alertmanager", checks.dns_label) if "alertmanager" in given else ""
    token, remote, ways = _remote_write(given)
    no_groups: Sequence[Mapping[str, Any]] = ()
    groups = given.read("rule_groups", checks.list_of(part.mapping), no_groups)
    seconds = given.read("evaluation_seconds", checks.whole_number(1, 3600, "seconds"), 15)
    config = combine(
        lambda scraped, seconds, labels, remote, namespace: part.text_of(
            _config(scraped, int(seconds), labels, remote, (alertmanager, namespace))
        ),
        given.read("scrape_configs", checks.list_of(part.mapping)),
        seconds,
        given.read("external_labels", part.mapping, {}),
        remote,
        namespace,
    )
    reads_nodes = given.plain("reads_nodes", checks.boolean, False)
    clients = part.read_clients(given)
    names = network.names(given.plain("dns", checks.choice(*network.NAME_SERVERS), "pods"))
    return _Settings(
        image=given.read("image", checks.image),
        config=config,
        rules=combine(_rule_files, groups),
        watched=part.watched(given),
        reads_nodes=reads_nodes,
        token=token,
        flags=_flags(given, storage),
        ingress=[part.admit([network.app_in(namespace, "grafana"), *clients], PORT)],
        egress=[
            *(_way_to(one) for one in given.groups("targets", TargetArgs)),
            *([part.reach([network.app_in(namespace, alertmanager)], 9093)] if alertmanager else []),
            # Kubelets are at their nodes' addresses, which nobody knows before.
            *([part.reach(network.private(), 10250)] if reads_nodes else []),
            part.api_servers(given.maybe("api_server_cidrs", checks.list_of(checks.cidr, at_least=1))),
            *([names, *ways] if ways else []),
        ],
        node_port=given.maybe("node_port", part.NODE_PORT),
        storage=storage,
        storage_class=storage_class,
        resources=part.resources(given, "200m", "512Mi", "2Gi"),
        pull_secrets=pull_secrets,
    )


def _remote_write(
    given: Arguments,
) -> tuple[
    pulumi.Input[str] | None,
    pulumi.Input[list[dict[str, Any]]],
    list[networking.NetworkPolicyEgressRuleArgs],
]:
    """The token, what the configuration says, and the way there."""
    if "remote_write" not in given:
        return None, [], []
    group = given.group("remote_write", RemoteWriteArgs)
    url = group.read("url", checks.text(r"https?://[^\s/]+/\S*", "a URL with a path, http:// or https://"))
    token = group.maybe("token", checks.plain_text)
    login = {} if token is None else {"authorization": {"credentials_file": f"{TOKEN_DIR}/{TOKEN}"}}
    ways = [way_out(group.group("egress", part.EgressArgs))]
    return token, combine(lambda url: [{"url": url, **login}], url), ways


def _way_to(target: Arguments) -> networking.NetworkPolicyEgressRuleArgs:
    port = target.plain("port", checks.whole_number(1, 65_535))
    every: Mapping[str, Any] = {}
    labels = target.plain("labels", part.mapping, every)
    return part.reach([network.labelled(target.read("namespace", checks.dns_label), labels)], port)


def _config(
    scraped: Sequence[Mapping[str, Any]],
    seconds: int,
    labels: Mapping[str, str],
    remote: Sequence[Mapping[str, Any]],
    alertmanagers: tuple[str, str],
) -> dict[str, Any]:
    app, namespace = alertmanagers
    found: dict[str, Any] = {
        "global": {"evaluation_interval": f"{seconds}s", "external_labels": dict(labels)},
        "rule_files": [f"{RULES_DIR}/*.yml"],
        "scrape_configs": [dict(one) for one in scraped],
    }
    if app:
        # By their pods, so that each of several gets every alert; they tell each other what was sent.
        label = "__meta_kubernetes_pod_label_app_kubernetes_io_name"
        port = "__meta_kubernetes_pod_container_port_name"
        found["alerting"] = {
            "alertmanagers": [
                {
                    "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": [namespace]}}],
                    "relabel_configs": [
                        {"source_labels": [label], "regex": app, "action": "keep"},
                        {"source_labels": [port], "regex": "http", "action": "keep"},
                    ],
                }
            ]
        }
    if remote:
        found["remote_write"] = [dict(one) for one in remote]
    return found


def _rule_files(groups: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """A file for each group, so that a difference shows which."""
    names = part.file_names([str(group["name"]) for group in groups])
    return {
        f"{name}.yml": part.text_of({"groups": [dict(group)]})
        for name, group in zip(names, groups, strict=True)
    }


def _flags(given: Arguments, storage: pulumi.Input[str]) -> list[pulumi.Input[str]]:
    days = given.read("retention_days", checks.whole_number(1, 3650, "days"), 15)

    def blocks(size: str) -> str:
        return f"--storage.tsdb.retention.size={int(checks.amount(size) * _SHARE_OF_BLOCKS)}B"

    receiver = given.plain("receiver", checks.boolean, False)
    return [
        f"--config.file={CONFIG_DIR}/prometheus.yml",
        f"--storage.tsdb.path={DATA_DIR}",
        combine(lambda known: f"--storage.tsdb.retention.time={int(known)}d", days),
        combine(blocks, storage),
        f"--web.listen-address=0.0.0.0:{PORT}",
        "--log.format=json",
        *(["--web.enable-remote-write-receiver", "--enable-feature=otlp-write-receiver"] if receiver else []),
    ]
