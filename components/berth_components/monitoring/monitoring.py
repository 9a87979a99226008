"""All of monitoring in one cluster: the parts, where they are, and who may reach whom.

bundled     Prometheus, Alertmanager, Grafana, exporters, collector and log shipper of our own
operator    monitors and rules for a Prometheus Operator that is there; of ours what it does not bring
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, cast

import pulumi

from berth_components import checks, network
from berth_components.arguments import Arguments, combine
from berth_components.monitoring import facts, log_shipper, part, scraping
from berth_components.monitoring import node_agents as agents
from berth_components.monitoring.alertmanager import Alertmanager, AlertmanagerOwnArgs
from berth_components.monitoring.collector import Collector, CollectorOwnArgs, SourceArgs
from berth_components.monitoring.dcgm_exporter import DcgmExporter
from berth_components.monitoring.grafana import Grafana, GrafanaOwnArgs
from berth_components.monitoring.kube_state_metrics import KubeStateMetrics
from berth_components.monitoring.log_shipper import LogShipper, ServerLogsArgs
from berth_components.monitoring.node_exporter import NodeExporter
from berth_components.monitoring.operator import OperatorObjects, pod_monitors
from berth_components.monitoring.prometheus import Prometheus, PrometheusOwnArgs
from berth_components.namespace import RestrictedNamespace

if TYPE_CHECKING:
    from berth_components.monitoring.alertmanager import AlertmanagerArgs
    from berth_components.monitoring.collector import CollectorArgs
    from berth_components.monitoring.dcgm_exporter import DcgmExporterArgs
    from berth_components.monitoring.grafana import GrafanaArgs
    from berth_components.monitoring.kube_state_metrics import KubeStateMetricsArgs
    from berth_components.monitoring.log_shipper import LogShipperArgs
    from berth_components.monitoring.node_exporter import NodeExporterArgs
    from berth_components.monitoring.operator import OperatorObjectsArgs
    from berth_components.monitoring.prometheus import PrometheusArgs

NAMESPACE = "berth-monitoring"
PARTS = (
    *("prometheus", "alertmanager", "grafana", "kube-state-metrics", "node-exporter", "dcgm-exporter"),
    *("collector", "log-shipper"),
)
"""Every part there is; each is also the role of its image, but for the log shipper, which is a collector."""
OF_OPERATOR = ("dcgm-exporter", "collector", "log-shipper")
"""Parts that an operator's stack does not bring."""
ON_NODES = frozenset({"node-exporter", "dcgm-exporter", "log-shipper"})
"""Parts that run on every node, or on every node with a GPU."""
NOBODY_IS_TOLD: Mapping[str, Any] = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
_JOBS = {
    "prometheus": (facts.PROMETHEUS, facts.CADVISOR, facts.KUBELET),
    "alertmanager": (facts.ALERTMANAGER,),
    "grafana": (facts.GRAFANA,),
    "kube-state-metrics": (facts.KUBE_STATE,),
    "node-exporter": (facts.NODE,),
    "dcgm-exporter": (facts.DCGM,),
    "collector": (facts.COLLECTOR,),
    "log-shipper": (),
}


class WatchedNamespaceArgs(part.WatchedArgs):
    """A namespace with model servers."""

    site: str
    """The site whose it is: the label `site` of its series."""


class OperatorArgs(TypedDict):
    """A Prometheus Operator that is there."""

    namespace: str
    """Where its Prometheus is: model servers admit it."""
    labels: NotRequired[Mapping[str, str]]
    """Labels by which it picks monitors and rules, such as release: prometheus. Default: none."""


