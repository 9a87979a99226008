"""From a snapshot to what is said of it; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from berth.operations.diagnosis.pods import (
    INSTANCE,
    MODEL_SERVER,
    NAME,
    autoscaler_of,
    by_keda,
    condition,
    is_ready,
    labels,
    pods_of,
    scaled_object_of,
)
from berth.operations.inventory.facts import RESOURCES, SIMULATED_LABEL
from berth.operations.status.facts import Autoscaling, Cost, Load, Machines, NodeGroup, Server, SiteStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from berth.operations.diagnosis.facts import Json, Reading, Snapshot

POOL = "berth.dev/pool"
P95, MEAN = "95th percentile of 5 minutes", "mean since the gateways began"
_SELF_HEALTH = frozenset({"Watchdog", "DeadMansSwitch"})


def status(
    seen: Snapshot,
    machines: Sequence[Machines] = (),
    measured: Mapping[str, Mapping[str, float]] | None = None,
) -> SiteStatus:
    """Return what is said of a site.

    Args:
        seen: what was seen.
        machines: what costs there; empty where this machine is all there is.
        measured: of Prometheus, by `<namespace>/<server>`: requests, tokens, first_token.
    """
    bare = SiteStatus(
        stack=seen.stack,
        site=seen.site,
        server=seen.server,
        taken=seen.taken.isoformat(timespec="seconds"),
        reached=seen.reached,
        why=tuple(one.reason for one in seen.not_read),
    )
    if not seen.reached:
        return bare
    found = [one for one in seen.all("deployments") if labels(one).get(NAME) == MODEL_SERVER]
    alerts = seen.alerts
    return SiteStatus(
        stack=bare.stack,
        site=bare.site,
        server=bare.server,
        taken=bare.taken,
        reached=True,
        version=seen.version,
        deployed=_deployed(seen),
        servers=tuple(_server(seen, one, (measured or {})) for one in found),
        groups=_groups(seen) if seen.knows("nodes") else None,
        cost=_cost(seen, machines),
        alerts=None if alerts is None else tuple(one for one in alerts if one.name not in _SELF_HEALTH),
        alerts_from=seen.alerts_from,
        why=bare.why,
    )


def _deployed(seen: Snapshot) -> str:
    if seen.record is None:
        return ""
    when = seen.record.get("ended") or seen.record.get("at", "?")
    return f"{seen.record.get('state', '?')} at {when}, by {seen.record.get('by', '?')}"


def _server(seen: Snapshot, deployment: Json, measured: Mapping[str, Mapping[str, float]]) -> Server:
    namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
    instance = labels(deployment).get(INSTANCE, name)
    config = (seen.one("configmaps", namespace, f"{instance}-gateway") or {}).get("data") or {}
    pods = [pod for pod in pods_of(seen, deployment) if "deletionTimestamp" not in pod["metadata"]]
    wanted = int(deployment["spec"].get("replicas", 1))
    current = int((deployment.get("status") or {}).get("updatedReplicas") or 0)
    newest = max((str(pod["metadata"].get("creationTimestamp")) for pod in pods), default="")
    hpa = autoscaler_of(seen, deployment)
    readings = [
        one for one in seen.readings if one.values and any(pod["metadata"]["name"] == one.pod for pod in pods)
    ]
    problems = tuple(
        one.problem
        for one in seen.readings
        if one.problem and any(pod["metadata"]["name"] == one.pod for pod in pods)
    )
    return Server(
        name=name,
        namespace=namespace,
        model=str(config.get("MODEL_ID", "unknown")),
        revision=str(config.get("BERTH_MODEL_REVISION", "unknown")),
        engine=str(config.get("BERTH_ENGINE", "unknown")),
        variant=str(config.get("BERTH_VARIANT", "unknown")),
        images=_images(deployment, pods),
        rollout=(deployment["metadata"].get("annotations") or {}).get(
            "deployment.kubernetes.io/revision", "?"
        ),
        complete=current >= wanted and len(pods) <= wanted,
        since=newest,
        ready=sum(map(is_ready, pods)),
        desired=wanted,
        autoscaling=None if hpa is None else _autoscaling(hpa, scaled_object_of(seen, hpa)),
        load=_load(readings, measured.get(f"{namespace}/{name}")) if readings else None,
        endpoint=_endpoint(seen, name, namespace),
        why=problems,
    )


def _images(deployment: Json, pods: Sequence[Json]) -> dict[str, str]:
    """What runs by container: the digest where a kubelet names a registry's, else the reference."""
    spec = deployment["spec"]["template"]["spec"]
    found = {
        one["name"]: str(one["image"])
        for one in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    }
    for pod in pods:
        state = pod.get("status") or {}
        for one in [*(state.get("initContainerStatuses") or []), *(state.get("containerStatuses") or [])]:
            digest = str(one.get("imageID") or "").rpartition("@")[2]
            if digest.startswith("sha256:") and "@" not in found.get(one["name"], "@"):
                found[one["name"]] = f"{found[one['name']]}@{digest}"
    return found


