"""The OpenTelemetry Collector: takes traces of requests and logs of containers, and keeps what is worth it.

Of traces it keeps those of failed and of slow requests, judged when the whole trace is there (tail sampling),
and a small share of the others to compare with. A trace is judged in one place, so there is one replica.
Where no backend is named, both lie as JSON lines on its volume, for as long and as much as it may.
"""

from collections.abc import Mapping, Sequence
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

APP = "collector"
GRPC_PORT, HTTP_PORT, METRICS_PORT, HEALTH_PORT = 4317, 4318, 8888, 13133
DATA_DIR, CONFIG_DIR = "/var/lib/collector", "/etc/collector"
TOKEN_VARIABLE = "BERTH_OTLP_TOKEN"  # noqa: S105 - a variable's name
_WHY_ONE = "a trace is judged where all its spans are; while it is away, gateways drop spans, never requests"
_MEBIBYTE = 1 << 20
_FILE_MEGABYTES = 100


class BackendArgs(TypedDict):
    """Where kept traces and logs go on to."""

    endpoint: pulumi.Input[str]
    """Its base URL, OTLP over HTTP, such as https://otlp.example.com."""
    egress: part.EgressArgs
    """Where that is, for the network policy."""
    token: NotRequired[pulumi.Input[str]]
    """Its bearer token, a secret. Default: none."""


class CollectorOwnArgs(TypedDict):
    """What a collector keeps, and where it goes on to."""

    backend: NotRequired[BackendArgs]
    """Where what is kept goes on to. Default: it stays on the volume."""
    slow_seconds: NotRequired[pulumi.Input[float]]
    """From which time on a request counts as slow, in seconds. Default: 10."""
    normal_percent: NotRequired[pulumi.Input[float]]
    """Of all others so many are kept, in percent, above 0. Default: 1."""
    longest_seconds: NotRequired[pulumi.Input[int]]
    """How long a trace is waited for before it is judged: the longest request. Default: 120."""
    retention_days: NotRequired[pulumi.Input[int]]
    """How long files on the volume are kept. Default: 7."""
    storage: NotRequired[pulumi.Input[str]]
    """Size of its volume. Default: 10Gi."""
    storage_class: NotRequired[pulumi.Input[str]]
    """The volume's class. Default: the cluster's."""
    resources: NotRequired[part.ResourcesArgs]
    """CPU and memory. Default: 100m and 512Mi, at most 1Gi."""


class SourceArgs(TypedDict):
    """Pods that send traces or logs."""

    namespace: pulumi.Input[str]
    """Where they are."""
    app: str
    """Their label app.kubernetes.io/name."""


