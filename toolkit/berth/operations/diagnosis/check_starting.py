"""Containers that do not start, or do not stay: crashes, memory, weights, mounts, evictions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from berth.operations.diagnosis.check_needs import about
from berth.operations.diagnosis.findings import STARTING, Finding
from berth.operations.diagnosis.pods import (
    WEIGHTS,
    age,
    container_specs,
    container_states,
    ended,
    events_of,
    named,
    waiting,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from berth.operations.diagnosis.facts import Json, LogTail, Snapshot

_RECENT = 15 * 60.0
"""A restart that is older is a note, seconds."""
_LATE_MOUNT = 15.0
_SIGNALS = {
    137: "killed (SIGKILL)",
    143: "ended (SIGTERM)",
    139: "a segmentation fault",
    134: "aborted",
    132: "an illegal instruction: the build is for other processors",
    127: "its command is not in the image",
    126: "its command cannot be run",
    2: "wrong settings",
}
_WEIGHTS: tuple[tuple[str, str, str], ...] = (
    (
        r"sha-?256|digest|mismatch",
        "the weights are not those that were pinned",
        "./berth weights pin <model> shows what the hub has; never serve what does not match",
    ),
    (
        r"no space|disk full|errno 28|too small",
        "its volume is too small for the weights",
        "raise weights.size; ./berth plan says how large they are",
    ),
    (
        r"401|403|denied|token|gated",
        "the hub or store does not let it in",
        "check the token's Secret, and that its owner has accepted the model's licence",
    ),
    (
        r"timed? ?out|name resolution|connection|unreachable|refused|getaddrinfo",
        "it does not reach the hub or store",
        "look at the pod's network policy (weights.egress), DNS, proxy",
    ),
    (r"404|not found|no such", "the hub has no such model, revision or file", "./berth weights pin <model>"),
)


def check(seen: Snapshot) -> Iterator[Finding]:
    """Yield what was found."""
    for pod in seen.all("pods"):
        phase, reason = (pod.get("status") or {}).get("phase"), (pod.get("status") or {}).get("reason")
        if phase == "Failed":
            if reason == "Evicted":
                yield _evicted(pod)
            continue
        yield from _mounts(seen, pod)
        for state in container_states(pod):
            yield from _container(seen, pod, state)


def _evicted(pod: Json) -> Finding:
    status = pod["status"]
    node = pod["spec"].get("nodeName")
    return Finding(
        check="evicted",
        layer=STARTING,
        subject=f"Pod {named(pod)}",
        state="warning",
        found=f"it was evicted from node {node}",
        evidence=(str(status.get("message")),),
        remedy=(
            "look at the node's memory and disk; raise memoryRequest, or the limits of temporary files",
            f"kubectl delete pod -n {pod['metadata']['namespace']} {pod['metadata']['name']}",
        ),
        about=about(pod) | {f"node:{node}"},
    )


def _mounts(seen: Snapshot, pod: Json) -> Iterator[Finding]:
    """A pod that has a node, and whose volumes do not come."""
    if not any(
        waiting(state).get("reason") in {"ContainerCreating", "PodInitializing"}
        for state in container_states(pod)
    ):
        return
    said = [
        one
        for one in events_of(seen, pod)
        if one.get("reason") in {"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"}
    ]
    if not said or (age(seen, pod["metadata"].get("creationTimestamp")) or 0) < _LATE_MOUNT:
        return
    network = said[0].get("reason") == "FailedCreatePodSandBox"
    yield Finding(
        check="mount",
        layer=STARTING,
        subject=f"Pod {named(pod)}",
        state="trouble",
        found="its network cannot be made" if network else "a volume of it cannot be mounted",
        evidence=(f"{said[0].get('reason')}: {said[0].get('message')}",),
        remedy=(f"kubectl describe pod -n {pod['metadata']['namespace']} {pod['metadata']['name']}",),
        about=about(pod),
    )


def _container(seen: Snapshot, pod: Json, state: Mapping[str, Any]) -> Iterator[Finding]:
    wait, last = waiting(state), ended(state)
    if wait.get("reason") in {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}:
        yield Finding(
            check="container",
            layer=STARTING,
            subject=f"Pod {named(pod)}",
            state="trouble",
            found=f"its container {state['name']} cannot be made",
            evidence=(f"{wait['reason']}: {wait.get('message')}",),
            remedy=(
                "make what the message names, or correct the reference to it",
                f"./berth drift {seen.stack}",
            ),
            about=about(pod),
        )
        return
    badly = last and (last.get("exitCode") != 0 or last.get("reason") == "OOMKilled")
    if not badly:
        return
    since = age(seen, last.get("finishedAt"))
    looping = wait.get("reason") == "CrashLoopBackOff" or "terminated" in (state.get("state") or {})
    recent = since is not None and since < _RECENT
    if "deletionTimestamp" in pod["metadata"]:
        return
    tail = tail_of(seen, pod, state["name"])
    found, remedy = _why(seen, pod, state, last, tail)
    count = int(state.get("restartCount") or 0)
    times = f"{count} restart{'s' if count != 1 else ''}"
    when = (
        f"ended {last.get('finishedAt')} with exit code {last.get('exitCode')}, {last.get('reason')}; {times}"
    )
    yield Finding(
        check="weights" if state["name"] == WEIGHTS else "crash",
        layer=STARTING,
        subject=f"Pod {named(pod)}",
        state="trouble" if looping else "warning" if recent else "note",
        found=found,
        evidence=(when, *told(tail)),
        remedy=remedy,
        about=about(pod),
        alert=_alert(state["name"], oom=last.get("reason") == "OOMKilled"),
    )


def _alert(container: str, *, oom: bool) -> str:
    if oom:
        return "ContainerOutOfMemory"
    return {"engine": "EngineCrashLooping", "gateway": "GatewayRestarting"}.get(container, "PodCrashLooping")


def _why(
    seen: Snapshot, pod: Json, state: Mapping[str, Any], last: Mapping[str, Any], tail: LogTail | None
) -> tuple[str, tuple[str, ...]]:
    name, code, stack = state["name"], int(last.get("exitCode") or 0), seen.stack
    log = f"kubectl logs -n {pod['metadata']['namespace']} {pod['metadata']['name']} -c {name} --previous"
    if last.get("reason") == "OOMKilled":
        limit = _memory_limit(pod, name)
        return (
            f"its container {name} was killed for memory: it took all of its limit of {limit}",
            (
                (
                    f"raise {name}.resources.memoryLimit, or lower concurrency.slots "
                    f"and tokens.maxTotal; ./berth plan {stack} says what it needs"
                ),
                log,
            ),
        )
    killed = [
        str(one.get("message"))
        for one in events_of(seen, pod)
        if one.get("reason") == "Killing"
        and "probe" in str(one.get("message"))
        and name in str(one.get("message"))
    ]
    if code in {137, 143} and killed:
        return (
            f"its container {name} was restarted: {killed[0]}",
            (
                "it was wedged, or too slow for its probe; look at CPU, and at what came before in its log",
                log,
            ),
        )
    if name == WEIGHTS:
        said = " ".join(tail.lines if tail else ())
        for pattern, cause, remedy in _WEIGHTS:
            if re.search(pattern, said, re.IGNORECASE):
                return f"its weights do not come: {cause}", (remedy, log)
        return "its weights do not come", ("read the fetcher's words below", log)
    meaning = f" ({_SIGNALS[code]})" if code in _SIGNALS else ""
    return f"its container {name} ends with exit code {code}{meaning}", ("read its last words below", log)


def _memory_limit(pod: Json, container: str) -> str:
    for one in container_specs(pod["spec"]):
        if one["name"] == container:
            return str(
                ((one.get("resources") or {}).get("limits") or {}).get("memory") or "the node's memory"
            )
    return "unknown"


def tail_of(seen: Snapshot, pod: Json, container: str) -> LogTail | None:
    """Return what of a container's log was read; None where it was not."""
    metadata = pod["metadata"]
    return next(
        (
            one
            for one in seen.logs
            if (one.namespace, one.pod, one.container) == (metadata["namespace"], metadata["name"], container)
        ),
        None,
    )


def told(tail: LogTail | None) -> tuple[str, ...]:
    """Return the last lines of a log, and that some were left out."""
    if tail is None:
        return ()
    left_out = (
        f"({tail.withheld} lines of the log are not shown: they may quote texts)" if tail.withheld else ""
    )
    return tuple(filter(None, (*tail.lines, left_out)))
