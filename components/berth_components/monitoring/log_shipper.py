"""The log shipper: what our containers write, with the labels that their series carry.

It is the OpenTelemetry Collector once more, as an agent on each node: one program to know, one image to pin.
It reads the files of our namespaces only, remembers on the node how far it came, and hands lines to the
collector, which keeps them or sends them on.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from berth_components import checks, network, pods
from berth_components.arguments import Arguments, combine
from berth_components.monitoring import part
from berth_components.monitoring.collector import GRPC_PORT, HEALTH_PORT

APP = "log-shipper"
LOGS_DIR, STATE_DIR, CONFIG_DIR = "/var/log/pods", "/var/lib/berth-log-shipper", "/etc/log-shipper"
_WHY_ROOT = "the files of containers' logs belong to root, and nobody else may read them"


class ServerLogsArgs(TypedDict):
    """A model server whose lines are labelled."""

    namespace: str
    """Where its pods are."""
    name: str
    """Name of its Deployment."""
    site: str
    """The label `site`."""
    model: str
    """The label `model`."""
    variant: str
    """The label `variant`."""


class LogShipperArgs(TypedDict):
    """Args of `LogShipper`."""

    namespace: pulumi.Input[str]
    """Where it is: the node agents' namespace, which exists."""
    image: pulumi.Input[str]
    """Its image: the Collector's contrib distribution."""
    namespaces: Sequence[str]
    """Namespaces whose containers' logs are read."""
    servers: NotRequired[Sequence[ServerLogsArgs]]
    """Whose lines carry a model and a variant. Default: none."""
    site: str
    """The label `site` of all others."""
    collector_namespace: pulumi.Input[str]
    """Where the collector is that takes them."""
    dns: NotRequired[str]
    """Who answers names: pods, eks or gke, as for model servers. Default: pods."""
    resources: NotRequired[part.ResourcesArgs]
    """CPU and memory. Default: 50m and 128Mi, at most 256Mi."""
    image_pull_secrets: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Secrets that exist in its namespace, for the registry."""


class LogShipper(part.Part):
    """The log shipper on every node, as root without a capability: the logs' files are root's."""

    daemon_set: pulumi.Output[str]
    """Name of the DaemonSet; known once it is declared."""

    def __init__(self, name: str, args: LogShipperArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing or not allowed.
        """
        given = Arguments(f"LogShipper '{name}'", args, LogShipperArgs)
        namespace = given.read("namespace", checks.dns_label)
        image = given.read("image", checks.image)
        collector = given.read("collector_namespace", checks.dns_label)
        dns = given.plain("dns", checks.choice(*network.NAME_SERVERS), "pods")
        resources = part.resources(given, "50m", "128Mi", "256Mi")
        pull_secrets = given.read("image_pull_secrets", checks.list_of(checks.dns_label), part.NOBODY)
        namespaces = given.plain("namespaces", checks.list_of(checks.dns_label, at_least=1))
        site = given.plain("site", checks.plain_text)
        servers = [
            {key: str(one.plain(key, checks.plain_text)) for key in ServerLogsArgs.__required_keys__}
            for one in given.groups("servers", ServerLogsArgs)
        ]
        config = combine(
            lambda collector: part.text_of(configuration(servers, site, collector, namespaces)), collector
        )
        super().__init__("LogShipper", name, APP, namespace, opts)
        before = [
            self._account(),
            self._network_policy(
                egress=[network.names(dns), part.reach([network.app_in(collector, "collector")], GRPC_PORT)]
            ),
            self._config("-config", {"log-shipper.yaml": config}),
        ]
        spec = self._pod(
            _container(image, resources),
            [
                part.config_volume("config", f"{self.object}-config"),
                _folder("logs", LOGS_DIR, "Directory"),
                _folder("state", STATE_DIR, "DirectoryOrCreate"),
            ],
            pull_secrets=pull_secrets,
        )
        spec.security_context = core.PodSecurityContextArgs(
            run_as_user=0, run_as_group=0, seccomp_profile=core.SeccompProfileArgs(type="RuntimeDefault")
        )
        spec.tolerations = [core.TolerationArgs(operator="Exists")]
        spec.node_selector = part.LINUX
        daemon_set = apps.DaemonSet(
            f"{name}-daemon-set",
            metadata=self._metadata(annotations={part.ROOT: _WHY_ROOT}),
            spec=apps.DaemonSetSpecArgs(
                selector=meta.LabelSelectorArgs(match_labels=self._selector),
                update_strategy=apps.DaemonSetUpdateStrategyArgs(
                    type="RollingUpdate",
                    rolling_update=apps.RollingUpdateDaemonSetArgs(max_unavailable="10%"),
                ),
                template=self._template(spec, combine(lambda text: pods.checksum({"config": text}), config)),
            ),
            opts=self._child(before),
        )
        self.daemon_set = daemon_set.urn.apply(lambda _: self.object)
        self.register_outputs({"daemonSet": self.daemon_set})