class CollectorArgs(CollectorOwnArgs):
    """Args of `Collector`."""

    namespace: pulumi.Input[str]
    """Where it is; the namespace exists."""
    image: pulumi.Input[str]
    """Its image: the contrib distribution."""
    sources: Sequence[SourceArgs]
    """Who sends traces and logs."""
    dns: NotRequired[str]
    """Who answers names: pods, eks or gke, as for model servers. Default: pods."""
    image_pull_secrets: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Secrets that exist in its namespace, for the registry."""


class Collector(part.Part):
    """The Collector as a StatefulSet of one, with its volume, configuration, network policy and Service."""

    service: pulumi.Output[str]
    """Name of its Service; known once it has endpoints."""
    endpoint: pulumi.Output[str]
    """Where gateways send traces: OTLP over HTTP."""

    def __init__(self, name: str, args: CollectorArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing or not allowed.
        """
        given = Arguments(f"Collector '{name}'", args, CollectorArgs)
        namespace = given.read("namespace", checks.dns_label)
        image = given.read("image", checks.image)
        storage, storage_class, pull_secrets = part.read_storage(given, "10Gi")
        resources = part.resources(given, "100m", "512Mi", "1Gi")
        token, ways, backend = _backend(given)
        config = _config_of(given, backend, storage, with_token=token is not None)
        senders = _senders(given)
        dns = given.plain("dns", checks.choice(*network.NAME_SERVERS), "pods")
        super().__init__("Collector", name, APP, namespace, opts)
        before: list[pulumi.Resource] = [
            self._account(),
            self._network_policy(
                [
                    part.admit(senders, GRPC_PORT, HTTP_PORT),
                    part.admit([network.app_in(namespace, "prometheus")], METRICS_PORT),
                ],
                [network.names(dns), *ways] if ways else [],
            ),
            self._config("-config", {"collector.yaml": config}),
            self._claim(storage, storage_class),
        ]
        secret = None if token is None else self._token(token)
        stateful_set = self._stateful_set(
            _container(image, resources, None if secret is None else f"{self.object}-token"),
            combine(lambda text: pods.checksum({"config": text}), config),
            pull_secrets,
            [*before, *([] if secret is None else [secret])],
        )
        service = self._service({"otlp-grpc": GRPC_PORT, "otlp-http": HTTP_PORT})
        self._disruption_budget()
        self.service = self._served(service, stateful_set)
        self.endpoint = self._url(HTTP_PORT)
        self.register_outputs({"service": self.service, "endpoint": self.endpoint})

    def _token(self, token: pulumi.Input[str]) -> core.Secret:
        return core.Secret(
            f"{self._prefix}-token",
            metadata=self._metadata("-token"),
            type="Opaque",
            data={"token": part.encoded(token)},
            opts=self._child(),
        )

    def _stateful_set(
        self,
        container: core.ContainerArgs,
        checksum: pulumi.Input[str],
        pull_secrets: pulumi.Input[Sequence[str]],
        before: Sequence[pulumi.Resource],
    ) -> apps.StatefulSet:
        volumes = [part.config_volume("config", f"{self.object}-config"), self._data_volume()]
        return apps.StatefulSet(
            f"{self._prefix}-stateful-set",
            metadata=self._metadata(annotations={part.ONE_REPLICA: _WHY_ONE}),
            spec=apps.StatefulSetSpecArgs(
                replicas=1,
                service_name=self.object,
                selector=meta.LabelSelectorArgs(match_labels=self._selector),
                template=self._template(self._pod(container, volumes, pull_secrets=pull_secrets), checksum),
            ),
            opts=self._child(before),
        )


def _container(
    image: pulumi.Input[str], resources: core.ResourceRequirementsArgs, token_secret: str | None
) -> core.ContainerArgs:
    ports = {"otlp-grpc": GRPC_PORT, "otlp-http": HTTP_PORT, "metrics": METRICS_PORT, "health": HEALTH_PORT}
    env = []
    if token_secret is not None:
        key = core.SecretKeySelectorArgs(name=token_secret, key="token")
        env.append(core.EnvVarArgs(name=TOKEN_VARIABLE, value_from=core.EnvVarSourceArgs(secret_key_ref=key)))
    return core.ContainerArgs(
        name=APP,
        image=image,
        image_pull_policy="IfNotPresent",
        args=[f"--config={CONFIG_DIR}/collector.yaml"],
        env=env or None,
        ports=[
            core.ContainerPortArgs(name=name, container_port=port, protocol="TCP")
            for name, port in ports.items()
        ],
        resources=resources,
        security_context=pods.restricted_container(),
        startup_probe=part.probe("/", "health", period=1, failures=60),
        readiness_probe=part.probe("/", "health", period=5, failures=3),
        liveness_probe=part.probe("/", "health", period=10, failures=6),
        volume_mounts=[part.mount("config", CONFIG_DIR), part.mount("data", DATA_DIR, read_only=False)],
    )


def _senders(given: Arguments) -> list[networking.NetworkPolicyPeerArgs]:
    return [
        network.app_in(one.read("namespace", checks.dns_label), one.plain("app", checks.label_value))
        for one in given.groups("sources", SourceArgs)
    ]


def _backend(
    given: Arguments,
) -> tuple[pulumi.Input[str] | None, list[networking.NetworkPolicyEgressRuleArgs], pulumi.Input[str] | None]:
    if "backend" not in given:
        return None, [], None
    group = given.group("backend", BackendArgs)
    endpoint = group.read("endpoint", checks.text(r"https?://[^\s/]+(/\S*)?", "a URL, http:// or https://"))
    return (
        group.maybe("token", checks.plain_text),
        [way_out(group.group("egress", part.EgressArgs))],
        endpoint,
    )


