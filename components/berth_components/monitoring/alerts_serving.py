"""Alerts on model servers: whether they answer, whether they have room, whether their releases are one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth_catalogue.engines import engines

from berth_components.monitoring.alert import (
    BY,
    PAGE,
    TICKET,
    WHICH,
    Alert,
    Unwatched,
    of,
    quoted,
    recorded_of,
    title,
)
from berth_components.monitoring.facts import ADAPTER, ENGINE, GATEWAY, KUBE_STATE, WAITING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from berth_components.monitoring.facts import Server

_ALL = f"job={quoted(GATEWAY)}"
_POD = "{{ $labels.pod }}"


def site_alerts(servers: Sequence[Server]) -> Iterable[Alert]:
    """Of each site as a whole."""
    for site in sorted({server.site for server in servers}):
        own = f"{{{_ALL}, site={quoted(site)}}}"
        # Where all models sleep there may be no gateway at all.
        gone = "" if all(one.sleeps for one in servers if one.site == site) else f" or absent(up{own})"
        yield Alert(
            name="SiteDown",
            expr=f"sum by (site) (up{own}) == 0{gone}",
            severity=PAGE,
            hold=180,
            summary="No gateway at {{ $labels.site }} can be scraped",
            description=(
                "Nothing that is served at this site answers Prometheus: the site, its network or all of its "
                "pods are gone. Its other alerts are silenced meanwhile."
            ),
            labels={"site": site},
        )
        queued = [server for server in servers if server.site == site and server.by_queue]
        if queued:
            # Of pods that still start nothing is told; ModelDoesNotWake looks at those that do not get on.
            there = f" and sum by (site) (berth_engine_ready{own}) > 0"
            there = there if all(server.sleeps for server in queued) else ""
            adapter = f"job={quoted(ADAPTER)}, site={quoted(site)}"
            told = f"berth_adapter_answers_total{{{adapter}, outcome=~{quoted('told|bound')}}}"
            none = f"berth_adapter_answers_total{{{adapter}, outcome={quoted('none')}}}"
            yield Alert(
                name="AutoscalerBlind",
                expr=(
                    f"sum by (site) (berth_adapter_ready{{{adapter}}}) == 0\n"
                    f"or absent(berth_adapter_ready{{{adapter}}})\n"
                    f"or max by (site) (berth_adapter_asked{{{adapter}}}) == 0\n"
                    f"or sum by (site) (rate({none}[5m])) > 0 unless sum by (site) (rate({told}[5m])) > 0"
                    f"{there}"
                ),
                severity=PAGE,
                hold=300,
                summary="Autoscalers at {{ $labels.site }} see no queue",
                description=(
                    "The metrics adapter is not there, is not ready, is not the one that is asked, "
                    "or knows of no gateway: replicas stay as they are, whatever the load."
                ),
                needs=(ADAPTER,),
                labels={"site": site},
            )


def server_alerts(server: Server) -> Iterable[Alert | Unwatched]:
    """Of one model at one site."""
    own = of(server)
    gone = "" if server.sleeps else f" or absent(berth_engine_ready{own})"
    yield Alert(
        name="ModelUnavailable",
        expr=f"sum by ({BY}) (berth_engine_ready{own}) == 0{gone}",
        severity=PAGE,
        hold=120,
        summary=f"No replica of {WHICH} answers",
        description="Not one engine has proven that it answers. Clients get 503 or no connection at all.",
    )
    patience = _patience(server)
    if server.sleeps:
        yield Unwatched("ReplicasMissing", title(server), "it may have none (autoscaling.min is 0)")
        yield from _waking(server, patience)
    else:
        yield Alert(
            name="ReplicasMissing",
            expr=f"count by ({BY}) (berth_engine_ready{own} == 1) < {server.min_replicas}",
            severity=TICKET,
            hold=patience,
            summary=f"{WHICH} has {{{{ $value }}}} of {server.min_replicas} replicas",
            description=(
                "Fewer replicas answer than the stack asks for at the least, for longer than one takes to "
                f"load ({server.startup_seconds} s). The next failure is felt at once."
            ),
        )
    if server.autoscaled:
        yield Alert(
            name="AutoscalerAtMaximum",
            expr=(
                f"count by ({BY}) (berth_engine_ready{own} == 1) >= {server.max_replicas}\n"
                f"and avg_over_time(server:queue_depth:sum{recorded_of(server)}[5m]) > 0.5"
            ),
            severity=TICKET,
            hold=600,
            summary=f"{WHICH} runs all {server.max_replicas} replicas, and requests still wait",
            description="The autoscaler may add no more. More load means longer queues, then refusals.",
        )
    else:
        yield Unwatched("AutoscalerAtMaximum", title(server), "nothing scales it (autoscaling)")
    if not server.by_queue:
        yield Unwatched("AutoscalerBlind", title(server), "no autoscaler of it follows the queue")
    yield from _kv_cache(server)
    if server.tls:
        yield from _certificate(server)
    else:
        yield Unwatched("CertificateExpiring", title(server), "the gateway has no TLS certificate of its own")


def _patience(server: Server) -> int:
    """Seconds that a replica may take to load, with some more."""
    return max(600, 60 * round(server.startup_seconds * 1.5 / 60))


def _waking(server: Server, patience: int) -> Iterable[Alert]:
    """Of a model that its router wakes."""
    held = f"job={quoted(WAITING)}, namespace={quoted(server.namespace)}, service={quoted(server.name)}"
    asleep = f"unless on () sum(berth_engine_ready{of(server)}) > 0"
    lost = f"berth_router_held_total{{{held}, outcome={quoted('too_long')}}}"
    yield Alert(
        name="ModelDoesNotWake",
        expr=f"sum(increase({lost}[10m])) > 0 {asleep}",
        severity=PAGE,
        hold=60,
        summary=f"Requests for {title(server)} waited as long as they may, and it did not wake",
        description="Clients got 503 after the whole wait, and still no replica answers.",
        needs=(GATEWAY, WAITING),
    )
    yield Alert(
        name="ModelDoesNotWake",
        expr=f"sum(berth_router_held_requests{{{held}}}) > 0 {asleep}",
        severity=TICKET,
        hold=patience,
        summary=f"{{{{ $value }}}} requests wait for {title(server)} to wake",
        description=(
            "They are held for longer than a replica takes to load "
            f"({server.startup_seconds} s) with a node for it; none is ready yet."
        ),
        needs=(GATEWAY, WAITING),
    )


def _kv_cache(server: Server) -> Iterable[Alert | Unwatched]:
    if not engines()[server.engine].metrics.get("kv_cache"):
        reason = f"{engines()[server.engine].title} does not tell how full its KV cache is"
        yield Unwatched("KvCacheFull", title(server), reason)
        return
    yield Alert(
        name="KvCacheFull",
        expr=f"server:kv_cache_use:max{recorded_of(server)} > 0.95",
        severity=TICKET,
        hold=600,
        summary=f"The KV cache of {WHICH} is {{{{ $value | humanizePercentage }}}} full",
        description=(
            "The engine has no room for the keys and values of more tokens: it makes requests wait, or "
            "throws out and computes again what it had begun."
        ),
        needs=(ENGINE,),
    )


def _certificate(server: Server) -> Iterable[Alert]:
    left = f"min by ({BY}) (berth_certificate_expires_timestamp_seconds{of(server)}) - time()"
    for severity, days in ((PAGE, 2), (TICKET, 14)):
        yield Alert(
            name="CertificateExpiring",
            expr=f"{left} < {days * 86400}",
            severity=severity,
            hold=900,
            summary=f"The certificate of {WHICH} ends in {{{{ $value | humanizeDuration }}}}",
            description="From then on clients refuse to connect. A new one in its Secret needs no restart.",
        )


def gateway_alerts() -> Iterable[Alert]:
    """Of every replica, or of every server, in the same words."""
    yield Alert(
        name="EngineNotReady",
        expr=(
            f"berth_engine_ready{{{_ALL}}} == 0\n"
            # The gateway is there before its model is, which may take as long as it is allowed to.
            f"unless on (pod) (berth_draining{{{_ALL}}} == 1 or berth_engine_loading{{{_ALL}}} == 1)"
        ),
        severity=TICKET,
        hold=300,
        summary=f"The engine of {_POD} ({WHICH}) does not answer",
        description="The kubelet should have restarted it by now. The other replicas carry its share.",
    )
    yield Alert(
        name="EngineWedged",
        expr=f"berth_engine_wedged{{{_ALL}}} == 1",
        severity=PAGE,
        hold=120,
        summary=f"The engine of {_POD} ({WHICH}) hangs and is not restarted",
        description=(
            "It says that it is well and answers no prompt. Its liveness probe should have ended it within a "
            "minute."
        ),
    )
    yield Alert(
        name="EngineLost",
        expr=f"increase(berth_engine_losses_total{{{_ALL}}}[10m]) > 0",
        severity=TICKET,
        hold=0,
        summary=f"The engine of {_POD} ({WHICH}) was lost",
        description=(
            "It crashed, stalled or was killed; requests that it worked on failed. It restarts by itself: "
            "look why."
        ),
    )
    yield Alert(
        name="EngineCrashLooping",
        expr=f"increase(berth_engine_losses_total{{{_ALL}}}[30m]) > 2.5",
        severity=PAGE,
        hold=0,
        summary=f"The engine of {_POD} ({WHICH}) keeps being lost",
        description="Three times or more in half an hour. Each time the requests in its slots fail.",
    )
    # Averages: who waited too long leaves together with who came together, so a full queue has gaps, and
    # each would begin the hold anew (measured by bench/faults.py: eight minutes of overload, no alert).
    yield Alert(
        name="QueueFull",
        expr="avg_over_time(server:queue_fill:ratio[2m]) > 0.85",
        severity=PAGE,
        hold=60,
        summary=f"{WHICH} has no room: {{{{ $value | humanizePercentage }}}} of its places are taken",
        description="Further requests are refused at once, with 429 and Retry-After.",
    )
    yield Alert(
        name="SlotsSaturated",
        expr=(
            "avg_over_time(server:slot_use:ratio[10m]) > 0.9\n"
            "and avg_over_time(server:queue_depth:sum[10m]) > 0.5"
        ),
        severity=TICKET,
        hold=1200,
        summary=f"The engines of {WHICH} have been full for half an hour",
        description="Every further request waits. More replicas, more slots or less load would help.",
    )
    yield Alert(
        name="MixedRevisions",
        expr=(f"count by ({BY}) (count by ({BY}, revision, engine) (berth_server_info{{{_ALL}}})) > 1"),
        severity=TICKET,
        hold=3600,
        summary=f"{WHICH} serves {{{{ $value }}}} revisions at once",
        description="A rollout began an hour ago and did not end: clients get answers of two releases.",
    )
    yield Alert(
        name="GatewayRestarting",
        expr=f"changes(process_start_time_seconds{{{_ALL}}}[30m]) > 2",
        severity=TICKET,
        hold=0,
        summary=f"The gateway of {_POD} ({WHICH}) keeps restarting",
        description="Three times or more in half an hour. Its clients lose their connections each time.",
    )
    yield Alert(
        name="SpansDropped",
        expr=f"increase(berth_spans_dropped_total{{{_ALL}}}[15m]) > 0",
        severity=TICKET,
        hold=900,
        summary=f"Traces of {_POD} ({WHICH}) do not reach the collector",
        description="Requests are served all the same; what went wrong in them cannot be looked up.",
    )


def cluster_alerts(servers: Sequence[Server]) -> Iterable[Alert]:
    """Of the objects behind the servers, as kube-state-metrics tells them."""
    rooms = "|".join(sorted({server.namespace for server in servers}))
    room = f"namespace=~{quoted(rooms)}"
    deployment = "{{ $labels.namespace }}/{{ $labels.deployment }}"
    pod = "{{ $labels.namespace }}/{{ $labels.pod }}"
    scaler = "{{ $labels.namespace }}/{{ $labels.horizontalpodautoscaler }}"
    needs = (KUBE_STATE,)
    yield Alert(
        name="RolloutStuck",
        expr=f'kube_deployment_status_condition{{{room}, condition="Progressing", status="false"}} == 1',
        severity=TICKET,
        hold=300,
        summary=f"The rollout of {deployment} does not get on",
        description="New pods did not become ready within the deadline. The old ones still serve.",
        needs=needs,
    )
    yield Alert(
        name="PodsUnschedulable",
        expr=f"kube_pod_status_unschedulable{{{room}}} == 1",
        severity=TICKET,
        hold=600,
        summary=f"No node takes {pod}",
        description=(
            "No node has room, or none tolerates it, and none was added in ten minutes: node pool at its "
            "maximum, no machine of that kind to be had, or a cloud's quota is used up."
        ),
        needs=needs,
    )
    yield Alert(
        name="PodCrashLooping",
        expr=f'kube_pod_container_status_waiting_reason{{{room}, reason="CrashLoopBackOff"}} == 1',
        severity=TICKET,
        hold=600,
        summary=f"Container {{{{ $labels.container }}}} of {pod} crashes again and again",
        description="Kubernetes waits longer and longer between its tries.",
        needs=needs,
    )
    images = "ErrImagePull|ImagePullBackOff|InvalidImageName"
    yield Alert(
        name="ImageMissing",
        expr=f'kube_pod_container_status_waiting_reason{{{room}, reason=~"{images}"}} == 1',
        severity=TICKET,
        hold=300,
        summary=f"The image of container {{{{ $labels.container }}}} of {pod} cannot be had",
        description="The registry does not answer, refuses the pull secret, or has no such image.",
        needs=needs,
    )
    yield Alert(
        name="ContainerOutOfMemory",
        expr=(
            f"increase(kube_pod_container_status_restarts_total{{{room}}}[10m]) > 0\n"
            "and on (namespace, pod, container)\n"
            f'kube_pod_container_status_last_terminated_reason{{{room}, reason="OOMKilled"}} == 1'
        ),
        severity=TICKET,
        hold=0,
        summary=f"Container {{{{ $labels.container }}}} of {pod} ran out of memory",
        description="The kernel ended it at its memory limit; what it worked on failed.",
        needs=needs,
    )
    yield Alert(
        name="AutoscalerNotScaling",
        expr=(
            f"kube_horizontalpodautoscaler_status_condition{{{room}, "
            'condition="ScalingActive", status="false"} == 1'
            # KEDA scales from none by itself: its autoscaler rests meanwhile. AutoscalerBlind sees ours.
            "\nunless on (namespace, horizontalpodautoscaler) "
            f"kube_horizontalpodautoscaler_status_current_replicas{{{room}}} == 0"
        ),
        severity=TICKET,
        hold=max([600, *(_patience(one) for one in servers if one.sleeps)]),
        summary=f"The autoscaler {scaler} cannot compute a number",
        description="It gets no metric, or its target is gone. Replicas stay as they are.",
        needs=needs,
    )
    yield Alert(
        name="QuotaNearlyUsed",
        expr=(
            f'kube_resourcequota{{{room}, type="used"}} / ignoring (type) '
            f'(kube_resourcequota{{{room}, type="hard"}} > 0) > 0.9'
        ),
        severity=TICKET,
        hold=900,
        summary=(
            "{{ $value | humanizePercentage }} of quota {{ $labels.resourcequota }} "
            "({{ $labels.resource }}) in {{ $labels.namespace }} is used"
        ),
        description="The next pods are refused when it is full. A cloud's own quotas are not seen here.",
        needs=needs,
    )
