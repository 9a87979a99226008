"""The link from no replica to the first one: who holds requests, who is told, whether that is heard."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from berth.operations.proof.facts import Resource, at, selects
from berth.operations.proof.plan import EXTERNAL_API, Subject
from berth.operations.proof.verdicts import Finding

from . import budget, metric, nodes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DOCUMENT = "router.json"
_LOAD_PORT = "load"
_HELD = "berth_router_held_requests"
_MEASURE = "./berth prove scale <stack>"
HOLD_SECONDS = 300
"""Of a router's document that does not say it."""
_CLOUDS = {"eks": "EKS", "karpenter": "EKS", "gke": "GKE"}


def wakes(subject: Subject) -> Iterator[Finding]:
    """Whether the first replica comes, where there may be none, and nodes for it."""
    if subject.minimum == 0:
        yield from _replica(subject)
    yield from nodes.wakes(subject)


def _replica(subject: Subject) -> Iterator[Finding]:
    title, target = subject.scaler.title, subject.target.title
    holders = [*_holders(subject)]
    if not holders:
        yield Finding(
            "failed",
            f"{title}: with 0 replicas no router of its namespace holds requests for {target}",
            (title, target),
            "let a router's backend have wakes, or set min: 1",
        )
        return
    for document, backend in holders:
        yield from _holds(subject, document, backend)
        yield from _long_enough(subject, document, backend)
    if subject.is_keda:
        yield from _by_keda(subject)
    else:
        yield from _by_hpa(subject)
    held_by = ", ".join(document.title.removeprefix("ConfigMap ") for document, _ in holders)
    yield Finding("passed", f"router {held_by} holds requests, which wake a replica", (title, target))


def _holders(subject: Subject) -> Iterator[tuple[Resource, str]]:
    """Documents of routers that hold requests for the pods, each with the backend's name."""
    instance = subject.labels.get("app.kubernetes.io/instance")
    for one in subject.plan.of_kind("ConfigMap", subject.scaler.cluster):
        if one.namespace != subject.target.namespace or _DOCUMENT not in (one.at("data") or {}):
            continue
        text = one.at("data", _DOCUMENT)
        for name, backend in (json.loads(text).get("backends") or {}).items():
            if "wakes" in backend and (backend.get("service") or {}).get("name") == instance:
                yield one, name


def _holds(subject: Subject, document: Resource, backend: str) -> Iterator[Finding]:
    """Whether the pods of the router say what they hold, and let the right ones wake it."""
    router = subject.plan.find(
        "Deployment", document.cluster, document.namespace, document.at("metadata", "name")
    )
    if router is None:
        yield Finding(
            "failed",
            f"{document.title} is followed by no router of this plan",
            (document.title, f"Deployment {document.namespace}/{document.at('metadata', 'name')}"),
            "deploy the router",
        )
        return
    pod = router.at("spec", "template", "spec") or {}
    ports = [port for one in pod.get("containers") or [] for port in one.get("ports") or []]
    load = next((port.get("containerPort") for port in ports if port.get("name") == _LOAD_PORT), None)
    labels = router.at("spec", "template", "metadata", "labels") or {}
    if load is None:
        yield Finding(
            "failed",
            f"{router.title} has no container port named {_LOAD_PORT}, where it is asked what it holds",
            (router.title, subject.scaler.title),
            "name its port 9003 so",
        )
    elif not subject.is_keda:
        yield from _heard(subject, router, labels, load)
    keys = json.loads(document.at("data", _DOCUMENT))["backends"][backend]["wakes"].get("keys", True)
    mounts = [one for each in pod.get("containers") or [] for one in each.get("volumeMounts") or []]
    if keys and not any(str(one.get("mountPath")).endswith(f"/{backend}") for one in mounts):
        yield Finding(
            "failed",
            f"{router.title} has no keys of {backend}, so it lets nobody wake it",
            (router.title, document.title),
            "mount the model server's Secret with keys",
        )


def _long_enough(subject: Subject, document: Resource, backend: str) -> Iterator[Finding]:
    """Whether who waits is still there when the first replica is, by the budgets of each step."""
    wakes = json.loads(document.at("data", _DOCUMENT))["backends"][backend]["wakes"]
    held = float(wakes.get("holdSeconds", HOLD_SECONDS))
    # KEDA brings the first replica itself; looks and windows of an HPA come after it.
    steps = [one for one in budget.figures(subject) if not (subject.is_keda and one.step in budget.HPA_STEPS)]
    asked = sum(one.seconds or 0 for one in steps if one.step in budget.HPA_STEPS)
    known = sum(one.seconds for one in steps if one.seconds is not None)
    missing = [one.step for one in steps if one.seconds is None]
    objects = (document.title, subject.scaler.title)
    waits = f"{document.title}: a request for {backend} waits at most {held:g} s (holdSeconds)"
    if asked >= held:
        yield Finding(
            "failed",
            f"{waits}, and only after up to {asked:g} s is a replica asked for",
            objects,
            "raise autoscaling.holdSeconds, or shorten scaleUp.windowSeconds",
        )
    elif known > held:
        longest = max((one for one in steps if one.seconds), key=lambda one: one.seconds or 0)
        yield Finding(
            "unknown",
            f"{waits}, and by its budgets the first replica may take {known:g} s, most of it "
            f"{longest.step} ({longest.seconds:g} s, {longest.source})",
            objects,
            f"raise autoscaling.holdSeconds, or lower the budget to what was measured: {_MEASURE}",
        )
    elif missing:
        yield Finding(
            "unknown",
            f"{waits}, and the first replica may take {known:g} s by what is known; nobody says yet: "
            + ", ".join(missing),
            objects,
            f"measure: {_MEASURE}",
        )
    else:
        yield Finding("passed", f"{waits}; the first replica takes at most {known:g} s", objects)


