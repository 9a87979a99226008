"""Pods that run and are not Ready, and endpoints that do not answer as they should."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth.operations.diagnosis.check_needs import about
from berth.operations.diagnosis.check_starting import tail_of, told
from berth.operations.diagnosis.findings import READINESS, SERVING, Finding
from berth.operations.diagnosis.pods import (
    ENGINE,
    GATEWAY,
    age,
    container_specs,
    container_states,
    events_of,
    is_ready,
    moment,
    named,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from berth.operations.diagnosis.facts import Json, Reading, Snapshot

_UNAUTHORIZED, _FIRST_SERVER_ERROR, _NOT_READY = 401, 500, 503
_GRACE = 30.0  # seconds: a pod that has just begun is not late


def check(seen: Snapshot) -> Iterator[Finding]:
    """Yield what was found."""
    for pod in seen.all("pods"):
        if "deletionTimestamp" in pod["metadata"]:
            yield from _ending(seen, pod)
        elif (pod.get("status") or {}).get("phase") == "Running" and not is_ready(pod):
            yield from _not_ready(seen, pod)
    yield from _answers(seen)


def _ending(seen: Snapshot, pod: Json) -> Iterator[Finding]:
    late = age(seen, pod["metadata"]["deletionTimestamp"]) or 0  # the moment by which it should be gone
    if late > _GRACE:
        node = pod["spec"].get("nodeName")
        holds = ", ".join(pod["metadata"].get("finalizers") or [])
        yield Finding(
            check="ending",
            layer=READINESS,
            subject=f"Pod {named(pod)}",
            state="warning",
            found=f"it should have ended {late:.0f} s ago",
            evidence=(f"finalizers: {holds}",) if holds else (f"on node {node}",),
            remedy=("is its node well? If it is gone for good: kubectl delete pod --force --grace-period=0",),
            about=frozenset({f"node:{node}"}),
        )


def _not_ready(seen: Snapshot, pod: Json) -> Iterator[Finding]:
    states = container_states(pod)
    if any(not (one.get("state") or {}).get("running") and not _is_over(one) for one in states):
        return  # something has not started, which is said elsewhere
    late = next(
        (one for one in states if not one.get("ready") and (one.get("state") or {}).get("running")), None
    )
    if late is None:
        return
    node = pod["spec"].get("nodeName")
    name, reading = late["name"], _reading(seen, pod)
    engine = next((one for one in states if one["name"] == ENGINE), {})
    lost = reading is not None and reading.values.get("berth_engine_losses_total", 0) > 0
    began = moment(((late.get("state") or {}).get("running") or {}).get("startedAt"))
    for_seconds = (seen.taken - began).total_seconds() if began else 0.0
    budget = _budget(pod, name)
    said = _probe_events(seen, pod, name)
    # While the engine loads, the gateway says that it is not ready, and the kubelet that it says so.
    runs = (engine.get("state") or {}).get("running") and not engine.get("restartCount")
    loads = name == GATEWAY and not lost and runs
    log = f"kubectl logs -n {pod['metadata']['namespace']} {pod['metadata']['name']} -c {ENGINE}"
    unsaid = not late.get("started") and engine.get("ready", True) and not said
    if (unsaid or loads) and for_seconds < (budget or _GRACE):
        yield Finding(
            check="starting",
            layer=READINESS,
            subject=f"Pod {named(pod)}",
            state="note",
            found=f"its container {name} has been starting for {for_seconds:.0f} s"
            + (f" of the {budget:.0f} s it may take" if budget else ""),
            about=about(pod),
        )
        return
    evidence = [*said[:1]]
    if reading is not None:
        ready, wedged = (reading.values.get(f"berth_engine_{one}") for one in ("ready", "wedged"))
        if ready is not None:
            evidence.append(
                f"the gateway says: berth_engine_ready {ready:g}"
                + (f", berth_engine_wedged {wedged:g}" if wedged is not None else "")
                + f", lost {reading.values.get('berth_engine_losses_total', 0):g} times"
            )
    evidence += told(tail_of(seen, pod, ENGINE)) + told(tail_of(seen, pod, GATEWAY))
    if name == GATEWAY and (lost or (reading is not None and reading.values.get("berth_engine_ready") == 0)):
        found = "its engine does not answer" + (", though it did before" if lost else " yet")
        remedy = (
            (
                "a wedged engine is restarted by itself within a minute or two; if it comes again, look at "
                "its log, its memory and its CPU"
            ),
            log,
        )
    elif not late.get("started"):
        found = f"its container {name} is not up after {for_seconds:.0f} s"
        found += f"; it may take {budget:.0f} s" if budget else ""
        remedy = ("loading takes longer than probes.startupSeconds allows, or something below fails", log)
    else:
        found, remedy = f"its container {name} does not pass its readiness probe", ("read below", log)
    yield Finding(
        check="not-ready",
        layer=READINESS,
        subject=f"Pod {named(pod)}",
        state="trouble",
        found=found,
        evidence=tuple(evidence),
        remedy=remedy,
        about=about(pod) | {f"node:{node}"},
        alert="EngineNotReady" if name == GATEWAY else "",
    )


def _is_over(state: Mapping[str, Any]) -> bool:
    return ((state.get("state") or {}).get("terminated") or {}).get("exitCode") == 0


def _reading(seen: Snapshot, pod: Json) -> Reading | None:
    at = (pod["metadata"]["namespace"], pod["metadata"]["name"])
    return next((one for one in seen.readings if (one.namespace, one.pod) == at and one.values), None)


def _budget(pod: Json, container: str) -> float | None:
    """How long a container may take to be up; a gateway is only once its engine is."""
    for one in container_specs(pod["spec"]):
        probe = one.get("startupProbe") or {}
        delay = (one.get("livenessProbe") or {}).get("initialDelaySeconds")
        if one["name"] == (ENGINE if container == GATEWAY else container) and (probe or delay):
            asked = float(probe.get("failureThreshold", 3)) * float(probe.get("periodSeconds", 10))
            return asked if probe else float(delay or 0)
    return None


def _probe_events(seen: Snapshot, pod: Json, container: str) -> list[str]:
    """What probes of a container said lately, the latest first."""
    return [
        f"{one.get('reason')}: {' '.join(str(one.get('message')).split())[:200]}"
        for one in events_of(seen, pod)
        if one.get("reason") in {"Unhealthy", "Killing"}
        and container in str((one.get("involvedObject") or {}).get("fieldPath") or one.get("message"))
    ]


def _answers(seen: Snapshot) -> Iterator[Finding]:
    for one in seen.answers:
        subject, concerned = f"endpoint {one.url}", frozenset({f"server:{one.server}"})
        if one.status is None:
            unbelieved = "CERTIFICATE_VERIFY" in one.problem
            yield Finding(
                check="endpoint",
                layer=SERVING,
                subject=subject,
                state="unknown" if unbelieved else "trouble",
                found="its certificate is not believed here" if unbelieved else "nobody answers there",
                evidence=(one.problem,),
                remedy=("./berth doctor " + seen.stack + " --ca FILE names its authority",)
                if unbelieved
                else ("is a pod Ready? Else look at the Service, its node port or load balancer",),
                about=concerned,
                alert="" if unbelieved else "TargetDown",
            )
        elif one.with_key and one.status == _UNAUTHORIZED:
            yield Finding(
                check="keys",
                layer=READINESS,
                subject=subject,
                state="trouble",
                found="it does not take the key that this machine has for the stack (401)",
                evidence=_key_names(seen, one.server),
                remedy=(
                    f"./berth drift {seen.stack}  # who wrote the Secret",
                    f"./berth up {seen.stack}  # puts the keys back; gateways read them by themselves",
                ),
                about=concerned,
            )
        elif one.status >= _FIRST_SERVER_ERROR and one.status != _NOT_READY:
            yield Finding(
                check="endpoint",
                layer=SERVING,
                subject=subject,
                state="trouble",
                found=f"it answers {one.status}",
                remedy=("read the gateway's log",),
                about=concerned,
            )


def _key_names(seen: Snapshot, server: str) -> tuple[str, ...]:
    namespace, _, name = server.partition("/")
    wanted = f"{name}-api-keys"
    return tuple(
        f"Secret {namespace}/{wanted} has: {', '.join(sorted(one.sizes or ())) or 'no entry'}"
        for one in seen.secrets
        if (one.namespace, one.name) == (namespace, wanted)
    )