def _config_of(
    given: Arguments, backend: pulumi.Input[str] | None, storage: pulumi.Input[str], *, with_token: bool
) -> pulumi.Input[str]:
    return combine(
        lambda *known: part.text_of(configuration(*known, with_token=with_token)),
        backend,
        storage,
        given.read("slow_seconds", checks.number(0, 3600, "seconds"), 10),
        given.read("normal_percent", checks.number(0, 100, "percent"), 1),
        given.read("longest_seconds", checks.whole_number(1, 3600, "seconds"), 120),
        given.read("retention_days", checks.whole_number(1, 365, "days"), 7),
    )


def configuration(  # noqa: PLR0917 - in the order of the args, filled by `combine`
    backend: str | None,
    storage: str,
    slow_seconds: float,
    normal_percent: float,
    longest_seconds: int,
    retention_days: int,
    *,
    with_token: bool,
) -> dict[str, Any]:
    """The Collector's own configuration."""
    policies = [
        {"name": "failed", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
        {"name": "slow", "type": "latency", "latency": {"threshold_ms": round(1000 * slow_seconds)}},
        {
            "name": "normal",
            "type": "probabilistic",
            "probabilistic": {"sampling_percentage": float(normal_percent)},
        },
    ]
    exporters, used = _exporters(backend, storage, int(retention_days), with_token=with_token)
    return {
        "extensions": {
            "health_check": {"endpoint": f"0.0.0.0:{HEALTH_PORT}"},
            "file_storage": {"directory": f"{DATA_DIR}/queue", "create_directory": True},
        },
        "receivers": {
            "otlp": {
                "protocols": {
                    "grpc": {"endpoint": f"0.0.0.0:{GRPC_PORT}"},
                    "http": {"endpoint": f"0.0.0.0:{HTTP_PORT}"},
                }
            }
        },
        "processors": {
            "memory_limiter": {
                "check_interval": "1s",
                "limit_percentage": 80,
                "spike_limit_percentage": 20,
            },
            "tail_sampling": {
                "decision_wait": f"{int(longest_seconds)}s",
                "num_traces": 50_000,
                "policies": policies,
            },
        },
        "exporters": exporters,
        "service": {
            "extensions": ["health_check", "file_storage"],
            "pipelines": {
                "traces": {
                    "receivers": ["otlp"],
                    "processors": ["memory_limiter", "tail_sampling"],
                    "exporters": [used["traces"]],
                },
                "logs": {
                    "receivers": ["otlp"],
                    "processors": ["memory_limiter"],
                    "exporters": [used["logs"]],
                },
            },
            "telemetry": telemetry(METRICS_PORT),
        },
    }


def telemetry(port: int) -> dict[str, Any]:
    """What a Collector tells of itself."""
    told = {
        "host": "0.0.0.0",  # noqa: S104 - the pod's address
        "port": port,
        # Names as they are documented, and as rules have them: it leaves `_total` out unless it is told.
        "without_type_suffix": False,
        "without_units": True,
    }
    return {
        "logs": {"encoding": "json"},
        "metrics": {"readers": [{"pull": {"exporter": {"prometheus": told}}}]},
    }


def _exporters(
    backend: str | None, storage: str, days: int, *, with_token: bool
) -> tuple[dict[str, Any], Mapping[str, str]]:
    # Two fifths of the volume for traces, two for logs.
    share = int(checks.amount(storage) * 2 / 5)
    if backend is not None:
        login = {"headers": {"Authorization": f"Bearer ${{env:{TOKEN_VARIABLE}}}"}} if with_token else {}
        # What the backend does not take at once waits on the volume, over a restart too, as long as there is
        # room; the Collector's own default gives up after five minutes.
        exporter = {
            "endpoint": backend,
            **login,
            "sending_queue": {
                "enabled": True,
                "storage": "file_storage",
                "sizer": "bytes",
                "queue_size": share,
            },
            "retry_on_failure": {"enabled": True, "max_elapsed_time": "0s"},
        }
        return {"otlp_http": exporter}, {"traces": "otlp_http", "logs": "otlp_http"}
    files = max(1, share // (_FILE_MEGABYTES * _MEBIBYTE) - 1)
    rotation = {"max_megabytes": _FILE_MEGABYTES, "max_days": days, "max_backups": files}
    names = {"traces": "file/traces", "logs": "file/logs"}
    return {
        name: {"path": f"{DATA_DIR}/{signal}.json", "rotation": rotation} for signal, name in names.items()
    }, names
