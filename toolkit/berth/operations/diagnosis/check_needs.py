"""What pods need before they can start: Secrets and ConfigMaps, volumes, room in quotas, admission."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from berth.operations.diagnosis.findings import NEEDS, Finding
from berth.operations.diagnosis.pods import (
    INSTANCE,
    MODEL_SERVER,
    NAME,
    container_specs,
    events_of,
    labels,
    named,
    secret_names,
    templates,
)
from berth.operations.quantities import amount

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from berth.operations.diagnosis.facts import Json, Snapshot

KEYS = "api-keys"
_QUOTA = re.compile(r"exceeded quota: (?P<quota>[^,]+), (?P<what>.*)")
_QUOTA_FULL = 1.0


def check(seen: Snapshot) -> Iterator[Finding]:
    """Yield what was found."""
    for kind, workload, spec in templates(seen):
        yield from _secrets(seen, kind, workload, spec)
        yield from _configs(seen, kind, workload, spec)
    for claim in seen.all("persistentvolumeclaims"):
        yield from _claim(seen, claim)
    for one in [*seen.all("replicasets"), *seen.all("statefulsets")]:
        yield from _refused(seen, one)
    for quota in seen.all("resourcequotas"):
        yield from _quota(quota)


def about(workload: Mapping[str, Any]) -> frozenset[str]:
    """Return what a workload's trouble concerns: its model server, or the autoscalers' signal."""
    given, namespace = labels(workload), workload["metadata"].get("namespace")
    if given.get(NAME) == MODEL_SERVER:
        return frozenset({f"server:{namespace}/{given.get(INSTANCE)}"})
    if given.get(NAME) == "metrics-adapter":
        return frozenset({"signal"})
    return frozenset({f"workload:{namespace}/{given.get(INSTANCE) or workload['metadata']['name']}"})


def _secrets(seen: Snapshot, kind: str, workload: Json, spec: Json) -> Iterator[Finding]:
    namespace, who = workload["metadata"]["namespace"], f"{kind} {named(workload)}"
    facts = {(one.namespace, one.name): one.sizes for one in seen.secrets}
    keys = {
        str((one.get("secret") or {}).get("secretName"))
        for one in spec.get("volumes") or []
        if one["name"] == KEYS
    }
    for name in sorted({str(one["name"]) for one in spec.get("imagePullSecrets") or []}):
        if facts.get((namespace, name), {}) is None:
            yield Finding(
                check="secret",
                layer=NEEDS,
                subject=f"Secret {namespace}/{name}",
                state="warning",
                found=f"{who} pulls its images with it, and it is not there: a registry may refuse",
                remedy=("make it, or correct berth:images.pullSecrets",),
                about=about(workload),
            )
    for name in sorted(secret_names(spec)):
        if (namespace, name) not in facts:
            continue  # it could not be read, which is said elsewhere
        sizes, subject = facts[namespace, name], f"Secret {namespace}/{name}"
        what = "the API keys of" if name in keys else "needed by"
        if sizes is None:
            yield Finding(
                check="secret",
                layer=NEEDS,
                subject=subject,
                state="trouble",
                found=f"it is not there: {what} {who}, of which no new pod can start",
                evidence=_mount_events(seen, name),
                remedy=_key_steps(seen) if name in keys else (f"./berth up {seen.stack}",),
                about=about(workload),
            )
        elif name in keys and (not sizes or not all(sizes.values())):
            which = ", ".join(sorted(entry for entry, size in sizes.items() if not size))
            yield Finding(
                check="secret",
                layer=NEEDS,
                subject=subject,
                state="trouble",
                found=f"it holds {'an empty key: ' + which if which else 'no key at all'}; clients get 401, "
                "and a gateway without any key does not start",
                evidence=(f"entries: {', '.join(sorted(sizes)) or 'none'}",),
                remedy=_key_steps(seen),
                about=about(workload),
            )


def _key_steps(seen: Snapshot) -> tuple[str, ...]:
    return (
        f"./berth drift {seen.stack}  # who wrote it",
        f"./berth up {seen.stack}  # puts the stack's keys back; gateways read them again within seconds",
    )


def _mount_events(seen: Snapshot, name: str) -> tuple[str, ...]:
    messages = (
        str(one.get("message"))
        for one in seen.all("events")
        if one.get("reason") in {"FailedMount", "Failed"} and f'"{name}"' in str(one.get("message"))
    )
    return tuple(dict.fromkeys(messages))[:1]


def _configs(seen: Snapshot, kind: str, workload: Json, spec: Json) -> Iterator[Finding]:
    if not seen.knows("configmaps"):
        return
    namespace = workload["metadata"]["namespace"]
    wanted = {
        str(one["configMap"]["name"])
        for one in spec.get("volumes") or []
        if one.get("configMap") and not one["configMap"].get("optional")
    }
    for container in container_specs(spec):
        references = [one.get("configMapRef") or {} for one in container.get("envFrom") or []]
        wanted |= {str(one["name"]) for one in references if one.get("name") and not one.get("optional")}
    for name in sorted(wanted):
        if seen.one("configmaps", namespace, name) is None:
            yield Finding(
                check="config",
                layer=NEEDS,
                subject=f"ConfigMap {namespace}/{name}",
                state="trouble",
                found=f"it is not there: {kind} {named(workload)} cannot start a pod without it",
                remedy=(f"./berth up {seen.stack}",),
                about=about(workload),
            )


def _claim(seen: Snapshot, claim: Json) -> Iterator[Finding]:
    phase = (claim.get("status") or {}).get("phase")
    if phase == "Bound":
        return
    said = [one for one in events_of(seen, claim) if one.get("type") == "Warning"]
    name, wanted = claim["spec"].get("storageClassName"), named(claim)
    classes = {one["metadata"]["name"] for one in seen.all("storageclasses")}
    remedy = [f"kubectl describe pvc -n {claim['metadata']['namespace']} {claim['metadata']['name']}"]
    if phase == "Lost":
        found = "its volume is gone"
    elif seen.knows("storageclasses") and name and name not in classes:
        found = f"it waits for storage class {name}, which the cluster does not have"
        remedy = [f"set weights.storageClass to one of: {', '.join(sorted(classes)) or '(none there)'}"]
    elif seen.knows("storageclasses") and not name and not classes:
        found = "it names no storage class, and the cluster has no default one"
    elif not said:
        # A volume that binds with its first pod waits for that pod, as it should.
        return
    else:
        found = "no volume was made for it"
    yield Finding(
        check="volume",
        layer=NEEDS,
        subject=f"PersistentVolumeClaim {wanted}",
        state="trouble",
        found=found,
        evidence=tuple(f"{one.get('reason')}: {one.get('message')}" for one in said[:2]),
        remedy=tuple(remedy),
        about=about(claim),
    )


def _refused(seen: Snapshot, workload: Json) -> Iterator[Finding]:
    """Pods that the API server did not take: quotas, Pod Security, webhooks."""
    wanted = workload["spec"].get("replicas", 1)
    there = (workload.get("status") or {}).get("replicas", 0)
    said = [one for one in events_of(seen, workload) if one.get("reason") == "FailedCreate"]
    if not said or there >= wanted:
        return
    message, remedy = str(said[0].get("message")), tuple[str, ...]()
    quota = _QUOTA.search(message)
    if quota:
        name = quota["quota"]
        found = f"its pods are refused: quota {name} of the namespace is used up"
        remedy = (
            f"kubectl describe quota -n {workload['metadata']['namespace']} {name}",
            "raise it, or ask for less: replicas, engine.resources",
        )
    elif "violates PodSecurity" in message:
        found = "its pods are refused: they break the namespace's Pod Security level"
        remedy = (f"./berth policy {seen.stack}", "see who changed the namespace's labels: ./berth drift")
    else:
        found = "its pods are refused by the API server"
        remedy = ("read what refused them below: a webhook, a missing ServiceAccount or priority class",)
    yield Finding(
        check="quota" if quota else "admission",
        layer=NEEDS,
        subject=f"ReplicaSet {named(workload)}",
        state="trouble",
        found=found,
        evidence=(message,),
        remedy=remedy,
        about=about(workload),
        alert="QuotaNearlyUsed" if quota else "",
    )


def _quota(quota: Json) -> Iterator[Finding]:
    status = quota.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    full = [
        f"{name}: {used.get(name, '0')} of {limit}"
        for name, limit in sorted(hard.items())
        if (top := amount(limit)) and (amount(used.get(name, "0")) or 0) / top >= _QUOTA_FULL
    ]
    if full:
        yield Finding(
            check="quota",
            layer=NEEDS,
            subject=f"ResourceQuota {named(quota)}",
            state="warning",
            found="nothing is left of it: no further pod of that kind can be made",
            evidence=tuple(full),
            remedy=("raise it before the autoscaler needs another replica",),
        )
