"""Rollout: variants side by side, and what a new release changes."""

from __future__ import annotations

from berth_components.monitoring.facts import KUBE_STATE

from .model import Dashboard, Kind, Panel, Query, Section
from .promql import BY, LEGEND, SERVER, SITE, largest, mean, quantile, quiet, rate, recorded

ROLLOUT = Dashboard(
    name="rollout",
    title="Rollout",
    text="Variants of a model side by side, and what a new release changes.",
    sections=(
        Section(
            "What runs",
            (
                Panel(
                    title="Revisions",
                    text="Replicas by engine and revision of the weights: two lines mean that a rollout "
                    "is under way.",
                    queries=(
                        Query(
                            "count by (site, model, variant, engine, revision) "
                            f"(berth_server_info{{{SERVER}}})",
                            "{{model}} {{variant}} {{revision}}",
                        ),
                    ),
                ),
                Panel(
                    title="Replicas by age",
                    text="Time since each gateway began: after a rollout all are young.",
                    queries=(
                        Query(
                            "max by (site, model, variant, pod) "
                            f'(time() - process_start_time_seconds{{job="berth-gateway",{SERVER}}})',
                            "Age (s)",
                        ),
                    ),
                    kind=Kind.TABLE,
                    unit="s",
                ),
                Panel(
                    title="Draining",
                    text="Replicas that finish what they have, and the longest that this may take.",
                    queries=(
                        Query(f"sum by ({BY}) (berth_draining{{{SERVER}}})", f"draining {LEGEND}"),
                        Query(largest("berth_drain_limit_seconds"), f"limit in seconds {LEGEND}", line=True),
                    ),
                ),
                Panel(
                    title="Rollout of the Deployments",
                    text="Replicas of the newest template, and those that are available.",
                    queries=(
                        Query(
                            "max by (site, namespace, deployment) "
                            f"(kube_deployment_status_replicas_updated{{{SITE}}})",
                            "updated {{deployment}}",
                        ),
                        Query(
                            "max by (site, namespace, deployment) "
                            f"(kube_deployment_status_replicas_available{{{SITE}}})",
                            "available {{deployment}}",
                        ),
                    ),
                    sources=(KUBE_STATE,),
                ),
            ),
        ),
        Section(
            "Variants side by side",
            (
                Panel(
                    title="Requests by variant",
                    text="Generation requests per second: how the traffic is shared.",
                    queries=(
                        Query(rate("llm_request_count_total", by="model, variant"), "{{model}} {{variant}}"),
                    ),
                    unit="reqps",
                    stacked=True,
                ),
                Panel(
                    title="First token by variant",
                    text="19 of 20 answers begin within this time.",
                    queries=(
                        Query(
                            quantile(0.95, "berth_time_to_first_token_seconds", by="model, variant"),
                            "{{model}} {{variant}}",
                        ),
                    ),
                    unit="s",
                    slo="first_token_p95",
                ),
                Panel(
                    title="Errors by variant",
                    text="Share of requests that failed.",
                    queries=(Query(recorded("server:request_errors:ratio_rate5m"), LEGEND),),
                    unit="percentunit",
                ),
                Panel(
                    title="Length by variant",
                    text="Mean tokens per answer.",
                    queries=(Query(mean("llm_token_count", by="model, variant"), "{{model}} {{variant}}"),),
                    unit="suffix: tok",
                ),
                Panel(
                    title="Liked and disliked",
                    text="Answers that users liked, and did not, per minute.",
                    queries=(
                        Query(
                            "60 * ("
                            + quiet(
                                rate(
                                    "berth_feedback_total",
                                    ',event=~"liked|disliked"',
                                    f"{BY}, event",
                                ),
                                "event",
                            )
                            + ")",
                            "{{model}} {{variant}} {{event}}",
                        ),
                    ),
                    unit="suffix: /min",
                ),
                Panel(
                    title="Engines lost by variant",
                    text="Times per hour that a ready engine was lost.",
                    queries=(
                        Query(
                            "3600 * sum by (model, variant) "
                            f"(rate(berth_engine_losses_total{{{SERVER}}}[1h]))",
                            "{{model}} {{variant}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