def _container(image: pulumi.Input[str], resources: core.ResourceRequirementsArgs) -> core.ContainerArgs:
    node = core.ObjectFieldSelectorArgs(field_path="spec.nodeName")
    return core.ContainerArgs(
        name=APP,
        image=image,
        image_pull_policy="IfNotPresent",
        args=[f"--config={CONFIG_DIR}/log-shipper.yaml"],
        env=[core.EnvVarArgs(name="NODE_NAME", value_from=core.EnvVarSourceArgs(field_ref=node))],
        ports=[core.ContainerPortArgs(name="health", container_port=HEALTH_PORT, protocol="TCP")],
        resources=resources,
        security_context=pods.restricted_container(),
        startup_probe=part.probe("/", "health", period=1, failures=60),
        readiness_probe=part.probe("/", "health", period=10, failures=3),
        liveness_probe=part.probe("/", "health", period=15, failures=4),
        volume_mounts=[
            part.mount("config", CONFIG_DIR),
            part.mount("logs", LOGS_DIR),
            part.mount("state", STATE_DIR, read_only=False),
        ],
    )


def _folder(name: str, path: str, kind: str) -> core.VolumeArgs:
    return core.VolumeArgs(name=name, host_path=core.HostPathVolumeSourceArgs(path=path, type=kind))


def configuration(
    servers: Sequence[Mapping[str, str]], site: str, collector: str, namespaces: Sequence[str]
) -> dict[str, Any]:
    """The agent's own configuration."""
    return {
        "extensions": {
            "health_check": {"endpoint": f"0.0.0.0:{HEALTH_PORT}"},
            "file_storage": {"directory": STATE_DIR, "create_directory": True},
        },
        "receivers": {
            "file_log": {
                "include": [f"{LOGS_DIR}/{one}_*/*/*.log" for one in sorted(namespaces)],
                # Lines about lines would never end.
                "exclude": [f"{LOGS_DIR}/*/{APP}/*.log"],
                # On a new node the first replica's lines may be older than this agent.
                "start_at": "beginning",
                "include_file_path": True,
                "storage": "file_storage",
                # What the collector does not take stays in its file, however long that lasts.
                "retry_on_failure": {"enabled": True, "max_elapsed_time": "0s"},
                # It reads namespace, pod and container off the file's path: nobody has to be asked.
                "operators": [{"type": "container"}],
            }
        },
        "processors": {
            "memory_limiter": {"check_interval": "1s", "limit_percentage": 80, "spike_limit_percentage": 20},
            "transform": {"log_statements": [*_labels(servers, site)]},
        },
        "exporters": {
            "otlp_grpc": {
                "endpoint": f"berth-collector.{collector}.svc:{GRPC_PORT}",
                "tls": {"insecure": True},
                "sending_queue": {"enabled": True, "storage": "file_storage"},
                "retry_on_failure": {"enabled": True, "max_elapsed_time": "0s"},
            }
        },
        "service": {
            "extensions": ["health_check", "file_storage"],
            "pipelines": {
                "logs": {
                    "receivers": ["file_log"],
                    "processors": ["memory_limiter", "transform"],
                    "exporters": ["otlp_grpc"],
                }
            },
            "telemetry": {"logs": {"encoding": "json"}, "metrics": {"level": "none"}},
        },
    }


def _labels(servers: Sequence[Mapping[str, str]], site: str) -> Iterator[str]:
    """Statements that give lines the labels of series, beside the conventions' own names."""
    for name, known in (("namespace", "k8s.namespace.name"), ("pod", "k8s.pod.name")):
        yield f'set(resource.attributes["{name}"], resource.attributes["{known}"])'
    yield f'set(resource.attributes["site"], "{site}")'
    for one in servers:
        # A Deployment's pods: its name, the revision and five characters.
        pods_of = f"^{one['name']}-[a-z0-9]+-[a-z0-9]{{5}}$"
        where = (
            f'resource.attributes["k8s.namespace.name"] == "{one["namespace"]}" '
            f'and IsMatch(resource.attributes["k8s.pod.name"], "{pods_of}")'
        )
        for label in ("site", "model", "variant"):
            yield f'set(resource.attributes["{label}"], "{one[label]}") where {where}'
