"""What a proof takes from a plan: every resource as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from berth.deployer import Report, Step
    from berth.operations.proof import Facts, Quota, Resource


def resources(report: Report) -> list[Resource]:
    """What a stack would deploy, with what is not known marked."""
    from berth.operations.proof import Resource

    return [
        Resource(
            step.urn,
            step.type,
            step.name,
            _plain(step.inputs if step.manifest is None else step.manifest),
            step.references,
            _cluster(step),
        )
        for step in report.steps
        if step.custom
    ]


def _cluster(step: Step) -> str:
    """The name of the provider that reaches the cluster, which a program has one of per cluster."""
    return step.provider.rpartition("::")[2] if step.type.startswith("kubernetes:") else ""


def _plain(value: Any) -> Any:
    from berth.deployer import UNKNOWN, Secret
    from berth.deployer.values import NOT_KNOWN
    from berth.operations.proof import UNKNOWN as NOT_YET

    if value is UNKNOWN or isinstance(value, Secret) or value == NOT_KNOWN:
        return NOT_YET
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def facts(hpa_sync_seconds: float | None = None, quotas: dict[str, Quota] | None = None) -> Facts:
    """What is known beside a plan: which metrics our parts export, and what clouds were asked."""
    from berth_agents.metrics_adapter.readings import METRICS
    from berth_serving.metric_table import TABLE

    from berth.operations.proof import Facts

    return Facts(
        external_metrics=frozenset(METRICS),
        series=frozenset(row.name for row in TABLE),
        quotas=quotas or {},
        hpa_sync_seconds=hpa_sync_seconds,
    )
