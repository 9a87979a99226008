"""The rules of a Prometheus: recorded series and alerts, for what is deployed and what is stated.

    groups = rule_groups(servers, {"chat": Objectives()}, parts)   # {"groups": groups} is a rule file
    missing = unwatched(servers, {"chat": Objectives()}, parts)    # what no alert looks at, and why

An alert whose series nobody exports is not made; `unwatched` lists it with the reason.
"""

from __future__ import annotations

from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from berth_components.monitoring import (
    alerts_business,
    alerts_monitoring,
    alerts_nodes,
    alerts_router,
    alerts_serving,
    rules_recorded,
    rules_slo,
)
from berth_components.monitoring.alert import Alert, Record, Unwatched, alert_rule, record_rule, title
from berth_components.monitoring.facts import WAITING
from berth_components.monitoring.objectives import Objectives

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from berth_components.monitoring.facts import Parts, Server

OWNER, RUNBOOKS = "platform", "docs/runbooks"
BEHAVIOUR_SECONDS, LONG_SECONDS = 300, 120
"""How often drift and long windows are evaluated: they change slowly and read much."""


def rule_groups(
    servers: Sequence[Server],
    objectives: Mapping[str, Objectives],
    parts: Parts,
    *,
    owner: str = OWNER,
    runbooks: str = RUNBOOKS,
) -> list[dict[str, Any]]:
    """Groups of rules in the shape of Prometheus' rule files.

    Args:
        servers: every model at every site whose series come to this Prometheus.
        objectives: by the model's key; a model without any has the defaults.
        parts: what is deployed beside them.
        owner: whose the alerts are, as their label `owner`, where a model's objectives name nobody.
        runbooks: where the pages of docs/runbooks are; `<this>/<alert>.md` is the alert's `runbook_url`.
    """

    def group(
        name: str,
        found: Iterable[Record | Alert | Unwatched],
        seconds: int = parts.evaluation_seconds,
        about: Mapping[str, str] = MappingProxyType({}),
        whose: str = owner,
    ) -> dict[str, Any]:
        rules = [
            record_rule(one, about)
            if isinstance(one, Record)
            else alert_rule(one, parts, whose, runbooks, about)
            for one in found
            if not isinstance(one, Unwatched) and _missing(one, parts) is None
        ]
        return {"name": name, "interval": f"{seconds}s", "rules": rules}

    groups = [
        group("berth.serving", rules_recorded.serving()),
        group("berth.routers", alerts_router.records(waking=parts.has(WAITING))),
    ]
    for server in servers:
        stated, about = _of(objectives, server), server.labels
        # Names of groups are keys of a ConfigMap, too.
        name = f"{server.site}.{server.model}" + ("" if server.variant == "main" else f".{server.variant}")
        often, seldom = rules_slo.records(server, stated)
        behaviour = rules_recorded.behaviour(server, stated)
        cost = rules_recorded.cost(server)
        groups += [
            group(f"berth.slo.{name}", [*often, *rules_recorded.kv_cache(server)], about=about),
            group(f"berth.slo-long.{name}", seldom, LONG_SECONDS, about),
            group(f"berth.cost.{name}", cost, LONG_SECONDS, about),
            group(f"berth.behaviour.{name}", behaviour, BEHAVIOUR_SECONDS, about),
            group(
                f"berth.alerts.{name}",
                _about(server, stated, parts),
                about=about,
                whose=stated.owner or owner,
            ),
        ]
    groups.append(group("berth.alerts", _about_all(servers, parts)))
    return [one for one in groups if one["rules"]]


def unwatched(
    servers: Sequence[Server], objectives: Mapping[str, Objectives], parts: Parts
) -> list[Unwatched]:
    """Alerts that are not made, each with what is missing."""
    found: list[Unwatched] = []
    per_server = ((title(one), _about(one, _of(objectives, one), parts)) for one in servers)
    for name, alerts in chain(per_server, [("", _about_all(servers, parts))]):
        for one in alerts:
            if isinstance(one, Unwatched):
                found.append(one)
            elif (job := _missing(one, parts)) is not None:
                found.append(Unwatched(one.name, name, parts.reason(job)))
    return list(dict.fromkeys(found))


def all_alerts(servers: Sequence[Server], objectives: Mapping[str, Objectives], parts: Parts) -> list[Alert]:
    """Every alert that would be made if all its sources were deployed."""
    per_server = (_about(one, _of(objectives, one), parts) for one in servers)
    return [one for one in chain(*per_server, _about_all(servers, parts)) if isinstance(one, Alert)]


def _of(objectives: Mapping[str, Objectives], server: Server) -> Objectives:
    return objectives.get(server.model, Objectives())


def _about(server: Server, objectives: Objectives, parts: Parts) -> Iterable[Alert | Unwatched]:
    return chain(
        alerts_serving.server_alerts(server),
        rules_slo.alerts(server, objectives, parts),
        alerts_business.cost_alerts(server, objectives),
        alerts_business.safety_alerts(server),
        alerts_business.drift_alerts(server, objectives),
    )


def _about_all(servers: Sequence[Server], parts: Parts) -> Iterable[Alert | Unwatched]:
    return chain(
        alerts_serving.site_alerts(servers),
        alerts_serving.gateway_alerts(),
        alerts_serving.cluster_alerts(servers),
        alerts_router.router_alerts(),
        alerts_router.hybrid_alerts(),
        alerts_nodes.gpu_alerts() if any(one.gpus for one in servers) else (),
        alerts_nodes.node_alerts(),
        alerts_nodes.kubelet_alerts(),
        alerts_nodes.cluster_alerts(servers),
        alerts_monitoring.monitoring_alerts(
            parts, asleep=bool(servers) and all(one.sleeps for one in servers)
        ),
    )


def _missing(one: Alert | Record, parts: Parts) -> str | None:
    return next((job for job in one.needs if not parts.has(job)), None)
