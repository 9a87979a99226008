"""The last link: how long it takes from a burst to served requests, step by step, with who says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth.operations.proof.facts import Figure
from berth.operations.proof.verdicts import Finding
from berth.operations.quantities import amount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from berth.operations.proof.plan import Subject

HPA_SYNC_SECONDS = 15.0
"""kube-controller-manager's --horizontal-pod-autoscaler-sync-period, by default and on managed clusters."""
_LOOKS, _WINDOW = "autoscaler looks", "signal must hold"
HPA_STEPS = (_LOOKS, _WINDOW)
"""What passes before a HorizontalPodAutoscaler asks for a replica."""
_FRESH_SECONDS = 1.0
_WINDOW_UP = 0.0


def figures(subject: Subject) -> list[Figure]:
    """Each step's longest time, where somebody says it."""
    facts = subject.plan.facts
    sync = facts.hpa_sync_seconds or HPA_SYNC_SECONDS
    asked = (
        Figure("trigger asked", float(subject.scaler.at("spec", "pollingInterval") or 30), "pollingInterval")
        if subject.is_keda
        else Figure(
            "reading of the queue", _FRESH_SECONDS, "the metrics adapter asks a gateway at most once a second"
        )
    )
    up = subject.behavior.get("scaleUp") or {}
    window = float(up.get("stabilizationWindowSeconds") or _WINDOW_UP)
    given = (
        "this cluster's setting"
        if facts.hpa_sync_seconds
        else "Kubernetes' default; no setting on managed clusters"
    )
    found = [
        asked,
        Figure(_LOOKS, sync, given),
        Figure(_WINDOW, window, "scaleUp.stabilizationWindowSeconds"),
    ]
    found += _node(subject)
    found += [
        Figure("images pulled", None, "nobody has measured it for these nodes; 0 where they are present"),
        *_weights(subject),
        *_start(subject),
    ]
    return found


def _node(subject: Subject) -> list[Figure]:
    if subject.accelerators is None:
        return [Figure("a node with room", None, "own hardware: 0 where there is one, else never")]
    return [Figure("a new node", None, "no cloud was asked for one yet; `prove` measures it on a cluster")]


def _weights(subject: Subject) -> list[Figure]:
    for container in subject.pod.get("initContainers") or []:
        if container.get("restartPolicy") == "Always":
            continue
        given = {one["name"]: one.get("value") for one in container.get("env") or []}
        if "BERTH_WEIGHTS_SECONDS" in given:
            seconds = amount(given["BERTH_WEIGHTS_SECONDS"])
            return [Figure("weights fetched", seconds, "at most: weights.fetchSeconds")]
        return [Figure("weights fetched", None, "from the image, or by a fetcher without a limit")]
    return [Figure("weights fetched", 0.0, "none are fetched")]


def _start(subject: Subject) -> list[Figure]:
    engine = next((one for one in subject.containers() if one.get("name") == "engine"), {})
    startup = engine.get("startupProbe") or {}
    delay = (engine.get("livenessProbe") or {}).get("initialDelaySeconds")
    load, said = None, "nothing says how long it may take"
    if startup:
        load = float(startup.get("failureThreshold", 3)) * float(startup.get("periodSeconds", 10))
        said = "at most: its startupProbe ends it after that"
    elif delay:
        load, said = float(delay), "its budget: its livenessProbe begins then"
    ready = ((subject.gateway or {}).get("readinessProbe") or {}).get("periodSeconds", 10)
    return [
        Figure("engine loads the model", load, said),
        Figure("readiness seen", float(ready), "readinessProbe.periodSeconds"),
    ]


def budget(subject: Subject) -> Iterator[Finding]:
    """Whether a burst can be served at all before its requests are given up."""
    title = subject.scaler.title
    found = figures(subject)
    known = sum(one.seconds for one in found if one.seconds is not None)
    missing = [one.step for one in found if one.seconds is None]
    timeout = amount(subject.environment().get("BERTH_QUEUE_TIMEOUT_SECONDS", ""))
    asked = sum(one.seconds or 0 for one in found[1:3])
    if timeout is not None and asked > timeout:
        yield Finding(
            "failed",
            f"requests wait at most {timeout:g} s in the queue, and only after up to {asked:g} s "
            "is a replica asked for: a burst is refused before anything scales",
            (title, subject.target.title),
            "shorten scaleUp.windowSeconds, or let requests wait longer",
        )
    if missing:
        yield Finding(
            "unknown",
            f"up to {known:g} s by what is known; nobody says yet: {', '.join(missing)}",
            (title, subject.target.title),
            "measure them where it runs: ./berth prove scale local does on this machine",
        )
    else:
        yield Finding(
            "passed", f"up to {known:g} s from a burst to a Ready replica", (title, subject.target.title)
        )
