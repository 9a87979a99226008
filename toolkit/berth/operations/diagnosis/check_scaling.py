"""Autoscalers: whether they see their signal, can act on it, and have room left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from berth.operations.diagnosis.check_serving import ADAPTER
from berth.operations.diagnosis.findings import NEEDS, SCALING, Finding
from berth.operations.diagnosis.pods import NAME, autoscaler_of, by_keda, condition, labels, named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from berth.operations.diagnosis.facts import AskedServer, Json, Snapshot

EXTERNAL = "v1beta1.external.metrics.k8s.io"


def check(seen: Snapshot) -> Iterator[Finding]:
    """Yield what was found."""
    hpas = seen.all("horizontalpodautoscalers")
    yield from _signal(seen, hpas)
    for hpa in hpas:
        yield from _autoscaler(hpa)
    for one in seen.asked:
        deployment = seen.one("deployments", one.namespace, one.name) if one.autoscaled else None
        if deployment is None or not seen.knows("horizontalpodautoscalers"):
            continue
        there = autoscaler_of(seen, deployment) is not None
        if one.keda:
            yield from _scaled_object(seen, one, there=there)
        elif not there:
            yield _problem(
                one,
                f"HorizontalPodAutoscaler {one.namespace}/{one.name}",
                "the stack asks for it, and it is not there: replicas stay as they are",
                f"./berth up {seen.stack}",
            )


def _problem(server: AskedServer, subject: str, found: str, *remedy: str, **more: Any) -> Finding:
    return Finding(
        check="scaling",
        layer=SCALING,
        subject=subject,
        found=found,
        remedy=remedy,
        about=frozenset({f"server:{server.namespace}/{server.name}"}),
        **{"state": "trouble", **more},
    )


def _scaled_object(seen: Snapshot, server: AskedServer, *, there: bool) -> Iterator[Finding]:
    """What KEDA made of a ScaledObject, and says of it."""
    if not seen.knows("scaledobjects"):
        if not any(one.what.startswith("scaledobjects") for one in seen.not_read):
            yield _problem(
                server,
                f"ScaledObject {server.namespace}/{server.name}",
                "this cluster does not know the kind: KEDA is not installed, and replicas stay as they are",
                "install KEDA, or set berth:metricsAdapter.mode to owned",
            )
        return
    scaled = seen.one("scaledobjects", server.namespace, server.name)
    subject = f"ScaledObject {server.namespace}/{server.name}"
    if scaled is None:
        what = "the stack asks for it, and it is not there: replicas stay as they are"
        yield _problem(server, subject, what, f"./berth up {seen.stack}")
        return
    describe = f"kubectl describe scaledobject -n {server.namespace} {server.name}"
    ready, paused = condition(scaled, "Ready"), condition(scaled, "Paused")
    if ready.get("status") != "True":
        said = f"{ready.get('reason')}: {ready.get('message')}"
        unread = ready.get("status") not in {"True", "False"}
        yield _problem(
            server,
            subject,
            "KEDA has not taken it: replicas stay as they are; does its operator run?"
            if unread
            else "KEDA cannot scale by it: replicas stay as they are",
            "kubectl get pods -A -l app.kubernetes.io/part-of=keda-operator" if unread else describe,
            evidence=() if unread else (said,),
        )
    elif paused.get("status") == "True":
        what = "it is paused: KEDA holds its replicas as they are"
        remedy = "remove its annotations autoscaling.keda.sh/paused and autoscaling.keda.sh/paused-replicas"
        yield _problem(server, subject, what, remedy, state="warning")
    elif not there:
        what = "KEDA has made no HorizontalPodAutoscaler of it: replicas stay as they are"
        yield _problem(server, subject, what, describe)


def _signal(seen: Snapshot, hpas: list[Json]) -> Iterator[Finding]:
    """The chain below every autoscaler by queue depth: APIService, Service, adapter."""
    needed = any(one.get("type") == "External" for hpa in hpas for one in hpa["spec"].get("metrics") or [])
    if not needed or not seen.knows("apiservices"):
        return
    about, subject = frozenset({"signal"}), f"APIService {EXTERNAL}"
    service = next((one for one in seen.all("apiservices") if one["metadata"]["name"] == EXTERNAL), None)
    adapter = next((one for one in seen.all("deployments") if labels(one).get(NAME) == ADAPTER), None)
    if seen.adapter and seen.knows("deployments") and adapter is None:
        yield Finding(
            check="scaling/adapter",
            layer=NEEDS - 1,
            subject=f"Deployment {seen.adapter}/berth-metrics-adapter",
            state="trouble",
            found="the metrics adapter is not there: autoscalers see no queue",
            remedy=(f"./berth up {seen.stack}", f"./berth drift {seen.stack}"),
            about=about,
            alert="AutoscalerBlind",
        )
    if service is None:
        yield Finding(
            check="scaling/api",
            layer=NEEDS,
            subject=subject,
            state="trouble",
            found="it is not there: nobody answers for external metrics, so autoscalers see no queue",
            remedy=(f"./berth up {seen.stack}",),
            about=about,
            alert="AutoscalerBlind",
        )
        return
    available = condition(service, "Available")
    if available.get("status") != "True":
        where = (service.get("spec") or {}).get("service") or {}
        yield Finding(
            check="scaling/api",
            layer=NEEDS,
            subject=subject,
            state="trouble",
            found="it is not available: autoscalers see no queue, and replicas stay as they are",
            evidence=(f"{available.get('reason')}: {available.get('message')}",),
            remedy=(f"kubectl get pods,endpointslices -n {where.get('namespace')}",),
            about=about,
            alert="AutoscalerBlind",
        )


def _autoscaler(hpa: Json) -> Iterator[Finding]:
    subject, spec, status = f"HorizontalPodAutoscaler {named(hpa)}", hpa["spec"], hpa.get("status") or {}
    about = frozenset({f"server:{hpa['metadata']['namespace']}/{spec['scaleTargetRef']['name']}"})
    external = any(one.get("type") == "External" for one in spec.get("metrics") or [])
    signal = frozenset({"signal"}) if external else frozenset()
    able, active = condition(hpa, "AbleToScale"), condition(hpa, "ScalingActive")
    if able.get("status") == "False" and able.get("reason") not in {"BackoffBoth", "BackoffUpscale"}:
        yield Finding(
            check="scaling",
            layer=SCALING,
            subject=subject,
            state="trouble",
            found="it cannot scale its Deployment",
            evidence=(f"{able.get('reason')}: {able.get('message')}",),
            remedy=(f"kubectl describe hpa -n {hpa['metadata']['namespace']} {hpa['metadata']['name']}",),
            about=about,
        )
    disabled = active.get("reason") == "ScalingDisabled"
    # At no replica KEDA itself looks whether one is wanted.
    if active.get("status") == "False" and not (disabled and by_keda(hpa)):
        yield Finding(
            check="scaling/blind",
            layer=SCALING,
            subject=subject,
            state="warning" if disabled else "trouble",
            found="it is switched off, since its Deployment has no replicas"
            if disabled
            else "it is blind: it gets no metric, and holds replicas as they are",
            evidence=(f"{active.get('reason')}: {active.get('message')}",),
            remedy=(
                "./berth cluster kubectl get --raw /apis/external.metrics.k8s.io/v1beta1"
                if external
                else "kubectl top pods  # is there a metrics server?",
            ),
            about=about | signal,
            alert="AutoscalerBlind",
        )
    top, now = int(spec["maxReplicas"]), int(status.get("currentReplicas") or 0)
    limited = condition(hpa, "ScalingLimited")
    if limited.get("status") == "True" and limited.get("reason") == "TooManyReplicas" and now >= top > 0:
        yield Finding(
            check="scaling/maximum",
            layer=SCALING,
            subject=subject,
            state="warning",
            found=f"it is at its maximum of {top} and would scale further",
            evidence=(str(limited.get("message")),),
            remedy=("raise autoscaling.max, if the pool's maximum and the quota allow it: ./berth plan",),
            alert="AutoscalerAtMaximum",
        )
    elif active.get("status") == "True":
        yield Finding(
            check="scaling",
            layer=SCALING,
            subject=subject,
            state="ok",
            found=f"it sees its metric; {now} replicas, of {spec.get('minReplicas', 1)} to {top}",
        )