def _heard(subject: Subject, router: Resource, labels: Mapping[str, Any], load: object) -> Iterator[Finding]:
    """Whether the metrics adapter finds the router's pods and reaches them."""
    if labels.get(metric.GATEWAY_LABEL) != "router":
        yield Finding(
            "failed",
            f"{router.title}: its pods lack the label {metric.GATEWAY_LABEL}=router, by which the adapter "
            "finds who holds requests",
            (router.title, subject.scaler.title),
            "put it on the pod template",
        )
    adapter = _adapter(subject)
    if adapter is None:
        return  # the link `matches` says so
    of_adapter = adapter.at("spec", "template", "metadata", "labels") or {}
    if not _passes(subject, router, "Ingress", (of_adapter, adapter.namespace), load):
        yield Finding(
            "failed",
            f"no network policy of {router.title} lets the metrics adapter reach port {load}",
            (router.title, adapter.title),
            "allow it in the router's policy: access.adapter_namespace",
        )
    if not _passes(subject, adapter, "Egress", (labels, router.namespace), load):
        yield Finding(
            "failed",
            f"no network policy of {adapter.title} lets it reach port {load} of {router.title}",
            (adapter.title, router.title),
            "allow it in the adapter's policy",
        )


def _adapter(subject: Subject) -> Resource | None:
    """The adapter's Deployment, if this plan has it."""
    plan, cluster = subject.plan, subject.scaler.cluster
    api = plan.find("APIService", cluster, "", EXTERNAL_API)
    reference = (api.at("spec", "service") if api else None) or {}
    service = plan.find("Service", cluster, str(reference.get("namespace")), reference.get("name"))
    if service is None:
        return None
    selector = {"matchLabels": service.at("spec", "selector") or {}}
    for one in plan.of_kind("Deployment", cluster):
        labels = one.at("spec", "template", "metadata", "labels") or {}
        if one.namespace == service.namespace and selects(selector, labels, one.title):
            return one
    return None


def _passes(
    subject: Subject, owner: Resource, way: str, other: tuple[Mapping[str, Any], str], port: object
) -> bool:
    """Whether the policies of a workload's pods let them be reached by others, or reach them."""
    labels = owner.at("spec", "template", "metadata", "labels") or {}
    covering = [
        policy
        for policy in subject.plan.of_kind("NetworkPolicy", subject.scaler.cluster)
        if policy.namespace == owner.namespace
        and way in (policy.at("spec", "policyTypes") or ["Ingress"])
        and selects(policy.at("spec", "podSelector"), labels, owner.title)
    ]
    key, peers = ("ingress", "from") if way == "Ingress" else ("egress", "to")
    return not covering or any(
        _admits(rule, peers, port, other, policy.namespace)
        for policy in covering
        for rule in policy.at("spec", key) or []
    )


def _admits(
    rule: Mapping[str, Any], peers: str, port: object, other: tuple[Mapping[str, Any], str], own: str
) -> bool:
    ports = rule.get("ports")
    if ports and not any(one.get("port") in {port, _LOAD_PORT, None} for one in ports):
        return False
    labels, namespace = other
    of_namespace = {"kubernetes.io/metadata.name": namespace}
    if not rule.get(peers):
        return True
    for peer in rule[peers]:
        if "namespaceSelector" in peer:
            if not selects(peer["namespaceSelector"], of_namespace, f"namespace {namespace}"):
                continue
        elif "podSelector" not in peer or namespace != own:
            continue
        if selects(peer.get("podSelector"), labels, f"pods of {namespace}"):
            return True
    return False


def _by_hpa(subject: Subject) -> Iterator[Finding]:
    """Whether Kubernetes' own autoscaler does it."""
    title = subject.scaler.title
    names = [str(at(one, "metric", "name", of=title)) for one in metric.external(subject)]
    if not names:
        yield Finding(
            "failed",
            f"{title}: 0 replicas need an external metric, and it has none",
            (title,),
            "scale by queue_depth",
        )
    elif metric.RUNNING not in names:
        yield _under_requests(title)
    if subject.accelerators is not None and subject.selected and subject.pool.ground in _CLOUDS:
        cloud = _CLOUDS[subject.pool.ground]
        yield Finding(
            "failed",
            f"{title}: 0 replicas need the feature gate HPAScaleToZero, which nobody can set on {cloud}",
            (title, subject.pool.title),
            "take KEDA: metricsAdapter: {mode: keda, prometheus: …}; or set min: 1",
        )


def _by_keda(subject: Subject) -> Iterator[Finding]:
    """Whether KEDA counts what is held, and does not take the last replica where it sees nothing."""
    title = subject.scaler.title
    queries = [str(at(one, "metadata", "query", of=title) or "") for one in metric.triggers(subject)]
    if not any(_HELD in query for query in queries):
        yield Finding(
            "failed",
            f"{title}: no trigger counts {_HELD}, so nothing wakes the first replica",
            (title, subject.target.title),
            f"add it to the query of {metric.QUEUE}",
        )
    if not any(metric.RUNNING in query for query in queries):
        yield _under_requests(title)
    fallback = subject.scaler.at("spec", "fallback")
    if fallback is not None and not fallback.get("replicas"):
        yield Finding(
            "failed",
            f"{title}: to KEDA a fallback of 0 replicas is none: where Prometheus does not answer, the last "
            "replica goes",
            (title,),
            "leave spec.fallback out: KEDA then leaves the number as it is",
        )


def _under_requests(title: str) -> Finding:
    return Finding(
        "failed",
        f"{title}: without {metric.RUNNING} a model whose queue is empty is put to sleep under the requests "
        "that it answers",
        (title,),
        "let it follow running requests, too: running_target",
    )
