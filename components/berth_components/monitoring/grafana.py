"""Grafana: the dashboards, provisioned; what somebody changes by hand is theirs, and is on its volume."""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from berth_components import checks, network, pods
from berth_components.arguments import Arguments, combine
from berth_components.monitoring import part

APP = "grafana"
PORT = 3000
_WHY_ONE = "its database is a file on a volume that one pod has at a time; nothing but looking depends on it"
DATA_DIR = "/var/lib/grafana"
_PROVISIONING = "/etc/grafana/provisioning"
_DASHBOARDS = "/etc/berth-dashboards"
_SECRETS = "/etc/grafana-secrets"
_PASSWORD = "admin-password"  # noqa: S105 - a file's name


class GrafanaOwnArgs(TypedDict):
    """A Grafana's volume, and who may look."""

    storage: NotRequired[pulumi.Input[str]]
    """Size of its volume: users, preferences, what was changed by hand. Default: 2Gi."""
    storage_class: NotRequired[pulumi.Input[str]]
    """The volume's class. Default: the cluster's."""
    client_cidrs: NotRequired[Sequence[str]]
    """Address ranges of the people who look. Default: none; `kubectl port-forward` always works."""
    client_namespaces: NotRequired[Sequence[str]]
    """Namespaces that may ask it, such as an ingress controller's. Default: none."""
    external_url: NotRequired[pulumi.Input[str]]
    """Where people reach it. Default: its name in the cluster."""
    resources: NotRequired[part.ResourcesArgs]
    """CPU and memory. Default: 100m and 192Mi, at most 512Mi."""


class GrafanaArgs(GrafanaOwnArgs):
    """Args of `Grafana`."""

    namespace: pulumi.Input[str]
    """Where it is; the namespace exists."""
    image: pulumi.Input[str]
    """Its image."""
    admin_password: pulumi.Input[str]
    """The password of its user `admin`, a secret. It counts when the volume is new."""
    dashboards: NotRequired[Mapping[str, str]]
    """Dashboards as Grafana's JSON, by file name. Default: none."""
    prometheus_url: pulumi.Input[str]
    """Its data source."""
    alertmanager_url: NotRequired[pulumi.Input[str]]
    """The Alertmanager whose alerts it shows. Default: none."""
    dns: NotRequired[str]
    """Who answers names: pods, eks or gke, as for model servers. Default: pods."""
    image_pull_secrets: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Secrets that exist in its namespace, for the registry."""


class Grafana(part.Part):
    """Grafana as a StatefulSet of one, with its volume, data sources, dashboards, password and Service."""

    service: pulumi.Output[str]
    """Name of its Service; known once it has endpoints."""

    def __init__(self, name: str, args: GrafanaArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing or not allowed.
        """
        given = Arguments(f"Grafana '{name}'", args, GrafanaArgs)
        namespace = given.read("namespace", checks.dns_label)
        image = given.read("image", checks.image)
        password = given.read("admin_password", checks.text(r".{12,}", "at least 12 characters"))
        no_dashboards: Mapping[str, str] = {}
        dashboards = given.plain("dashboards", part.mapping, no_dashboards)
        storage, storage_class, pull_secrets = part.read_storage(given, "2Gi")
        resources = part.resources(given, "100m", "192Mi", "512Mi")
        clients = part.read_clients(given)
        dns = given.plain("dns", checks.choice(*network.NAME_SERVERS), "pods")
        sources = combine(
            lambda *known: part.text_of(_sources(*known)),
            given.read("prometheus_url", checks.plain_text),
            given.maybe("alertmanager_url", checks.plain_text),
        )
        url = given.maybe("external_url", checks.text(r"https?://\S+", "a URL, http:// or https://"))
        super().__init__("Grafana", name, APP, namespace, opts)
        asked = [network.app_in(namespace, "prometheus")]
        before: list[pulumi.Resource] = [
            self._account(),
            self._network_policy(
                [part.admit([network.app_in(namespace, "prometheus"), *clients], PORT)],
                [
                    network.names(dns),
                    part.reach(asked, 9090),
                    *(
                        [part.reach([network.app_in(namespace, "alertmanager")], 9093)]
                        if "alertmanager_url" in given
                        else []
                    ),
                ],
            ),
            self._config("-sources", {"berth.yaml": sources}),
            self._config("-folders", {"berth.yaml": part.text_of(_folders())}),
            *(self._dashboard(file, text) for file, text in sorted(dashboards.items())),
            self._password(password),
            self._claim(storage, storage_class),
        ]
        checksum = combine(
            lambda sources: pods.checksum({"sources": sources}, dict(dashboards), _folders_hash()), sources
        )
        stateful_set = self._stateful_set(
            _container(image, resources, url), sorted(dashboards), pull_secrets, checksum, before
        )
        service = self._service({"http": PORT})
        self._disruption_budget()
        self.service = self._served(service, stateful_set)
        self.register_outputs({"service": self.service})

    def _dashboard(self, file: str, text: str) -> core.ConfigMap:
        return self._config(f"-{file.removesuffix('.json')}", {file: text})

    def _password(self, password: pulumi.Input[str]) -> core.Secret:
        return core.Secret(
            f"{self._prefix}-password",
            metadata=self._metadata("-password"),
            type="Opaque",
            data={_PASSWORD: part.encoded(password)},
            opts=self._child(),
        )

    def _stateful_set(
        self,
        container: core.ContainerArgs,
        files: Sequence[str],
        pull_secrets: pulumi.Input[Sequence[str]],
        checksum: pulumi.Input[str],
        before: Sequence[pulumi.Resource],
    ) -> apps.StatefulSet:
        projected = [
            core.VolumeProjectionArgs(
                config_map=core.ConfigMapProjectionArgs(name=f"{self.object}-{file.removesuffix('.json')}")
            )
            for file in files
        ]
        secret = core.SecretVolumeSourceArgs(secret_name=f"{self.object}-password", default_mode=0o440)
        volumes = [
            self._data_volume(),
            pods.tmp_volume(APP),
            part.config_volume("sources", f"{self.object}-sources"),
            part.config_volume("folders", f"{self.object}-folders"),
            core.VolumeArgs(name="password", secret=secret),
            core.VolumeArgs(name="dashboards", projected=core.ProjectedVolumeSourceArgs(sources=projected)),
        ]
        return apps.StatefulSet(
            f"{self._prefix}-stateful-set",
            metadata=self._metadata(annotations={part.ONE_REPLICA: _WHY_ONE}),
            spec=apps.StatefulSetSpecArgs(
                replicas=1,
                service_name=self.object,
                selector=meta.LabelSelectorArgs(match_labels=self._selector),
                template=self._template(
                    self._pod(container, volumes, pull_secrets=pull_secrets), checksum, local=[f"tmp-{APP}"]
                ),
            ),
            opts=self._child(before),
        )


