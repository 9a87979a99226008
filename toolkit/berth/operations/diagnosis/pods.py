"""Reading pods: their containers, what they name, whose they are."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from berth.operations.diagnosis.facts import Json, Snapshot

INSTANCE, NAME = "app.kubernetes.io/instance", "app.kubernetes.io/name"
MODEL_SERVER = "model-server"
GATEWAY, ENGINE, WEIGHTS = "gateway", "engine", "weights"
METRICS_PORT = 9000


def named(item: Mapping[str, Any]) -> str:
    """Return namespace/name of an object; its name alone where it has no namespace."""
    metadata = item["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])


def labels(item: Mapping[str, Any]) -> dict[str, str]:
    """Return an object's labels."""
    return dict(item["metadata"].get("labels") or {})


def selects(selector: Mapping[str, Any] | None, item: Mapping[str, Any]) -> bool:
    """Return whether a label selector (matchLabels and matchExpressions) chooses an object."""
    given, chosen = labels(item), selector or {}
    for key, value in (chosen.get("matchLabels") or {}).items():
        if given.get(key) != value:
            return False
    for one in chosen.get("matchExpressions") or []:
        has, values = one["key"] in given, one.get("values") or []
        matches = {
            "In": has and given.get(one["key"]) in values,
            "NotIn": given.get(one["key"]) not in values,
            "Exists": has,
            "DoesNotExist": not has,
        }[one["operator"]]
        if not matches:
            return False
    return True


def condition(item: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return a condition of an object's status; empty where it has none of that type."""
    conditions = (item.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one.get("type") == kind), {})


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod is Ready and stays."""
    return condition(pod, "Ready").get("status") == "True" and "deletionTimestamp" not in pod["metadata"]


def container_specs(pod_spec: Mapping[str, Any]) -> list[Json]:
    """Return all containers of a pod's spec in the order in which they start."""
    return [*(pod_spec.get("initContainers") or []), *(pod_spec.get("containers") or [])]


def container_states(pod: Mapping[str, Any]) -> list[Json]:
    """Return what the kubelet says of each container, in the order in which they start."""
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def waiting(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a container waits for: reason and message; empty where it does not."""
    return (state.get("state") or {}).get("waiting") or {}


def ended(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how a container's latest run that is over ended; empty where none is."""
    now = (state.get("state") or {}).get("terminated")
    return now or (state.get("lastState") or {}).get("terminated") or {}


def events_of(seen: Snapshot, item: Mapping[str, Any]) -> list[Json]:
    """Return the events about an object, the latest first."""
    uid, metadata = item["metadata"].get("uid"), item["metadata"]
    about = [
        one
        for one in seen.all("events", metadata.get("namespace"))
        if (one.get("involvedObject") or {}).get("uid") == uid
    ]
    return sorted(about, key=event_time, reverse=True)


def event_time(event: Mapping[str, Any]) -> str:
    """Return when an event last happened."""
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )


def moment(text: str | None) -> datetime | None:
    """Return a time as the API server writes it; None where there is none."""
    return datetime.fromisoformat(text) if text else None


def age(seen: Snapshot, text: str | None) -> float | None:
    """Return how many seconds ago a time was; None where it is not known."""
    at = moment(text)
    return None if at is None else (seen.taken - at).total_seconds()


def templates(seen: Snapshot) -> Iterator[tuple[str, Json, Json]]:
    """Yield every workload of the stack with the spec of its pods: kind, object, pod spec."""
    for plural, kind in (
        ("deployments", "Deployment"),
        ("statefulsets", "StatefulSet"),
        ("daemonsets", "DaemonSet"),
    ):
        for one in seen.all(plural):
            yield kind, one, one["spec"]["template"]["spec"]


def pods_of(seen: Snapshot, workload: Mapping[str, Any]) -> list[Json]:
    """Return the pods that a workload's selector chooses."""
    found = seen.all("pods", workload["metadata"].get("namespace"))
    return [pod for pod in found if selects(workload["spec"].get("selector"), pod)]


def autoscaler_of(seen: Snapshot, workload: Mapping[str, Any]) -> Json | None:
    """Return the HorizontalPodAutoscaler of a Deployment, by what it scales: KEDA names them its own way."""
    metadata = workload["metadata"]
    found = (
        hpa
        for hpa in seen.all("horizontalpodautoscalers", metadata.get("namespace"))
        if hpa["spec"]["scaleTargetRef"].get("name") == metadata["name"]
        and hpa["spec"]["scaleTargetRef"].get("kind", "Deployment") == "Deployment"
    )
    return next(found, None)


def scaled_object_of(seen: Snapshot, hpa: Mapping[str, Any]) -> Json | None:
    """Return the ScaledObject of which KEDA made an autoscaler; None where it did not, or none was read."""
    owners = hpa["metadata"].get("ownerReferences") or []
    name = next((str(one["name"]) for one in owners if one.get("kind") == "ScaledObject"), "")
    return seen.one("scaledobjects", hpa["metadata"].get("namespace"), name) if name else None


def sleeps(seen: Snapshot, workload: Mapping[str, Any]) -> bool:
    """Whether a workload may have no replica, by its autoscaler: its own minimum, or KEDA's."""
    hpa = autoscaler_of(seen, workload)
    return hpa is not None and (hpa["spec"].get("minReplicas") == 0 or by_keda(hpa))


def by_keda(hpa: Mapping[str, Any]) -> bool:
    """Whether KEDA made an autoscaler: it scales between 0 and 1 by itself."""
    owners = hpa["metadata"].get("ownerReferences") or []
    return any(one.get("kind") == "ScaledObject" for one in owners)


def servers(seen: Snapshot) -> list[Json]:
    """Return the Deployments of model servers."""
    return [one for one in seen.all("deployments") if labels(one).get(NAME) == MODEL_SERVER]


def secret_names(pod_spec: Mapping[str, Any]) -> set[str]:
    """Return the Secrets that a pod cannot start without."""
    found = {
        str(volume["secret"]["secretName"])
        for volume in pod_spec.get("volumes") or []
        if volume.get("secret") and not volume["secret"].get("optional")
    }
    for volume in pod_spec.get("volumes") or []:
        sources = (volume.get("projected") or {}).get("sources") or []
        found |= {
            str(one["secret"]["name"])
            for one in sources
            if one.get("secret") and not one["secret"].get("optional")
        }
    for container in container_specs(pod_spec):
        references = [one.get("secretRef") or {} for one in container.get("envFrom") or []]
        references += [
            (one.get("valueFrom") or {}).get("secretKeyRef") or {} for one in container.get("env") or []
        ]
        found |= {str(one["name"]) for one in references if one.get("name") and not one.get("optional")}
    return found


def named_secrets(seen: Snapshot) -> set[tuple[str, str]]:
    """Return namespace and name of each Secret that a workload of the stack needs."""
    found = set()
    for _, workload, spec in templates(seen):
        namespace = str(workload["metadata"]["namespace"])
        pulls = {str(one["name"]) for one in spec.get("imagePullSecrets") or []}
        found |= {(namespace, name) for name in secret_names(spec) | pulls}
    return found