class MonitoringArgs(TypedDict):
    """Args of `Monitoring`."""

    site: str
    """Whose cluster it is: the label `site` of what belongs to no model server."""
    watched: Sequence[WatchedNamespaceArgs]
    """Namespaces with model servers; `name` is the namespace's name, `namespace` says when it exists."""
    mode: NotRequired[str]
    """bundled (default) or operator."""
    parts: NotRequired[Sequence[str]]
    """Of `PARTS`, those that there are. Default: all, the DCGM exporter where there are GPU pools."""
    images: Mapping[str, pulumi.Input[str]]
    """Images by role, for each part."""
    namespace: NotRequired[pulumi.Input[str]]
    """Namespace of its own, created with it; the name must be known. Default: berth-monitoring."""
    ready: NotRequired[pulumi.Input[str]]
    """The same name, known when the cluster can take it. Default: at once."""
    agents_namespace: NotRequired[str]
    """Namespace of the node agents, created with it. Default: berth-node-agents."""
    operator: NotRequired[OperatorArgs]
    """The operator that is there. Only with mode operator, and needed there."""
    adapter_namespace: NotRequired[str]
    """Where the metrics adapter is. Default: there is none."""
    adapter: NotRequired[pulumi.Input[str]]
    """The same, known when it exists. Default: at once."""
    routers: NotRequired[bool]
    """Whether there are routers beside the model servers. Default: no."""
    waiting: NotRequired[bool]
    """Whether one of them holds requests for a model without a replica. Default: no."""
    hybrid: NotRequired[bool]
    """Whether one of them divides its requests between sites, by a `HybridController`. Default: no."""
    logged: NotRequired[Sequence[ServerLogsArgs]]
    """Model servers whose logs carry a model and a variant. Default: none."""
    scrape_seconds: NotRequired[int]
    """How often everything is asked, and rules are evaluated. Default: 15."""
    rule_groups: NotRequired[Sequence[Mapping[str, Any]]]
    """Groups of rules in Prometheus' shape. Default: none."""
    alerting: NotRequired[Mapping[str, Any]]
    """Routes and receivers in Alertmanager's shape. Default: nobody is told."""
    alert_secrets: NotRequired[pulumi.Input[Mapping[str, pulumi.Input[str]]]]
    """The receivers' secrets by file name. Default: none."""
    dashboards: NotRequired[Mapping[str, str]]
    """Dashboards as Grafana's JSON, by file name. Default: none."""
    admin_password: NotRequired[pulumi.Input[str]]
    """Password of Grafana's user admin, a secret. Needed with Grafana."""
    gpu_selectors: NotRequired[Sequence[Mapping[str, pulumi.Input[str]]]]
    """Labels of the nodes of each pool with NVIDIA GPUs. Default: what NVIDIA's own charts take."""
    gpu_tolerations: NotRequired[Sequence[part.TolerationArgs]]
    """Taints of those nodes besides the accelerator's own. Default: none."""
    prometheus: NotRequired[PrometheusOwnArgs]
    """What Prometheus keeps, and who may ask it."""
    alertmanager: NotRequired[AlertmanagerOwnArgs]
    """Whom Alertmanager reaches."""
    grafana: NotRequired[GrafanaOwnArgs]
    """Who may look."""
    collector: NotRequired[CollectorOwnArgs]
    """What the collector keeps, and where it goes on to."""
    api_server_cidrs: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Address ranges of the API servers. Default: any address but the clouds' metadata servers'."""
    dns: NotRequired[str]
    """Who answers names: pods, eks or gke, as for model servers. Default: pods."""
    image_pull_secrets: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Secrets that exist in its namespaces, for the registry."""


def jobs_of(
    parts: Sequence[str],
    *,
    adapter: bool,
    bundled: bool,
    routers: bool = False,
    waiting: bool = False,
    hybrid: bool = False,
) -> frozenset[str]:
    """The scrape jobs that there are with some parts."""
    beside = {
        facts.ADAPTER: adapter,
        facts.ROUTER: routers,
        facts.TELLER: routers,
        facts.WAITING: waiting,
        facts.HYBRID: hybrid,
    }
    found = {facts.GATEWAY, facts.ENGINE, *(job for job, there in beside.items() if there)}
    if not bundled:
        # Its own Prometheus asks the kubelets, under names of its own.
        found |= {job for one in parts for job in _JOBS[one] if one in OF_OPERATOR}
        return frozenset(found)
    return frozenset(found | {job for one in parts for job in _JOBS[one]})