def _autoscaling(hpa: Json, scaled: Json | None) -> Autoscaling:
    """What an autoscaler says; where KEDA made it of a ScaledObject, that one knows the lowest number.

    Kubernetes' one is off while KEDA keeps its Deployment without a replica: KEDA looks by itself then.
    """
    spec, state = hpa["spec"], hpa.get("status") or {}
    active, limited = condition(hpa, "ScalingActive"), condition(hpa, "ScalingLimited")
    asleep = by_keda(hpa) and active.get("reason") == "ScalingDisabled"
    # An average over no replica is no number, whatever is said of it.
    readings = (state.get("currentMetrics") or []) if state.get("currentReplicas") and not asleep else []
    current = {_metric(one)[0]: _metric(one)[1] for one in readings if _metric(one)[0]}
    blind = active.get("status") == "False" and not asleep
    least = ((scaled or {}).get("spec") or {}).get("minReplicaCount", spec.get("minReplicas", 1))
    return Autoscaling(
        minimum=int(least),
        maximum=int(spec["maxReplicas"]),
        # It is told of no replica any more, so its own numbers are those of before.
        current=0 if asleep else int(state.get("currentReplicas") or 0),
        desired=0 if asleep else int(state.get("desiredReplicas") or 0),
        metrics=tuple(
            (name, current.get(name, "?"), target) for name, target in map(_metric, spec.get("metrics") or [])
        ),
        at_maximum=limited.get("status") == "True" and limited.get("reason") == "TooManyReplicas",
        blind=f"{active.get('reason')}: {active.get('message')}" if blind else "",
    )


def _metric(one: Mapping[str, Any]) -> tuple[str, str]:
    """Name and value of a metric, as a target of the spec or a reading of the status."""
    kind = str(one.get("type") or "")
    body = one.get(kind[:1].lower() + kind[1:]) or {}
    value = body.get("target") or body.get("current") or {}
    name = str(body.get("name") or (body.get("metric") or {}).get("name") or "")
    shown = value.get("averageValue") or value.get("value")
    if value.get("averageUtilization") is not None:
        shown = f"{value['averageUtilization']}%"
    return name, str(shown or "?")


def _load(readings: Sequence[Reading], measured: Mapping[str, float] | None) -> Load:
    def total(name: str) -> float:
        return sum(one.values.get(name, 0.0) for one in readings)

    def summed(prefix: str) -> float:
        return sum(
            value for one in readings for name, value in one.values.items() if name.split("{")[0] == prefix
        )

    measured = measured or {}
    first_count = summed("berth_time_to_first_token_seconds_count")
    mean = summed("berth_time_to_first_token_seconds_sum") / first_count if first_count else None
    return Load(
        waiting=round(total("berth_queue_depth")),
        running=round(total("berth_running_requests")),
        slots=round(total("berth_engine_slots")),
        places=round(total("berth_max_concurrent_requests")),
        requests_per_second=measured.get("requests"),
        tokens_per_second=measured.get("tokens"),
        first_token_seconds=measured.get("first_token", mean),
        answered=round(summed("tgi_request_success_total") or summed("tgi_request_success")),
        failed=round(summed("tgi_request_failure_total") or summed("tgi_request_failure")),
        source=P95 if "first_token" in measured else MEAN,
    )


def _endpoint(seen: Snapshot, name: str, namespace: str) -> str:
    models = seen.outputs.get("models")
    for one in models.values() if isinstance(models, dict) else ():
        here = (one.get("site"), one.get("namespace"), one.get("deployment"))
        if here == (seen.site, namespace, name):
            return str(one.get("endpoint") or "")
    return ""


def _groups(seen: Snapshot) -> tuple[NodeGroup, ...]:
    by_pool: dict[str, list[Json]] = {}
    for node in seen.all("nodes"):
        by_pool.setdefault(labels(node).get(POOL, ""), []).append(node)
    return tuple(_group(name, nodes) for name, nodes in sorted(by_pool.items()))


def _group(name: str, nodes: Sequence[Json]) -> NodeGroup:
    accelerators: dict[str, int] = {}
    for node in nodes:
        for resource, count in ((node.get("status") or {}).get("allocatable") or {}).items():
            if resource in RESOURCES and str(count).isdecimal() and int(count):
                accelerators[resource] = accelerators.get(resource, 0) + int(count)
    return NodeGroup(
        name=name,
        nodes=len(nodes),
        ready=sum(condition(node, "Ready").get("status") == "True" for node in nodes),
        accelerators=accelerators,
        simulated=any(labels(node).get(SIMULATED_LABEL) == "true" for node in nodes),
    )


def _cost(seen: Snapshot, machines: Sequence[Machines]) -> Cost | None:
    """The sum of what is there now; None where nothing of the site is priced."""
    if not machines:
        return None
    parts, why, total = [], [], 0.0
    for one in machines:
        count = _count(seen, one)
        parts.append((one.subject, count, one.usd_per_hour))
        if count is None:
            why.append(f"{one.subject}: how many {one.kind} there are is not known: nodes may not be listed")
        elif one.usd_per_hour is None:
            why.append(one.why or f"no price of {one.kind}")
        else:
            total += count * one.usd_per_hour
    return Cost(None if why else total, tuple(parts), tuple(why))


def _count(seen: Snapshot, one: Machines) -> int | None:
    if one.server:
        deployment = next(
            (each for each in seen.all("deployments") if each["metadata"]["name"] == one.server), None
        )
        return None if deployment is None else len(pods_of(seen, deployment))
    if not seen.knows("nodes") or one.selector is None:
        return None
    return sum(one.selector.items() <= labels(node).items() for node in seen.all("nodes"))