def _container(
    image: pulumi.Input[str], resources: core.ResourceRequirementsArgs, url: pulumi.Input[str] | None
) -> core.ContainerArgs:
    settings: dict[str, pulumi.Input[str]] = {
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_AUTH_ANONYMOUS_ENABLED": "false",
        "GF_LOG_CONSOLE_FORMAT": "json",
        "GF_LOG_MODE": "console",
        "GF_PATHS_DATA": DATA_DIR,
        "GF_PATHS_PLUGINS": f"{DATA_DIR}/plugins",
        "GF_PATHS_PROVISIONING": _PROVISIONING,
        # It has no way to where plugins are.
        "GF_PLUGINS_PREINSTALL_DISABLED": "true",
        "GF_SECURITY_ADMIN_PASSWORD__FILE": f"{_SECRETS}/{_PASSWORD}",
        "GF_SECURITY_DISABLE_GRAVATAR": "true",
        "GF_SERVER_HTTP_PORT": str(PORT),
        "GF_USERS_ALLOW_SIGN_UP": "false",
    }
    if url is not None:
        settings["GF_SERVER_ROOT_URL"] = url
    return core.ContainerArgs(
        name=APP,
        image=image,
        image_pull_policy="IfNotPresent",
        env=pods.environment(settings),
        ports=[core.ContainerPortArgs(name="http", container_port=PORT, protocol="TCP")],
        resources=resources,
        security_context=pods.restricted_container(),
        startup_probe=part.probe("/api/health", "http", period=2, failures=90),
        readiness_probe=part.probe("/api/health", "http", period=5, failures=3),
        liveness_probe=part.probe("/api/health", "http", period=10, failures=6),
        volume_mounts=[
            part.mount("data", DATA_DIR, read_only=False),
            pods.tmp_mount(APP),
            part.mount("sources", f"{_PROVISIONING}/datasources"),
            part.mount("folders", f"{_PROVISIONING}/dashboards"),
            part.mount("password", _SECRETS),
            part.mount("dashboards", _DASHBOARDS),
        ],
    )


def _sources(prometheus: str, alertmanager: str | None) -> dict[str, Any]:
    found: list[dict[str, Any]] = [
        {
            "name": "prometheus",
            "uid": "prometheus",
            "type": "prometheus",
            "access": "proxy",
            "url": prometheus,
            "isDefault": True,
            "editable": False,
            "jsonData": {"httpMethod": "POST", "prometheusType": "Prometheus"},
        }
    ]
    if alertmanager is not None:
        found.append(
            {
                "name": "alertmanager",
                "uid": "alertmanager",
                "type": "alertmanager",
                "access": "proxy",
                "url": alertmanager,
                "editable": False,
                "jsonData": {"implementation": "prometheus"},
            }
        )
    # What the program no longer names goes.
    return {"apiVersion": 1, "prune": True, "datasources": found}


def _folders() -> dict[str, Any]:
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": "berth",
                "folder": "Berth",
                "folderUid": "berth",
                "type": "file",
                "allowUiUpdates": False,
                "disableDeletion": True,
                "options": {"path": _DASHBOARDS},
            }
        ],
    }


def _folders_hash() -> Mapping[str, str]:
    return {"folders": part.text_of(_folders())}
