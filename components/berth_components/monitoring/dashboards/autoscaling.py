"""Autoscaling: the signal, what is wanted, what is there, and what holds it back."""

from __future__ import annotations

from berth_components.monitoring.facts import ADAPTER, KUBE_STATE

from .model import Dashboard, Panel, Query, Section
from .promql import LEGEND, SITE, WINDOW, recorded, total

_HPA = "{{site}} {{horizontalpodautoscaler}}"


def _hpa(name: str) -> str:
    return f"max by (site, namespace, horizontalpodautoscaler) ({name}{{{SITE}}})"


AUTOSCALING = Dashboard(
    name="autoscaling",
    title="Autoscaling",
    text="The signal that replicas follow, how many are wanted and there, and what holds them back.",
    sections=(
        Section(
            "The signal",
            (
                Panel(
                    title="Queue depth",
                    text="Requests admitted that wait for a slot: what the autoscaler follows.",
                    queries=(Query(recorded("server:queue_depth:sum"), LEGEND),),
                ),
                Panel(
                    title="Queue depth per replica",
                    text="Waiting requests divided by ready replicas: this is compared with the "
                    "autoscaler's target.",
                    queries=(
                        Query(
                            f"{recorded('server:queue_depth:sum')} "
                            f"/ ({recorded('server:ready_replicas:sum')} > 0)",
                            LEGEND,
                        ),
                    ),
                ),
                Panel(
                    title="Slots in use",
                    text="Share of the engines' slots that are busy. At 100 % new requests wait.",
                    queries=(Query(recorded("server:slot_use:ratio"), LEGEND),),
                    unit="percentunit",
                    limits=(0.8, 0.95),
                ),
                Panel(
                    title="Places in use",
                    text="Requests in flight as a share of what replicas take at all. At 100 % clients "
                    "get 429.",
                    queries=(Query(recorded("server:queue_fill:ratio"), LEGEND),),
                    unit="percentunit",
                    limits=(0.7, 0.9),
                ),
            ),
        ),
        Section(
            "Replicas",
            (
                Panel(
                    title="Replicas ready",
                    text="Replicas whose engine has proven that it answers, and those that run at all: the "
                    "difference is starting, draining or broken.",
                    queries=(
                        Query(recorded("server:ready_replicas:sum"), f"ready {LEGEND}"),
                        Query(
                            'count by (site, model, variant) (up{job="berth-gateway",site=~"$site",'
                            'model=~"$model",variant=~"$variant"})',
                            f"there {LEGEND}",
                        ),
                    ),
                ),
                Panel(
                    title="Replicas that drain",
                    text="Replicas that have been told to end and finish what they have.",
                    queries=(Query(total("berth_draining"), LEGEND),),
                ),
                Panel(
                    title="Age of the youngest replica",
                    text="Seconds since the newest gateway began: it falls to 0 with each replica that is "
                    "added.",
                    queries=(
                        Query(
                            "min by (site, model, variant) (time() - "
                            'process_start_time_seconds{job="berth-gateway",'
                            'site=~"$site",model=~"$model",variant=~"$variant"})',
                            LEGEND,
                        ),
                    ),
                    unit="s",
                ),
            ),
        ),
        Section(
            "The metrics adapter",
            (
                Panel(
                    title="Answers to the autoscaler",
                    text="How often the autoscaler was told a value, per second. `bound`: a gateway was "
                    "silent, so "
                    "a bound was told; `none`: nothing could be told, and nothing is scaled.",
                    queries=(
                        Query(
                            "sum by (metric, outcome) "
                            f"(rate(berth_adapter_answers_total{{{SITE}}}[{WINDOW}]))",
                            "{{metric}} {{outcome}}",
                        ),
                    ),
                    unit="ops",
                    sources=(ADAPTER,),
                ),
                Panel(
                    title="Time of an answer",
                    text="Mean time in which the adapter asks all gateways and answers.",
                    queries=(
                        Query(
                            f"sum by (metric) (rate(berth_adapter_answer_seconds_total{{{SITE}}}[{WINDOW}])) "
                            "/ (sum by (metric) "
                            f"(rate(berth_adapter_answers_total{{{SITE}}}[{WINDOW}])) > 0)",
                            "{{metric}}",
                        ),
                    ),
                    unit="s",
                    sources=(ADAPTER,),
                    needs="an autoscaler that asks",
                    gate="sum(increase(berth_adapter_answers_total[10m])) > 0",
                ),
                Panel(
                    title="Gateways that the adapter knows",
                    text="Pods whose queue it asks for, and whether the API server asks this adapter at "
                    "all: at 0 "
                    "another one has taken its place, and the autoscaler is blind.",
                    queries=(
                        Query(f"sum by (state) (berth_adapter_gateways{{{SITE}}})", "{{state}}"),
                        Query(f"max by (site) (berth_adapter_asked{{{SITE}}})", "asked {{site}}"),
                        Query(f"max by (site) (berth_adapter_ready{{{SITE}}})", "ready to be asked {{site}}"),
                    ),
                    sources=(ADAPTER,),
                ),
            ),
        ),
        Section(
            "The autoscaler",
            (
                Panel(
                    title="Wanted and there",
                    text="Replicas that the HorizontalPodAutoscaler wants, has, and may have at most.",
                    queries=(
                        Query(_hpa("kube_horizontalpodautoscaler_status_desired_replicas"), f"wanted {_HPA}"),
                        Query(_hpa("kube_horizontalpodautoscaler_status_current_replicas"), f"there {_HPA}"),
                        Query(
                            _hpa("kube_horizontalpodautoscaler_spec_max_replicas"), f"most {_HPA}", line=True
                        ),
                    ),
                    sources=(KUBE_STATE,),
                ),
                Panel(
                    title="Pods that wait for a node",
                    text="Pods that are pending, by namespace: for a node, an image or a volume.",
                    queries=(
                        Query(
                            f'sum by (site, namespace) (kube_pod_status_phase{{{SITE},phase="Pending"}})',
                            "{{site}} {{namespace}}",
                        ),
                    ),
                    sources=(KUBE_STATE,),
                    limits=(1, 5),
                ),
                Panel(
                    title="Nodes ready",
                    text="Nodes that take pods.",
                    queries=(
                        Query(
                            "sum by (site) "
                            f'(kube_node_status_condition{{{SITE},condition="Ready",status="true"}})',
                            "{{site}}",
                        ),
                    ),
                    sources=(KUBE_STATE,),
                ),
            ),
        ),
    ),
)
