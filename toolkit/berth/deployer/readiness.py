"""When an object that was applied counts as ready: by the rules of Pulumi's Kubernetes provider."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .client import ENDPOINT_SLICES, STORAGE_CLASSES, Api
from .errors import ApiError, Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
DEFAULT_SECONDS = 600.0


@dataclass(frozen=True)
class Status:
    """What an object's state means: ready, or waiting for something, or beyond hope.

    Attributes:
        ready: nothing is missing.
        waiting: what is missing, in words.
        failed: why it will not become ready by waiting.
    """

    ready: bool = False
    waiting: str = ""
    failed: str = ""


READY = Status(ready=True)


def seconds(text: str) -> float:
    """A Go duration (`5m`, `1h30m`, `90s`) or a plain number of seconds.

    Raises:
        Refused: it is neither.
    """
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise Refused(f"{text!r} is no duration; write it as 5m, 1h30m or 90s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _condition(live: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    for condition in (live.get("status") or {}).get("conditions") or []:
        if condition.get("type") == kind:
            return condition if isinstance(condition, dict) else {}
    return {}


def _is(live: Mapping[str, Any], kind: str) -> bool:
    return _condition(live, kind).get("status") == "True"


def _seen(live: Mapping[str, Any]) -> bool:
    """Whether the controller has looked at this version of the object."""
    generation = live["metadata"].get("generation") or 0
    return int((live.get("status") or {}).get("observedGeneration") or 0) >= generation


async def _deployment(live: Mapping[str, Any], _: Api) -> Status:
    spec, status = live["spec"], live.get("status") or {}
    wanted = spec.get("replicas", 1)
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    old = status.get("replicas", 0) - updated
    waiting, failed = "", ""
    if spec.get("paused"):
        return READY
    if not _seen(live):
        waiting = "not seen by the controller yet"
    elif _condition(live, "Progressing").get("reason") == "ProgressDeadlineExceeded":
        failed = f"no progress for {spec.get('progressDeadlineSeconds', 600)} s"
    elif _is(live, "ReplicaFailure"):
        waiting = str(_condition(live, "ReplicaFailure").get("message"))
    elif updated < wanted:
        waiting = f"{updated} of {wanted} replicas are of the new version"
    elif available < wanted:
        waiting = f"{available} of {wanted} available"
    elif old > 0:
        waiting = f"{old} old replicas are still there"
    return Status(ready=not (waiting or failed), waiting=waiting, failed=failed)


async def _stateful_set(live: Mapping[str, Any], _: Api) -> Status:
    spec, status = live["spec"], live.get("status") or {}
    wanted, ready = spec.get("replicas", 1), status.get("readyReplicas", 0)
    strategy = spec.get("updateStrategy") or {}
    if not _seen(live):
        return Status(waiting="not seen by the controller yet")
    if ready < wanted:
        return Status(waiting=f"{ready} of {wanted} ready")
    partition = (strategy.get("rollingUpdate") or {}).get("partition", 0)
    if strategy.get("type") == "OnDelete" or partition:
        return READY
    if status.get("currentRevision") != status.get("updateRevision"):
        return Status(waiting=f"{status.get('updatedReplicas', 0)} of {wanted} are of the new version")
    return READY


async def _daemon_set(live: Mapping[str, Any], _: Api) -> Status:
    status = live.get("status") or {}
    wanted = status.get("desiredNumberScheduled", 0)
    updated, available = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
    if not _seen(live):
        return Status(waiting="not seen by the controller yet")
    if (live["spec"].get("updateStrategy") or {}).get("type") != "OnDelete" and updated < wanted:
        return Status(waiting=f"{updated} of {wanted} are of the new version")
    return READY if available >= wanted else Status(waiting=f"{available} of {wanted} available")


async def _replicas(live: Mapping[str, Any], _: Api) -> Status:
    wanted, ready = live["spec"].get("replicas", 1), (live.get("status") or {}).get("readyReplicas", 0)
    return READY if _seen(live) and ready >= wanted else Status(waiting=f"{ready} of {wanted} ready")


async def _service(live: Mapping[str, Any], api: Api) -> Status:
    spec, metadata = live["spec"], live["metadata"]
    if spec.get("type") == "ExternalName":
        return READY
    if spec.get("type") == "LoadBalancer" and not ((live.get("status") or {}).get("loadBalancer") or {}).get(
        "ingress"
    ):
        return Status(waiting="no address from the load balancer yet")
    if not spec.get("selector") or spec.get("clusterIP") == "None":
        return READY
    label = f"kubernetes.io/service-name={metadata['name']}"
    async for piece in api.list(ENDPOINT_SLICES, metadata["namespace"], labels=label):
        for endpoint in piece.get("endpoints") or []:
            if (endpoint.get("conditions") or {}).get("ready") is not False and endpoint.get("addresses"):
                return READY
    selector = ",".join(f"{key}={value}" for key, value in sorted(spec["selector"].items()))
    return Status(waiting=f"no ready pod matches its selector {selector}")


async def _claim(live: Mapping[str, Any], api: Api) -> Status:
    phase = (live.get("status") or {}).get("phase")
    if phase == "Bound":
        return READY
    if phase == "Lost":
        return Status(failed=f"its volume {live['spec'].get('volumeName')!r} is lost")
    name = live["spec"].get("storageClassName")
    try:
        async for storage in api.list(STORAGE_CLASSES):
            notes = storage["metadata"].get("annotations") or {}
            chosen = storage["metadata"]["name"] == name if name else notes.get(_DEFAULT_CLASS) == "true"
            if chosen and storage.get("volumeBindingMode") == "WaitForFirstConsumer":
                return READY
    except ApiError as error:
        if error.reason != "Forbidden":
            raise
    return Status(waiting=f"not bound to a volume yet (storage class {name or 'of the cluster'!s})")


async def _pod(live: Mapping[str, Any], _: Api) -> Status:
    phase = (live.get("status") or {}).get("phase")
    if phase == "Succeeded" or (phase == "Running" and _is(live, "Ready")):
        return READY
    if phase == "Failed":
        return Status(failed=(live.get("status") or {}).get("message") or "the pod failed")
    return Status(waiting=f"phase {phase or 'Pending'}")


async def _job(live: Mapping[str, Any], _: Api) -> Status:
    failed = _condition(live, "Failed")
    if failed.get("status") == "True":
        return Status(failed=f"{failed.get('reason')}: {failed.get('message')}")
    if _is(live, "Complete") or live["spec"].get("suspend"):
        return READY
    done = (live.get("status") or {}).get("succeeded", 0)
    return Status(waiting=f"{done} of {live['spec'].get('completions', 1)} completed")


async def _namespace(live: Mapping[str, Any], _: Api) -> Status:
    phase = (live.get("status") or {}).get("phase")
    return READY if phase == "Active" else Status(waiting=f"phase {phase}")


async def _volume(live: Mapping[str, Any], _: Api) -> Status:
    phase = (live.get("status") or {}).get("phase")
    if phase == "Failed":
        return Status(failed=(live.get("status") or {}).get("message") or "the volume failed")
    return READY if phase in {"Available", "Bound"} else Status(waiting=f"phase {phase}")


async def _definition(live: Mapping[str, Any], _: Api) -> Status:
    names = _condition(live, "NamesAccepted")
    if names.get("status") == "False":
        return Status(failed=f"names not accepted: {names.get('message')}")
    return READY if _is(live, "Established") else Status(waiting="not established yet")


async def _api_service(live: Mapping[str, Any], _: Api) -> Status:
    available = _condition(live, "Available")
    if available.get("status") == "True":
        return READY
    return Status(waiting=f"not available: {available.get('message') or 'not checked yet'}")


async def _secret(live: Mapping[str, Any], _: Api) -> Status:
    if live.get("type") != "kubernetes.io/service-account-token" or (live.get("data") or {}).get("token"):
        return READY
    return Status(waiting="no token yet")


_RULES: dict[tuple[str, str], Callable[[Mapping[str, Any], Api], Awaitable[Status]]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "ReplicaSet"): _replicas,
    ("", "ReplicationController"): _replicas,
    ("", "Service"): _service,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "PersistentVolume"): _volume,
    ("", "Pod"): _pod,
    ("", "Namespace"): _namespace,
    ("", "Secret"): _secret,
    ("batch", "Job"): _job,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("apiregistration.k8s.io", "APIService"): _api_service,
}
NEEDS_PODS = frozenset({("", "Service"), ("apiregistration.k8s.io", "APIService")})


@dataclass(frozen=True)
class Waiting:
    """What to wait for, as an object's annotations and options say.

    Attributes:
        skip: do not wait.
        limit: seconds.
        conditions: `pulumi.com/waitFor`, parsed: (path, wanted text or None for "is there").
    """

    skip: bool = False
    limit: float = DEFAULT_SECONDS
    conditions: tuple[tuple[tuple[str | int, ...], str | None], ...] = ()

    async def check(self, group: str, live: Mapping[str, Any], api: Api) -> Status:
        """The object's status by its own conditions, or by the rule for its kind."""
        if self.conditions:
            for path, wanted in self.conditions:
                found = _at(live, path)
                if found is None or (wanted is not None and str(found) != wanted):
                    words = "is not there" if found is None else f"is {found!r}, not {wanted!r}"
                    return Status(waiting=f"{'.'.join(map(str, path))} {words}")
            return READY
        rule = _RULES.get((group, live["kind"]))
        return await rule(live, api) if rule else READY


