"""Why something is not ready: its pods' waiting reasons, warnings and last log lines."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from .client import EVENTS, PODS, Api
from .errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOG_LINES = 8
_MAX_PODS = 3  # pods of one workload fail alike
_MAX_EVENTS = 3
_WORTHLESS = frozenset({"ContainerCreating", "PodInitializing"})
_TEMPLATE_HASH = "pod-template-hash"


def _selector(live: Mapping[str, Any]) -> str:
    spec = live.get("spec") or {}
    selector = spec.get("selector") or {}
    labels = selector if live["kind"] == "Service" else selector.get("matchLabels") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


async def _pods(live: Mapping[str, Any], api: Api) -> list[dict[str, Any]]:
    """The object's pods that are not ready, those of its newest template first."""
    metadata = live["metadata"]
    if live["kind"] == "Pod":
        return [dict(live)]
    labels = f"batch.kubernetes.io/job-name={metadata['name']}" if live["kind"] == "Job" else _selector(live)
    if not labels:
        return []
    found = [pod async for pod in api.list(PODS, metadata["namespace"], labels=labels)]
    found.sort(key=lambda pod: pod["metadata"].get("creationTimestamp") or "", reverse=True)
    if found and (newest := (found[0]["metadata"].get("labels") or {}).get(_TEMPLATE_HASH)):
        found = [p for p in found if (p["metadata"].get("labels") or {}).get(_TEMPLATE_HASH) == newest]
    return [pod for pod in found if not _is_ready(pod)]


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _containers(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _reason(pod: Mapping[str, Any]) -> str:
    """One line: the most telling of a pod's waiting, terminated and scheduling reasons."""
    for container in _containers(pod):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") and waiting["reason"] not in _WORTHLESS:
            detail = f" ({waiting['message']})" if waiting.get("message") else ""
            return f"{container['name']}: {waiting['reason']}{detail}{_last_end(container)}"
    for container in _containers(pod):
        ended = (container.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode"):
            return f"{container['name']}: ended with exit code {ended['exitCode']} ({ended.get('reason')})"
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"not scheduled: {condition.get('message') or condition.get('reason')}"
    running = [c for c in _containers(pod) if (c.get("state") or {}).get("running") and not c.get("ready")]
    if running:
        return f"{running[0]['name']}: running, not ready{_last_end(running[0])}"
    return f"phase {(pod.get('status') or {}).get('phase') or 'Pending'}"


def _last_end(container: Mapping[str, Any]) -> str:
    last = (container.get("lastState") or {}).get("terminated") or {}
    if not last:
        return ""
    return f", last ended with exit code {last.get('exitCode')} ({last.get('reason')})"


async def briefly(live: Mapping[str, Any], api: Api) -> str:
    """One line for the progress display, or nothing."""
    with contextlib.suppress(ClusterError):
        for pod in await _pods(live, api):
            return f"pod {pod['metadata']['name']}: {_reason(pod)}"
    return ""


async def in_full(live: Mapping[str, Any], api: Api) -> str:
    """Several lines for an error: pods with their reasons, warnings and last log lines; or nothing."""
    lines: list[str] = []
    with contextlib.suppress(ClusterError):
        lines += [f"  {text}" for text in await _warnings(live, api)]
        pods = await _pods(live, api)
        for pod in pods[:_MAX_PODS]:
            lines.append(f"  pod {pod['metadata']['name']}: {_reason(pod)}")
            if pod["metadata"]["name"] != live["metadata"]["name"]:
                lines += [f"    {text}" for text in await _warnings(pod, api)]
            lines += [f"    | {text}" for text in await _log(pod, api)]
        if len(pods) > _MAX_PODS:
            lines.append(f"  and {len(pods) - _MAX_PODS} more pods")
    return "\n".join(lines)


async def _warnings(live: Mapping[str, Any], api: Api) -> list[str]:
    metadata = live["metadata"]
    fields = f"involvedObject.uid={metadata['uid']},type=Warning"
    with contextlib.suppress(ClusterError):
        found = [e async for e in api.list(EVENTS, metadata.get("namespace") or "default", fields=fields)]
        found.sort(key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or "")
        texts = [f"{event.get('reason')}: {event.get('message')}" for event in found]
        return list(dict.fromkeys(texts))[-_MAX_EVENTS:]
    return []


async def _log(pod: Mapping[str, Any], api: Api) -> list[str]:
    """The last lines of the container that is in trouble, from before its restart where it restarted."""
    for container in _containers(pod):
        state = container.get("state") or {}
        started = state.get("running") or state.get("terminated") or container.get("lastState")
        if container.get("ready") or not started:
            continue
        params = {"container": container["name"], "tailLines": str(_LOG_LINES)}
        if state.get("waiting") and container.get("lastState"):
            params["previous"] = "true"
        metadata = pod["metadata"]
        with contextlib.suppress(ClusterError):
            path = PODS.path(metadata["namespace"], metadata["name"]) + "/log"
            text = await api.text(path, params)
            if text.strip():
                return text.strip().splitlines()[-_LOG_LINES:]
    return []
