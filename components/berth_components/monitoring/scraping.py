"""What Prometheus asks, how often, and which labels it puts on every series. Pure: no Pulumi, no cluster.

`scrape_configs` gives the jobs of `facts` in Prometheus' own shape; what the kubelets and Envoy say is cut to
what the catalogue has of them, since they tell about every container of the cluster, and a thousand things.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from berth_catalogue.exporters import exporters

from berth_components.monitoring import facts

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]
PORTS = {
    facts.GATEWAY: 9000,
    facts.ENGINE: 9000,
    facts.ADAPTER: 9001,
    facts.ROUTER: 9000,
    facts.TELLER: 9001,
    facts.WAITING: 9003,
    facts.HYBRID: 9000,
    facts.CADVISOR: 10250,
    facts.KUBELET: 10250,
    facts.NODE: 9100,
    facts.DCGM: 9400,
    facts.KUBE_STATE: 8080,
    facts.PROMETHEUS: 9090,
    facts.ALERTMANAGER: 9093,
    facts.COLLECTOR: 8888,
    facts.GRAFANA: 3000,
}
"""Where each job's targets answer."""
APPS = {
    facts.ADAPTER: "metrics-adapter",
    facts.ROUTER: "router",
    facts.TELLER: "router",
    facts.WAITING: "router",
    facts.HYBRID: "hybrid-controller",
    facts.NODE: "node-exporter",
    facts.DCGM: "dcgm-exporter",
    facts.KUBE_STATE: "kube-state-metrics",
    facts.PROMETHEUS: "prometheus",
    facts.ALERTMANAGER: "alertmanager",
    facts.COLLECTOR: "collector",
    facts.GRAFANA: "grafana",
}
"""Label app.kubernetes.io/name of the pods of each job that has pods of its own."""
ENGINE_PATH = "/engine/metrics"
"""Where a gateway passes its engine's metrics on."""
QUEUE_LABEL = "berth.dev/queue-metrics"
_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path
_META = "__meta_kubernetes_"
_OF_NODES = frozenset({facts.NODE, facts.DCGM})
BESIDE_SERVERS = frozenset({facts.ROUTER, facts.TELLER, facts.WAITING, facts.HYBRID})
"""Jobs whose pods are in the namespaces of model servers."""
_OF_PODS = BESIDE_SERVERS | {facts.ADAPTER}
_ENVOYS_OWN = {"envoy_cluster_name": "administration", "envoy_http_conn_manager_prefix": "admin|metrics"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where the parts are.

    Attributes:
        site: whose cluster it is, for what belongs to no model server.
        monitoring: namespace of Prometheus and what is beside it.
        agents: namespace of the node agents.
        adapter: namespace of the metrics adapter; "" where there is none.
        sites: site by namespace of its model servers.
        asked_by: where the Prometheus is that asks, if it is not ours.
    """

    site: str
    monitoring: str
    agents: str
    adapter: str = ""
    sites: Mapping[str, str] = field(default_factory=dict)
    asked_by: str = ""

    def of(self, job: str) -> list[str]:
        """The namespaces of a job's pods."""
        if job in BESIDE_SERVERS:
            return sorted(self.sites)
        if job in _OF_NODES:
            return [self.agents]
        return [self.adapter if job == facts.ADAPTER else self.monitoring]

    @property
    def namespaces(self) -> list[str]:
        """All of ours."""
        return sorted({one for one in (*self.sites, self.monitoring, self.agents, self.adapter) if one})


def scrape_configs(parts: facts.Parts, where: Where) -> list[Json]:
    """The jobs that are there, in the order of `facts.JOBS`."""
    return [_JOBS.get(job, _pods)(job, parts, where) for job in facts.JOBS if parts.has(job)]


def _job(job: str, parts: facts.Parts, **rest: Any) -> Json:
    seconds = parts.scrape_seconds
    return {
        "job_name": job,
        "scrape_interval": f"{seconds}s",
        "scrape_timeout": f"{min(10, seconds)}s",
        **rest,
    }


def _discovered(role: str, *namespaces: str) -> list[Json]:
    found: Json = {"role": role}
    if namespaces:
        found["namespaces"] = {"names": [*namespaces]}
    return [found]


def _servers(job: str, parts: facts.Parts, where: Where) -> Json:
    return _job(
        job,
        parts,
        kubernetes_sd_configs=_discovered("pod", *sorted(where.sites)),
        metrics_path=ENGINE_PATH if job == facts.ENGINE else "/metrics",
        relabel_configs=server_relabelling(where),
    )


def server_relabelling(where: Where) -> list[Json]:
    """What picks gateways and labels what they say, in Prometheus' spelling."""
    label = f"{_META}pod_label_"
    return [
        _keep(f"{label}berth_dev_queue_metrics", "true"),
        _keep(f"{_META}pod_container_port_name", "metrics"),
        # A pod that is over answers no more, and is no outage; one that still loads its model has no gateway
        # yet.
        _drop(f"{_META}pod_phase", "Pending|Succeeded|Failed"),
        *_site_of_namespace(where),
        _copy(f"{label}berth_dev_model", "model"),
        _copy(f"{label}berth_dev_variant", "variant"),
        _copy(f"{_META}namespace", "namespace"),
        _copy(f"{_META}pod_name", "pod"),
    ]


def _site_of_namespace(where: Where) -> list[Json]:
    return [
        {
            "source_labels": [f"{_META}namespace"],
            "regex": re.escape(namespace),
            "target_label": "site",
            "replacement": site,
        }
        for namespace, site in sorted(where.sites.items())
    ]


def kept(job: str) -> list[str]:
    """Of what the kubelets and Envoy tell, what is kept: all that the catalogue has of the job.

    Only that may be named. A histogram is its three series.
    """
    return sorted(
        f"{name}{end}"
        for one in exporters().values()
        if one.job == job
        for name, metric in one.metrics.items()
        for end in (("_bucket", "_count", "_sum") if metric.type == "histogram" else ("",))
    )


def _kubelet(job: str, parts: facts.Parts, where: Where) -> Json:
    rules = [{"source_labels": ["__name__"], "regex": "|".join(kept(job)), "action": "keep"}]
    if job == facts.CADVISOR:
        rules.append({"source_labels": ["namespace"], "regex": "|".join(where.namespaces), "action": "keep"})
    return _job(
        job,
        parts,
        scheme="https",
        metrics_path="/metrics/cadvisor" if job == facts.CADVISOR else "/metrics",
        authorization={"credentials_file": _TOKEN},
        # Most clusters' kubelets sign their own certificates; who asks is what matters, and nodes are ours.
        tls_config={"insecure_skip_verify": True},
        kubernetes_sd_configs=_discovered("node"),
        relabel_configs=[_copy(f"{_META}node_name", "node"), _fixed("site", where.site)],
        metric_relabel_configs=rules,
    )


def _pods(job: str, parts: facts.Parts, where: Where) -> Json:
    rules = [
        _keep(f"{_META}pod_label_app_kubernetes_io_name", APPS[job]),
        _keep(f"{_META}pod_container_port_number", str(PORTS[job])),
        *(_site_of_namespace(where) if job in BESIDE_SERVERS else [_fixed("site", where.site)]),
    ]
    if job in BESIDE_SERVERS:
        rules += [
            # A pod that is over answers no more, and is no outage.
            _drop(f"{_META}pod_phase", "Succeeded|Failed"),
            _copy(f"{_META}pod_label_app_kubernetes_io_instance", "router"),
        ]
    if job in _OF_NODES:
        rules.append(_copy(f"{_META}pod_node_name", "node"))
    if job in _OF_PODS:
        rules += [_copy(f"{_META}namespace", "namespace"), _copy(f"{_META}pod_name", "pod")]
    return _job(
        job,
        parts,
        kubernetes_sd_configs=_discovered("pod", *where.of(job)),
        # What the exporter of Kubernetes' state says of pods and namespaces is theirs, not its own; what the
        # controller of a hybrid router says of sites is about those.
        honor_labels=job in {facts.KUBE_STATE, facts.HYBRID},
        relabel_configs=rules,
        **({"metric_relabel_configs": _of_envoy()} if job == facts.ROUTER else {}),
    )


def _of_envoy() -> list[Json]:
    """Cuts what Envoy tells, and what is about its own administration."""
    return [
        {"source_labels": ["__name__"], "regex": "|".join(kept(facts.ROUTER)), "action": "keep"},
        *(_drop(label, regex) for label, regex in _ENVOYS_OWN.items()),
    ]


_JOBS = {
    facts.GATEWAY: _servers,
    facts.ENGINE: _servers,
    facts.CADVISOR: _kubelet,
    facts.KUBELET: _kubelet,
}


def _keep(label: str, regex: str) -> Json:
    return {"source_labels": [label], "regex": regex, "action": "keep"}


def _drop(label: str, regex: str) -> Json:
    return {"source_labels": [label], "regex": regex, "action": "drop"}


def _copy(label: str, target: str) -> Json:
    return {"source_labels": [label], "target_label": target}


def _fixed(target: str, value: str) -> Json:
    return {"target_label": target, "replacement": value}
