"""Settings of monitoring: which parts there are, how long they keep things, who is told."""

from typing import Annotated, Any, Literal

from berth_components import checks
from pydantic import Field

from berth_stacks.containers import Egress, Resources
from berth_stacks.fields import (
    Allowed,
    Cidr,
    Flag,
    Labels,
    Name,
    Number,
    Quantity,
    Settings,
    Text,
    Whole,
    limits,
    words,
)
from berth_stacks.objectives_settings import ObjectivesSettings
from berth_stacks.receivers_settings import Receivers

_PORT = limits(30000, 32767)
_HOUR = 3600


def _address(value: Any) -> str:
    return checks.text(
        r"https?://[^\s\"{}]+", "an address such as https://git.example.com/berth/docs/runbooks"
    )(value)


class RemoteWrite(Settings):
    """Where samples go on to; its token is the secret `monitoringSecrets.remoteWrite`."""

    url: Text
    """The receiver, with its path, such as https://metrics.example.com/api/v1/write."""
    egress: Egress
    """Where that is, for the network policy."""


class PrometheusSettings(Settings):
    """What Prometheus keeps, and for how long."""

    retention_days: Annotated[Whole, limits(1, 3650)] | None = None
    """How long samples are kept, at the most. Default: 15."""
    storage: Quantity | None = None
    """Size of its volume; four fifths of it hold samples, the oldest go first. Default: 20Gi."""
    remote_write: RemoteWrite | None = None
    """Where samples go on to. Default: nowhere."""
    receiver: Flag | None = None
    """Whether it takes samples that others push, by remote write and OTLP. Default: false."""
    node_port: Annotated[Whole, _PORT] | None = None
    """Port on every node; it has no login. Default: none."""
    resources: Resources | None = None
    """Its CPU and memory. Default: 200m and 512Mi, at most 2Gi."""


class AlertmanagerSettings(Settings):
    """How many Alertmanagers there are, and whom they reach."""

    egress: list[Egress] = Field(default_factory=list)
    """Where the receivers are, for the network policy. Default: nowhere."""

    replicas: Annotated[Whole, limits(1, 3)] | None = None
    """How many; several tell each other what was sent. Default: 1, in production 2."""
    storage: Quantity | None = None
    """Size of the volume of a single one. Default: 1Gi. Only with one replica."""
    external_url: Text | None = None
    """Where people reach it, for links in messages. Default: its name in the cluster."""
    node_port: Annotated[Whole, _PORT] | None = None
    """Port on every node; it has no login. Default: none."""
    resources: Resources | None = None
    """Its CPU and memory. Default: 25m and 64Mi, at most 256Mi."""


class GrafanaSettings(Settings):
    """Grafana; its user is admin, its password the secret `monitoringSecrets.grafana`."""

    storage: Quantity | None = None
    """Size of its volume. Default: 2Gi."""
    external_url: Text | None = None
    """Where people reach it. Default: its name in the cluster."""
    resources: Resources | None = None
    """Its CPU and memory. Default: 100m and 192Mi, at most 512Mi."""


class Backend(Settings):
    """Where kept traces and logs go on to; its token is the secret `monitoringSecrets.collector`."""

    endpoint: Text
    """Its base URL, OTLP over HTTP, such as https://otlp.example.com."""
    egress: Egress
    """Where that is, for the network policy."""


class CollectorSettings(Settings):
    """Which traces are kept, and where they and the logs go."""

    backend: Backend | None = None
    """Where what is kept goes on to. Default: it stays on the collector's volume."""
    slow_seconds: Annotated[Number, limits(0, _HOUR, "a number")] | None = None
    """From which time on a request counts as slow, in seconds above 0. Default: 10."""
    normal_percent: Annotated[Number, limits(0, 100, "a number")] | None = None
    """Of requests that neither failed nor were slow so many are kept, in percent above 0. Default: 1."""
    longest_seconds: Annotated[Whole, limits(1, _HOUR)] | None = None
    """How long a trace is waited for before it is judged. Default: 120."""
    retention_days: Annotated[Whole, limits(1, 365)] | None = None
    """How long files on its volume are kept. Default: 7."""
    storage: Quantity | None = None
    """Size of its volume. Default: 10Gi."""
    resources: Resources | None = None
    """Its CPU and memory. Default: 100m and 512Mi, at most 1Gi."""


class Operator(Settings):
    """A Prometheus Operator that is there."""

    namespace: Name
    """Where its Prometheus is: model servers admit it."""
    labels: Labels = Field(default_factory=dict)
    """Labels by which it picks monitors and rules, such as release: prometheus. Default: none."""


class Viewers(Settings):
    """Who may ask Prometheus, Alertmanager and Grafana from outside."""

    cidrs: list[Cidr] = Field(default_factory=list)
    """Address ranges. Default: none; `kubectl port-forward` always works."""
    namespaces: list[Name] = Field(default_factory=list)
    """Namespaces in the cluster. Default: none."""


class Monitoring(Settings):
    """Who watches the model servers of each cluster, and who is told."""

    mode: Literal["bundled", "operator", "none"] = "none"
    """bundled: a Prometheus and what belongs to it, in each cluster. operator: monitors and rules for a
    Prometheus Operator that is there. none: nobody watches. Default: none."""
    parts: (
        list[
            Annotated[
                Text,
                words(
                    "prometheus",
                    "alertmanager",
                    "grafana",
                    "kube-state-metrics",
                    "node-exporter",
                    "dcgm-exporter",
                    "collector",
                    "log-shipper",
                ),
            ]
        ]
        | None
    ) = None
    """Which parts there are. Default: all that the mode has; the DCGM exporter where a pool has NVIDIA's
    GPUs."""
    namespace: Name = "berth-monitoring"
    """A namespace of its own. Default: berth-monitoring."""
    agents_namespace: Name = "berth-node-agents"
    """Namespace of what reads the nodes. Default: berth-node-agents."""
    operator: Operator | None = None
    """The operator that is there. Only with mode operator, and needed there."""
    scrape_seconds: Annotated[Whole, limits(1, 300)] = 15
    """How often everything is asked, in seconds. Default: 15."""
    storage_class: Text | None = None
    """Class of its volumes. Default: the cluster's."""
    viewers: Viewers = Viewers()
    """Who may look from outside. Default: nobody."""
    api_server_cidrs: list[Cidr] = Field(default_factory=list)
    """Address ranges of the API servers. Default: any address but the clouds' metadata servers'."""
    prometheus: PrometheusSettings | None = None
    """Prometheus. Default: as its own."""
    alertmanager: AlertmanagerSettings | None = None
    """Alertmanager. Default: as its own."""
    grafana: GrafanaSettings | None = None
    """Grafana. Default: as its own."""
    collector: CollectorSettings | None = None
    """The collector of traces and logs. Default: as its own."""
    receivers: Receivers = Field(default_factory=dict)
    """Who is told, by name. Default: nobody."""
    alert_delay: Annotated[Number, limits(0.01, 10, "a number")] | None = None
    """What the time is multiplied by that a condition must last before it is an alert, and that messages are
    held back. Less than 1 only where somebody is watching. Default: 1."""
    owner: Text = "platform"
    """The label `owner` of every alert: whose they are. Default: platform."""
    runbooks: Annotated[Text, Allowed(_address)] | None = None
    """Where the pages of docs/runbooks are shown, such as https://git.example.com/berth/docs/runbooks: alerts
    and dashboards lead there. Default: their path in the repository."""
    objectives: dict[Name, ObjectivesSettings] = Field(default_factory=dict)
    """What counts as well, by model. Default: as the objectives' own, for every model."""
