"""Environment: the cluster around the models, and whether monitoring itself works."""

from __future__ import annotations

from berth_components.monitoring.facts import (
    ADAPTER,
    ALERTMANAGER,
    GATEWAY,
    KUBE_STATE,
    KUBELET,
    NODE,
    PROMETHEUS,
)

from .model import Dashboard, Kind, Panel, Query, Section
from .promql import SITE, WINDOW

ENVIRONMENT = Dashboard(
    name="environment",
    title="Environment",
    text="The cluster around the models, and whether what watches them works.",
    variables=("site",),
    sections=(
        Section(
            "Targets",
            (
                Panel(
                    title="Targets up",
                    text="Targets that answered their last scrape, by scrape job.",
                    queries=(Query(f"sum by (job) (up{{{SITE}}})", "{{job}}"),),
                    sources=(GATEWAY,),
                ),
                Panel(
                    title="Targets down",
                    text="Targets that did not answer, by scrape job. What they would have said is "
                    "missing everywhere.",
                    queries=(
                        Query(f"count by (job) (up{{{SITE}}}) - sum by (job) (up{{{SITE}}})", "{{job}}"),
                    ),
                    sources=(GATEWAY,),
                    limits=(1, 2),
                ),
                Panel(
                    title="Time of a scrape",
                    text="The slowest scrape of each job.",
                    queries=(Query(f"max by (job) (scrape_duration_seconds{{{SITE}}})", "{{job}}"),),
                    unit="s",
                    limits=(5, 10),
                ),
                Panel(
                    title="Samples of a scrape",
                    text="Samples that all targets of a job give in one scrape: what monitoring costs "
                    "grows with it.",
                    queries=(
                        Query(
                            f"sum by (job) (scrape_samples_post_metric_relabeling{{{SITE}}})",
                            "{{job}}",
                        ),
                    ),
                ),
            ),
        ),
        Section(
            "Prometheus and Alertmanager",
            (
                Panel(
                    title="Series in memory",
                    text="Series that Prometheus holds in its head block; its memory grows with them.",
                    queries=(Query(f"max by (site) (prometheus_tsdb_head_series{{{SITE}}})", "{{site}}"),),
                    sources=(PROMETHEUS,),
                ),
                Panel(
                    title="Samples taken per second",
                    text="Samples that Prometheus appends.",
                    queries=(
                        Query(
                            "sum by (site) (rate(prometheus_tsdb_head_samples_appended_total"
                            f"{{{SITE}}}[{WINDOW}]))",
                            "{{site}}",
                        ),
                    ),
                    sources=(PROMETHEUS,),
                ),
                Panel(
                    title="Failed evaluations of rules",
                    text="Rules per second that could not be evaluated. Anything but 0 means that an "
                    "alert may be blind.",
                    queries=(
                        Query(
                            "sum by (site) (rate(prometheus_rule_evaluation_failures_total"
                            f"{{{SITE}}}[{WINDOW}]))",
                            "{{site}}",
                        ),
                    ),
                    sources=(PROMETHEUS,),
                    limits=(0.0001, 0.01),
                ),
                Panel(
                    title="Memory of Prometheus",
                    text="Main memory of its process.",
                    queries=(
                        Query(
                            f'max by (site) (process_resident_memory_bytes{{{SITE},job="prometheus"}})',
                            "{{site}}",
                        ),
                    ),
                    unit="bytes",
                    sources=(PROMETHEUS,),
                ),
                Panel(
                    title="Notifications",
                    text="Notifications that Alertmanager sent, and that failed, per second, by kind of "
                    "receiver.",
                    queries=(
                        Query(
                            "sum by (integration) (rate(alertmanager_notifications_total"
                            f"{{{SITE}}}[{WINDOW}]))",
                            "sent {{integration}}",
                        ),
                        Query(
                            "sum by (integration) (rate(alertmanager_notifications_failed_total"
                            f"{{{SITE}}}[{WINDOW}]))",
                            "failed {{integration}}",
                        ),
                    ),
                    sources=(ALERTMANAGER,),
                ),
                Panel(
                    title="Alerts by state",
                    text="Alerts that fire, and that wait for their time.",
                    queries=(
                        Query(
                            f"count by (alertname, alertstate) (ALERTS{{{SITE}}})",
                            "{{alertname}} {{alertstate}}",
                        ),
                    ),
                    sources=(PROMETHEUS,),
                ),
            ),
        ),
        Section(
            "Cluster",
            (
                Panel(
                    title="Nodes",
                    text="Nodes that the node exporter answers on.",
                    queries=(Query(f'count by (site) (up{{{SITE},job="node"}} == 1)', "{{site}}"),),
                    kind=Kind.NUMBER,
                    sources=(NODE,),
                ),
                Panel(
                    title="Load per processor",
                    text="Processes that want to run, per processor of the node, over five minutes. Above "
                    "1 they wait.",
                    queries=(
                        Query(
                            f"max by (site, node) (node_load5{{{SITE}}}) "
                            "/ count by (site, node) (count by (site, node, cpu) "
                            f'(node_cpu_seconds_total{{{SITE},mode="idle"}}))',
                            "{{node}}",
                        ),
                    ),
                    sources=(NODE,),
                    limits=(1, 2),
                ),
                Panel(
                    title="Volumes in use",
                    text="Share of each claimed volume that is used: weights, and Prometheus' own data.",
                    queries=(
                        Query(
                            "max by (site, namespace, persistentvolumeclaim) "
                            f"(kubelet_volume_stats_used_bytes{{{SITE}}} "
                            f"/ kubelet_volume_stats_capacity_bytes{{{SITE}}})",
                            "{{namespace}}/{{persistentvolumeclaim}}",
                        ),
                    ),
                    unit="percentunit",
                    sources=(KUBELET,),
                    needs="volumes whose driver tells their use",
                    gate="count(kubelet_volume_stats_capacity_bytes)",
                    limits=(0.8, 0.9),
                ),
                Panel(
                    title="Restarts",
                    text="Restarts of containers in an hour.",
                    queries=(
                        Query(
                            "sum by (namespace, pod, container) "
                            f"(increase(kube_pod_container_status_restarts_total{{{SITE}}}[1h])) > 0",
                            "{{namespace}}/{{pod}} {{container}}",
                        ),
                    ),
                    sources=(KUBE_STATE,),
                    limits=(1, 5),
                ),
                Panel(
                    title="Metrics adapter",
                    text="1 while the adapter that feeds the autoscaler answers its scrape.",
                    queries=(
                        Query(f'max by (site, pod) (up{{{SITE},job="berth-metrics-adapter"}})', "{{pod}}"),
                    ),
                    sources=(ADAPTER,),
                ),
            ),
        ),
    ),
)
