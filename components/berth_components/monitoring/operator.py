"""For a cluster that has the Prometheus Operator: monitors and rules instead of a Prometheus of our own.

The operator's Prometheus, Alertmanager, Grafana, node exporter and kube-state-metrics belong to whoever runs
them, under names of theirs: what they tell is not among our scrape jobs.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from berth_components import checks, pods
from berth_components.arguments import Arguments
from berth_components.monitoring import facts, part
from berth_components.monitoring.scraping import APPS, PORTS, QUEUE_LABEL, Where, scrape_configs

API = "monitoring.coreos.com/v1"
JOBS = frozenset(
    {
        *(facts.GATEWAY, facts.ENGINE, facts.ADAPTER, facts.ROUTER, facts.TELLER, facts.WAITING),
        *(facts.HYBRID, facts.DCGM, facts.COLLECTOR),
    }
)
"""What there are monitors for."""
DASHBOARD_LABEL = "grafana_dashboard"
"""What the Grafana chart's sidecar looks for."""


class OperatorObjectsArgs(TypedDict):
    """Args of `OperatorObjects`."""

    monitors: Mapping[str, Mapping[str, Any]]
    """PodMonitors' specs by scrape job, as `pod_monitors` gives them."""
    namespace: pulumi.Input[str]
    """Where they are; the namespace exists."""
    labels: NotRequired[Mapping[str, str]]
    """Labels by which the operator's Prometheus picks monitors and rules, such as release: prometheus.
    Default: none."""
    rule_groups: NotRequired[pulumi.Input[Sequence[Mapping[str, Any]]]]
    """Groups of rules in Prometheus' shape. Default: none."""
    dashboards: NotRequired[Mapping[str, str]]
    """Dashboards as Grafana's JSON, by file name. Default: none."""


class OperatorObjects(pulumi.ComponentResource):
    """PodMonitors, a PrometheusRule for each group, and dashboards as ConfigMaps for Grafana's sidecar."""

    rules: pulumi.Output[int]
    """How many groups of rules there are."""

    def __init__(
        self, name: str, args: OperatorObjectsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare them.

        Raises:
            ArgumentError: an argument is unknown, missing or not allowed.
        """
        given = Arguments(f"OperatorObjects '{name}'", args, OperatorObjectsArgs)
        namespace = given.read("namespace", checks.dns_label)
        nothing: Mapping[str, Any] = {}
        picked = given.plain("labels", checks.mapping_of(checks.qualified_name, checks.label_value), nothing)
        no_groups: Sequence[Mapping[str, Any]] = ()
        groups = given.plain("rule_groups", checks.list_of(part.mapping), no_groups)
        dashboards = given.plain("dashboards", part.mapping, nothing)
        monitors = given.plain("monitors", part.mapping)
        super().__init__("berth:monitoring:OperatorObjects", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        labels = {**pods.labels("monitors", part.INSTANCE), **picked}

        def metadata(suffix: str, more: Mapping[str, str] | None = None) -> meta.ObjectMetaArgs:
            return meta.ObjectMetaArgs(
                name=f"berth-{suffix}", namespace=namespace, labels={**labels, **(more or {})}
            )

        for whole, spec in monitors.items():
            job = whole.removeprefix("berth-")
            CustomResource(
                f"{name}-{job}-monitor",
                api_version=API,
                kind="PodMonitor",
                metadata=metadata(job),
                spec=dict(spec),
                opts=child,
            )
        named = part.file_names([str(group["name"]) for group in groups])
        for rule, group in zip(named, groups, strict=True):
            CustomResource(
                f"{name}-{rule}-rules",
                api_version=API,
                kind="PrometheusRule",
                metadata=metadata(rule),
                spec={"groups": [dict(group)]},
                opts=child,
            )
        for file, text in sorted(dashboards.items()):
            core.ConfigMap(
                f"{name}-{file.removesuffix('.json')}-dashboard",
                metadata=metadata(f"dashboard-{file.removesuffix('.json')}", {DASHBOARD_LABEL: "1"}),
                data={file: text},
                opts=child,
            )
        self.rules = pulumi.Output.from_input(len(groups))
        self.register_outputs({"rules": self.rules})


def pod_monitors(parts: facts.Parts, where: Where) -> dict[str, dict[str, Any]]:
    """The PodMonitors' specs, by scrape job."""
    return {
        config["job_name"]: _monitor(config, where)
        for config in scrape_configs(parts, where)
        if config["job_name"] in JOBS
    }


def _monitor(config: Mapping[str, Any], where: Where) -> dict[str, Any]:
    """A scrape job as a PodMonitor."""
    job = config["job_name"]
    of_servers = job in {facts.GATEWAY, facts.ENGINE}
    labels = {QUEUE_LABEL: "true"} if of_servers else {"app.kubernetes.io/name": APPS[job]}
    namespaces = sorted(where.sites) if of_servers else where.of(job)
    # The kubelets' are no pods, so only Envoy's series are cut here.
    cut = [_camel(one) for one in config.get("metric_relabel_configs", ())]
    return {
        "selector": {"matchLabels": labels},
        "namespaceSelector": {"matchNames": namespaces},
        "podMetricsEndpoints": [
            {
                "portNumber": PORTS[job],
                "path": config.get("metrics_path", "/metrics"),
                "interval": config["scrape_interval"],
                "scrapeTimeout": config["scrape_timeout"],
                "relabelings": [
                    # The operator would call it by namespace and monitor.
                    {"targetLabel": "job", "replacement": job},
                    *(_camel(one) for one in config["relabel_configs"]),
                ],
                **({"honorLabels": True} if config.get("honor_labels") else {}),
                **({"metricRelabelings": cut} if cut else {}),
            }
        ],
    }


def _camel(rule: Mapping[str, Any]) -> dict[str, Any]:
    """A relabelling rule in the operator's spelling."""
    names = {"source_labels": "sourceLabels", "target_label": "targetLabel"}
    found = {names.get(key, key): value for key, value in rule.items()}
    return dict(json.loads(json.dumps(found)))
