"""Links from the metric to the autoscaler: exported, found, scaled by, sane, and within which limits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from berth.operations.proof.facts import NotKnown, Resource, at, selects
from berth.operations.proof.plan import EXTERNAL_API, Subject
from berth.operations.proof.verdicts import Finding
from berth.operations.quantities import amount

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

GATEWAY_LABEL = "berth.dev/queue-metrics"
QUEUE, RUNNING = "berth_queue_depth", "berth_running_requests"
TOLERANCE = 1.1
"""Of the HPA controller: below this ratio to its target nothing is scaled (Kubernetes' default)."""
_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_NOT_METRICS = frozenset(
    [
        "sum",
        "avg",
        "max",
        "min",
        "count",
        "rate",
        "irate",
        "increase",
        "vector",
        "scalar",
        "or",
        "and",
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "clamp_min",
        "clamp_max",
        "histogram_quantile",
        "delta",
        "max_over_time",
        "min_over_time",
        "avg_over_time",
        "sum_over_time",
        "unless",
        "bool",
        "offset",
        "absent",
    ]
)


def external(subject: Subject) -> list[Mapping[str, Any]]:
    """The external metrics of an HPA."""
    return [
        metric["external"]
        for metric in subject.scaler.at("spec", "metrics") or []
        if metric.get("type") == "External"
    ]


def triggers(subject: Subject) -> list[Mapping[str, Any]]:
    """The triggers of a ScaledObject."""
    return list(subject.scaler.at("spec", "triggers") or [])


def series_of(query: str) -> list[str]:
    """The names of the series in a PromQL query, without functions and labels."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", "", query)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left)\s*\([^)]*\)", "", bare)
    names = [name for name in _METRIC_NAME.findall(bare) if name not in _NOT_METRICS]
    return list(dict.fromkeys(names))


def exported(subject: Subject) -> Iterator[Finding]:
    """Whether what is scaled by exists at all, and the pods show it."""
    facts, title = subject.plan.facts, subject.scaler.title
    names = [str(at(one, "metric", "name", of=title)) for one in external(subject)]
    known: frozenset[str] | None = facts.external_metrics
    if subject.is_keda:
        names = [
            name
            for one in triggers(subject)
            for name in series_of(str(at(one, "metadata", "query", of=title) or ""))
        ]
        known = facts.series
    if known is None:
        raise NotKnown("which series the deployed parts export is not known")
    for name in names:
        if name not in known:
            yield Finding(
                "failed",
                f"{title} scales by {name}, which nothing exports",
                (title, subject.target.title),
                f"use one of: {', '.join(sorted(name for name in known if name.startswith('berth_')))}",
            )
    if not names:
        yield from _cpu(subject)
        return
    gateway = subject.gateway
    if gateway is None:
        yield Finding(
            "failed",
            f"{subject.target.title} has no container port named metrics",
            (title, subject.target.title),
            "let its gateway serve its metrics port",
        )
        return
    port = next(one["containerPort"] for one in gateway["ports"] if one.get("name") == "metrics")
    served = subject.environment().get("BERTH_METRICS_PORT")
    if served is not None and str(served) != str(port):
        yield Finding(
            "failed",
            f"the gateway serves metrics on port {served}, and its container port is {port}",
            (subject.target.title,),
            "let BERTH_METRICS_PORT and the container port metrics be the same",
        )
    yield Finding(
        "passed", f"{', '.join(names)}, by port {port} of {subject.target.title}", (subject.target.title,)
    )


def _cpu(subject: Subject) -> Iterator[Finding]:
    without = [str(one.get("name")) for one in subject.containers() if not _cpu_request(one)]
    title = subject.scaler.title
    if without:
        yield Finding(
            "failed",
            f"{title} scales by CPU, of which these containers request none: {', '.join(without)}",
            (title, subject.target.title),
            "give each container a CPU request",
        )
    else:
        yield Finding("passed", "CPU of containers that all request some", (subject.target.title,))


def _cpu_request(container: Mapping[str, Any]) -> object:
    return ((container.get("resources") or {}).get("requests") or {}).get("cpu")


def matches(subject: Subject) -> Iterator[Finding]:
    """Whether the autoscaler's question reaches whoever answers it, and means these pods."""
    plan, cluster = subject.plan, subject.scaler.cluster
    service = plan.find("APIService", cluster, "", EXTERNAL_API)
    if subject.is_keda:
        if service is not None:
            yield Finding(
                "failed",
                "KEDA and our metrics adapter both claim the external metrics API",
                (subject.scaler.title, service.title),
                "set metricsAdapter: {mode: none} where KEDA scales",
            )
        yield from _triggers(subject)
        return
    if not external(subject):
        yield Finding(
            "unknown", "metrics-server, which answers for CPU, is not in this plan", (subject.scaler.title,)
        )
        return
    for scaled in plan.of_kind("ScaledObject", cluster):
        yield Finding(
            "failed",
            "KEDA and our metrics adapter both claim the external metrics API",
            (scaled.title, subject.scaler.title),
            "let one of the two scale everything in this cluster",
        )
    if service is None:
        yield Finding(
            "failed",
            f"nothing in {cluster.rpartition('::')[2] or 'the cluster'} serves the external metrics API",
            (subject.scaler.title, f"APIService {EXTERNAL_API}"),
            "deploy the metrics adapter: metricsAdapter: {mode: bundled}, or name who serves it",
        )
        return
    yield from _adapter(subject, service)
    for one in external(subject):
        if not selects(
            at(one, "metric", "selector", of=subject.scaler.title), subject.labels, subject.target.title
        ):
            yield Finding(
                "failed",
                f"the metric's selector takes none of the pods of {subject.target.title}",
                (subject.scaler.title, subject.target.title),
                "select them by app.kubernetes.io/instance",
            )
    if subject.labels.get(GATEWAY_LABEL) != "true":
        yield Finding(
            "failed",
            f"the pods lack the label {GATEWAY_LABEL}=true, by which the adapter finds gateways",
            (service.title, subject.target.title),
            "put it on the pod template",
        )
    yield Finding("passed", f"{service.title} answers for these pods", (service.title, subject.scaler.title))


def _triggers(subject: Subject) -> Iterator[Finding]:
    title = subject.scaler.title
    found = triggers(subject)
    for one in found:
        metadata = at(one, "metadata", of=title) or {}
        if one.get("type") == "prometheus" and not at(metadata, "serverAddress", of=title):
            yield Finding("failed", f"{title}: a trigger names no Prometheus", (title,), "set serverAddress")
        query = str(at(metadata, "query", of=title) or "")
        instance = subject.labels.get("app.kubernetes.io/instance")
        if "{" in query and str(instance) not in query and subject.target.at("metadata", "name") not in query:
            yield Finding(
                "failed",
                f"{title}: the query does not select the pods of {subject.target.title}: {query}",
                (title, subject.target.title),
                "select them by their labels",
            )
        if not re.search(r"\bor\s+vector\s*\(", query):
            yield Finding(
                "unknown",
                f"{title}: without `or vector(0)` an absent series is an error: {query}",
                (title,),
                "end the query with or vector(0), so that no replica means no load",
            )
    if not found:
        yield Finding("failed", f"{title} has no trigger", (title,), "give it one")
    yield Finding("passed", f"{len(found)} triggers ask for these pods", (title,))


def _adapter(subject: Subject, api: Resource) -> Iterator[Finding]:
    plan, cluster = subject.plan, subject.scaler.cluster
    reference = api.at("spec", "service") or {}
    service = plan.find("Service", cluster, str(reference.get("namespace")), reference.get("name"))
    if service is None:
        yield Finding(
            "failed",
            f"{api.title} asks Service {reference.get('namespace')}/{reference.get('name')}, "
            "which is not there",
            (api.title, f"Service {reference.get('namespace')}/{reference.get('name')}"),
            "name the adapter's Service",
        )
        return
    ports = service.at("spec", "ports") or []
    if reference.get("port", 443) not in {port.get("port") for port in ports}:
        yield Finding(
            "failed",
            f"{api.title} asks port {reference.get('port', 443)}, which {service.title} does not have",
            (api.title, service.title),
            "let both be the same",
        )
    selector = {"matchLabels": service.at("spec", "selector") or {}}
    behind = [
        one
        for one in plan.of_kind("Deployment", cluster)
        if one.namespace == service.namespace
        and selects(selector, one.at("spec", "template", "metadata", "labels") or {}, one.title)
    ]
    if not behind:
        yield Finding(
            "failed",
            f"{service.title} selects no pod of this plan",
            (api.title, service.title),
            "let its selector be the adapter's labels",
        )
        return
    named = {
        port.get("name")
        for one in behind
        for container in one.at("spec", "template", "spec", "containers") or []
        for port in container.get("ports") or []
    }
    for port in ports:
        wanted = port.get("targetPort")
        if isinstance(wanted, str) and not wanted.isdecimal() and wanted not in named:
            yield Finding(
                "failed",
                f"{service.title} forwards to a port named {wanted}, which {behind[0].title} does not have",
                (service.title, behind[0].title),
                "let both be the same",
            )
    yield from _let_in(subject, behind[0])


def _let_in(subject: Subject, adapter: Resource) -> Iterator[Finding]:
    """Whether a network policy keeps the adapter from the gateways' metrics port."""
    covering = [
        policy
        for policy in subject.plan.of_kind("NetworkPolicy", subject.scaler.cluster)
        if policy.namespace == subject.target.namespace
        and "Ingress" in (policy.at("spec", "policyTypes") or ["Ingress"])
        and selects(policy.at("spec", "podSelector"), subject.labels, subject.target.title)
    ]
    port = next(
        (
            one["containerPort"]
            for one in (subject.gateway or {}).get("ports") or []
            if one.get("name") == "metrics"
        ),
        None,
    )
    allowed = any(
        _admits(rule, port, adapter, policy.namespace)
        for policy in covering
        for rule in policy.at("spec", "ingress") or []
    )
    if covering and not allowed:
        yield Finding(
            "failed",
            f"no network policy lets the adapter's namespace {adapter.namespace} reach port {port}",
            (*(policy.title for policy in covering), adapter.title),
            "allow it in the model server's policy",
        )


def _admits(rule: Mapping[str, Any], port: object, adapter: Resource, own: str) -> bool:
    ports = rule.get("ports")
    if ports and not any(one.get("port") in {port, "metrics", None} for one in ports):
        return False
    peers = rule.get("from")
    if not peers:
        return True
    namespace = {"kubernetes.io/metadata.name": adapter.namespace}
    labels = adapter.at("spec", "template", "metadata", "labels") or {}
    for peer in peers:
        if "ipBlock" in peer:
            continue
        there = (
            selects(peer["namespaceSelector"], namespace, f"namespace {adapter.namespace}")
            if "namespaceSelector" in peer
            else adapter.namespace == own
        )
        if there and ("podSelector" not in peer or selects(peer["podSelector"], labels, adapter.title)):
            return True
    return False


def target(subject: Subject) -> Iterator[Finding]:
    """Whether what it scales is there, and leaves its number to it."""
    reference = subject.scaler.at("spec", "scaleTargetRef") or {}
    named = f"{reference.get('kind', 'Deployment')} {subject.scaler.namespace}/{reference.get('name')}"
    if subject.deployment is None:
        yield Finding(
            "failed",
            f"{subject.scaler.title} scales {named}, which this plan does not have",
            (subject.scaler.title, named),
            "name the model server's Deployment",
        )
        return
    if subject.deployment.at("spec", "replicas") is not None:
        yield Finding(
            "failed",
            f"{subject.deployment.title} sets replicas, and each deployment undoes the autoscaler",
            (subject.scaler.title, subject.deployment.title),
            "leave replicas out of the Deployment",
        )
    others = [
        one.title
        for other in subject.plan.subjects()
        if (one := other.scaler) is not subject.scaler and other.deployment is subject.deployment
    ]
    if others:
        yield Finding(
            "failed",
            f"{subject.deployment.title} is scaled by several",
            (subject.scaler.title, *others),
            "keep one",
        )
    yield Finding("passed", f"{named}, which leaves its number open", (subject.scaler.title, named))


def value(subject: Subject) -> Iterator[Finding]:
    """Whether the target is one that this engine can reach, and that means something."""
    title, environment = subject.scaler.title, subject.environment()
    slots = _number(environment.get("BERTH_ENGINE_SLOTS"))
    most = _number(environment.get("MAX_CONCURRENT_REQUESTS"))
    wanted = targets(subject)
    if not external(subject) and not subject.is_keda and subject.accelerators:
        yield Finding(
            "failed",
            f"{title} scales replicas with accelerators by CPU load, which does not follow theirs",
            (title, subject.target.title),
            "scale by queue_depth",
        )
    for name, kind, given in wanted:
        if given is None or given <= 0:
            yield Finding("failed", f"{title}: the target of {name} is {given}", (title,), "set one above 0")
        elif kind == "Value" and name in {QUEUE, RUNNING}:
            yield Finding(
                "failed",
                f"{title}: {name} is a sum over replicas, and its target {given:g} is no average",
                (title,),
                "give it as AverageValue",
            )
        elif name == RUNNING and slots is not None and given > slots:
            yield Finding(
                "failed",
                f"{title}: {given:g} running requests per replica are never reached with {slots:g} slots, "
                "so busy replicas are taken away",
                (title, subject.target.title),
                f"set at most {slots:g}",
            )
        elif name == QUEUE and slots is not None and most is not None and given * TOLERANCE >= most - slots:
            yield Finding(
                "failed",
                f"{title}: {given:g} waiting requests per replica are never passed: of {most:g} requests at "
                f"once {slots:g} run, so at most {most - slots:g} wait",
                (title, subject.target.title),
                f"set it well below {(most - slots) / TOLERANCE:g}, or raise MAX_CONCURRENT_REQUESTS",
            )
    if not any(finding_slots is not None for finding_slots in (slots, most)) and wanted:
        raise NotKnown(f"{subject.target.title}: its gateway's slots and limits are not known")
    yield Finding(
        "passed",
        ", ".join(f"{name} {given:g}" for name, _, given in wanted if given is not None)
        + (f"; {slots:g} slots, {most:g} requests at once" if slots is not None and most is not None else ""),
        (title, subject.target.title),
    )


def targets(subject: Subject) -> list[tuple[str, str, float | None]]:
    """Name, kind of target, and the target of each metric."""
    title = subject.scaler.title
    if subject.is_keda:
        return [
            (
                next(iter(series_of(str(at(one, "metadata", "query", of=title) or ""))), "a trigger"),
                str(one.get("metricType", "AverageValue")),
                amount(at(one, "metadata", "threshold", of=title)),
            )
            for one in triggers(subject)
        ]
    found = []
    for metric in subject.scaler.at("spec", "metrics") or []:
        source = metric.get(str(metric.get("type", "")).lower()) or {}
        aim = at(source, "target", of=title) or {}
        name = source.get("name") or at(source, "metric", "name", of=title)
        numbers = (aim.get(key) for key in ("averageValue", "averageUtilization", "value"))
        given = next((at({"v": one}, "v", of=title) for one in numbers if one is not None), None)
        found.append((str(name), str(aim.get("type")), None if given is None else amount(given)))
    return found


def _number(text: object) -> float | None:
    return None if text is None else amount(text)


def limits(subject: Subject) -> Iterator[Finding]:
    """Whether there is room between the fewest and the most replicas, and it may be used."""
    title, least, most = subject.scaler.title, subject.minimum, subject.maximum
    if least >= most:
        yield Finding(
            "failed",
            f"{title}: from {least} to {most} replicas there is nothing to scale",
            (title,),
            "let max be above min, or give a fixed number of replicas",
        )
    if (subject.behavior.get("scaleUp") or {}).get("selectPolicy") == "Disabled":
        yield Finding(
            "failed", f"{title}: scaling up is disabled", (title,), "set scaleUp.selectPolicy to Max"
        )
    yield Finding("passed", f"{least} to {most} replicas", (title,))