def waiting_for(manifest: Mapping[str, Any], timeout: str) -> Waiting:
    """What the annotations of Pulumi's provider, and the resource's own timeout, ask for.

    Raises:
        Refused: an annotation's value is not understood.
    """
    notes = manifest["metadata"].get("annotations") or {}
    raw = timeout or notes.get("pulumi.com/timeoutSeconds") or ""
    return Waiting(
        skip=str(notes.get("pulumi.com/skipAwait", "")).lower() == "true",
        limit=seconds(str(raw)) if raw else DEFAULT_SECONDS,
        conditions=_wait_for(str(notes.get("pulumi.com/waitFor") or "")),
    )


def _wait_for(text: str) -> tuple[tuple[tuple[str | int, ...], str | None], ...]:
    if not text:
        return ()
    try:
        items = json.loads(text) if text.startswith("[") else [text]
    except ValueError:
        items = [text]
    return tuple(_one_condition(str(item)) for item in items)


def _one_condition(text: str) -> tuple[tuple[str | int, ...], str | None]:
    kind, _, rest = text.partition("=")
    if kind == "condition" and rest:
        name, _, wanted = rest.partition("=")
        return ("status", "conditions", f"type={name}", "status"), wanted or "True"
    found = re.fullmatch(r"\{((?:\.[\w-]+(?:\[\d+\])?)+)\}(?:=(.*))?", rest) if kind == "jsonpath" else None
    if not found:
        raise Refused(
            f"pulumi.com/waitFor: {text!r} is not supported; allowed are condition=Ready, "
            "jsonpath={.status.phase} and jsonpath={.status.phase}=Running, or a JSON list of these"
        )
    parts: list[str | int] = []
    for name, index in re.findall(r"\.([\w-]+)(?:\[(\d+)\])?", found[1]):
        parts += [name, int(index)] if index else [name]
    return tuple(parts), found[2]


def _at(live: Any, path: tuple[str | int, ...]) -> Any:
    value = live
    for part in path:
        if isinstance(value, list) and isinstance(part, int):
            value = value[part] if part < len(value) else None
        elif isinstance(value, list):
            value = next(
                (item for item in value if item.get("type") == str(part).removeprefix("type=")), None
            )
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value