class Monitoring(pulumi.ComponentResource):
    """Everything that watches the model servers of a cluster."""

    namespace: pulumi.Output[str]
    """Where Prometheus and what is beside it are."""
    prometheus: pulumi.Output[str]
    """Name of Prometheus' Service; "" where there is none."""
    alertmanager: pulumi.Output[str]
    """Name of Alertmanager's Service; "" where there is none."""
    grafana: pulumi.Output[str]
    """Name of Grafana's Service; "" where there is none."""

    def __init__(self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        given = Arguments(f"Monitoring '{name}'", args, MonitoringArgs)
        bundled = given.plain("mode", checks.choice("bundled", "operator"), "bundled") == "bundled"
        if bundled == ("operator" in given):
            raise given.refuse(
                "operator", "given" if bundled else "missing", "only with mode operator, and needed there"
            )
        parts = _parts(given, bundled=bundled)
        where = _where(given)
        seconds = given.plain("scrape_seconds", checks.whole_number(1, 300, "seconds"), 15)
        known = facts.Parts(
            jobs=jobs_of(
                parts,
                adapter=bool(where.adapter),
                bundled=bundled,
                routers=given.plain("routers", checks.boolean, False),
                waiting=given.plain("waiting", checks.boolean, False),
                hybrid=given.plain("hybrid", checks.boolean, False),
            ),
            scrape_seconds=seconds,
            evaluation_seconds=seconds,
        )
        images = dict(args.get("images") or {})
        for one in parts:
            if role_of(one) not in images:
                raise given.refuse("images", f"without {role_of(one)}", "an image for each of the parts")
        super().__init__("berth:monitoring:Monitoring", name, {}, opts)
        self._given, self._args, self._where, self._name = given, args, where, name
        self._child = pulumi.ResourceOptions(parent=self)
        self._images = images
        ready = given.read("ready", checks.dns_label, where.monitoring)
        room = RestrictedNamespace(f"{name}-room", {"name": ready}, self._child)
        self._room = room.namespace
        if "collector" in parts:
            self._collector()
        if set(parts) & ON_NODES:
            self._agents(parts)
        if "kube-state-metrics" in parts:
            more = {"watched": self._watched(), **self._servers()}
            KubeStateMetrics(
                f"{name}-kube-state-metrics",
                cast("KubeStateMetricsArgs", {**self._part("kube-state-metrics"), **more}),
                self._child,
            )
        nothing = pulumi.Output.from_input("")
        self.prometheus = self._prometheus(parts, known) if bundled and "prometheus" in parts else nothing
        self.alertmanager = self._alertmanager() if "alertmanager" in parts else nothing
        self.grafana = self._grafana(parts) if "grafana" in parts else nothing
        if not bundled:
            self._monitors(known)
        self.namespace = self._room
        self.register_outputs(
            {
                "namespace": self.namespace,
                "prometheus": self.prometheus,
                "alertmanager": self.alertmanager,
                "grafana": self.grafana,
            }
        )

    def _part(self, app: str) -> dict[str, Any]:
        """What every part of the restricted namespace gets."""
        return {"namespace": self._room, "image": self._images[role_of(app)], **self._secrets()}

    def _secrets(self) -> dict[str, Any]:
        names = self._given.maybe("image_pull_secrets", checks.list_of(checks.dns_label))
        return {} if names is None else {"image_pull_secrets": names}

    def _names(self) -> dict[str, Any]:
        return {"dns": self._given.plain("dns", checks.choice(*network.NAME_SERVERS), "pods")}

    def _servers(self) -> dict[str, Any]:
        cidrs = self._given.maybe("api_server_cidrs", checks.list_of(checks.cidr, at_least=1))
        return {} if cidrs is None else {"api_server_cidrs": cidrs}

    def _watched(self) -> list[part.WatchedArgs]:
        """Where pods are looked for: model servers, the adapter, monitoring itself, the node agents."""
        found: list[part.WatchedArgs] = [
            {"name": one["name"], "namespace": one["namespace"]} for one in self._args["watched"]
        ]
        found.append({"name": self._where.monitoring, "namespace": self._room})
        if self._where.adapter:
            adapter = self._given.read("adapter", checks.dns_label, self._where.adapter)
            found.append({"name": self._where.adapter, "namespace": adapter})
        if self._agents_room is not None:
            found.append({"name": self._where.agents, "namespace": self._agents_room})
        return found

    _agents_room: pulumi.Output[str] | None = None

    def _collector(self) -> None:
        # Several models of a namespace are one source.
        rooms = {one["name"]: one["namespace"] for one in self._args["watched"]}
        sources: list[SourceArgs] = [{"namespace": one, "app": "model-server"} for one in rooms.values()]
        # By its name, since the agents' namespace may come after it.
        sources.append({"namespace": self._where.agents, "app": log_shipper.APP})
        args = {**self._part("collector"), **self._names(), **self._args.get("collector", {})}
        Collector(f"{self._name}-collector", cast("CollectorArgs", {**args, "sources": sources}), self._child)

    def _agents(self, parts: Sequence[str]) -> None:
        ready = self._given.read("ready", checks.dns_label, self._where.monitoring)
        # Known when the cluster can take it, as the other namespace is.
        name = combine(lambda _: self._where.agents, ready)
        room = agents.NodeAgents(f"{self._name}-agents", {"name": name}, self._child)
        self._agents_room = room.namespace
        asked_by = self._where.asked_by or self._where.monitoring

        def args(app: str, **more: Any) -> dict[str, Any]:
            return {
                "namespace": room.namespace,
                "image": self._images[role_of(app)],
                **self._secrets(),
                **more,
            }

        if "node-exporter" in parts:
            NodeExporter(
                f"{self._name}-node-exporter",
                cast("NodeExporterArgs", args("node-exporter", prometheus_namespace=asked_by)),
                self._child,
            )
        if "dcgm-exporter" in parts:
            gpu = {
                key: self._args[f"gpu_{source}"]  # type: ignore[literal-required] # the two below
                for key, source in (("node_selectors", "selectors"), ("tolerations", "tolerations"))
                if f"gpu_{source}" in self._args
            }
            DcgmExporter(
                f"{self._name}-dcgm-exporter",
                cast("DcgmExporterArgs", args("dcgm-exporter", prometheus_namespace=asked_by, **gpu)),
                self._child,
            )
        if "log-shipper" in parts:
            LogShipper(
                f"{self._name}-log-shipper",
                cast(
                    "LogShipperArgs",
                    args(
                        "log-shipper",
                        namespaces=self._where.namespaces,
                        servers=self._args.get("logged", ()),
                        site=self._where.site,
                        collector_namespace=self._where.monitoring,
                        **self._names(),
                    ),
                ),
                self._child,
            )

    def _prometheus(self, parts: Sequence[str], known: facts.Parts) -> pulumi.Output[str]:
        where = self._where
        gateways = [
            {"namespace": name, "labels": {scraping.QUEUE_LABEL: "true"}, "port": 9000}
            for name in sorted(where.sites)
        ]
        exporters = [
            {
                "namespace": namespace,
                "labels": {"app.kubernetes.io/name": scraping.APPS[job]},
                "port": scraping.PORTS[job],
            }
            for job in facts.JOBS
            if job in known.jobs and job in scraping.APPS
            for namespace in where.of(job)
        ]
        args = {
            **self._part("prometheus"),
            "scrape_configs": scraping.scrape_configs(known, where),
            "targets": [*gateways, *exporters],
            "watched": self._watched(),
            "reads_nodes": True,
            "rule_groups": self._args.get("rule_groups", ()),
            "evaluation_seconds": known.evaluation_seconds,
            "external_labels": {"site": where.site},
            **({"alertmanager": "alertmanager"} if "alertmanager" in parts else {}),
            **self._servers(),
            **self._names(),
            **self._args.get("prometheus", {}),
        }
        return Prometheus(f"{self._name}-prometheus", cast("PrometheusArgs", args), self._child).service

    def _alertmanager(self) -> pulumi.Output[str]:
        secrets = self._args.get("alert_secrets")
        args = {
            **self._part("alertmanager"),
            "config": self._args.get("alerting", NOBODY_IS_TOLD),
            **({} if secrets is None else {"secrets": secrets}),
            **self._names(),
            **self._args.get("alertmanager", {}),
        }
        return Alertmanager(f"{self._name}-alertmanager", cast("AlertmanagerArgs", args), self._child).service

    def _grafana(self, parts: Sequence[str]) -> pulumi.Output[str]:
        room = self._where.monitoring
        told = {"alertmanager_url": f"http://berth-alertmanager.{room}.svc:9093"}
        args = {
            **self._part("grafana"),
            "admin_password": self._args.get("admin_password"),
            "dashboards": self._args.get("dashboards", {}),
            "prometheus_url": f"http://berth-prometheus.{room}.svc:9090",
            **(told if "alertmanager" in parts else {}),
            **self._names(),
            **self._args.get("grafana", {}),
        }
        return Grafana(f"{self._name}-grafana", cast("GrafanaArgs", args), self._child).service

    def _monitors(self, known: facts.Parts) -> None:
        operator = self._args.get("operator")
        args: OperatorObjectsArgs = {
            "namespace": self._room,
            "monitors": pod_monitors(known, self._where),
            "labels": operator.get("labels", {}) if operator else {},
            "rule_groups": self._args.get("rule_groups", ()),
            "dashboards": self._args.get("dashboards", {}),
        }
        OperatorObjects(f"{self._name}-monitors", args, self._child)


def role_of(app: str) -> str:
    """The role of a part's image."""
    return "collector" if app == "log-shipper" else app


def _parts(given: Arguments, *, bundled: bool) -> Sequence[str]:
    all_of_them: Sequence[str] = PARTS if bundled else OF_OPERATOR
    parts = given.plain("parts", checks.list_of(checks.choice(*all_of_them)), all_of_them)
    needs = {"log-shipper": "collector", "grafana": "prometheus", "alertmanager": "prometheus"}
    for one, other in needs.items():
        if one in parts and other not in parts:
            raise given.refuse("parts", f"with {one} and without {other}", "both", f"add {other}")
    return parts


def _where(given: Arguments) -> scraping.Where:
    operator = given.group("operator", OperatorArgs) if "operator" in given else None
    return scraping.Where(
        site=given.plain("site", checks.plain_text),
        monitoring=given.plain("namespace", checks.dns_label, NAMESPACE),
        agents=given.plain("agents_namespace", checks.dns_label, agents.DEFAULT),
        adapter=given.plain("adapter_namespace", checks.dns_label) if "adapter_namespace" in given else "",
        sites={
            one.plain("name", checks.dns_label): one.plain("site", checks.plain_text)
            for one in given.groups("watched", WatchedNamespaceArgs)
        },
        asked_by=operator.plain("namespace", checks.dns_label) if operator else "",
    )
