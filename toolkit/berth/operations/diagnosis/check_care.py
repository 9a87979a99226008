"""What will be trouble later: certificates, hands that changed what a stack made, policies, alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth.operations.diagnosis.findings import CARE, Finding
from berth.operations.diagnosis.pods import named, pods_of, selects, servers, templates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from berth.operations.diagnosis.facts import Json, Snapshot

_SOON_DAYS = 14
# Who writes into the template of a workload by right: the two engines, and controllers that renew.
_BY_RIGHT = ("berth", "pulumi", "kube-controller-manager", "argocd", "flux", "helm", "kustomize-controller")


def check(seen: Snapshot) -> Iterator[Finding]:
    """Yield what was found."""
    yield from _certificates(seen)
    for kind, workload, _ in templates(seen):
        yield from _by_hand(seen, kind, workload)
    for server in servers(seen):
        yield from _one_release(seen, server)
        yield from _policies(seen, server)
    yield from _alerts(seen)


def _certificates(seen: Snapshot) -> Iterator[Finding]:
    for one in seen.certificates:
        days = (one.until - seen.taken).total_seconds() / 86_400
        if days > _SOON_DAYS:
            continue
        over = days <= 0
        yield Finding(
            check="certificate",
            layer=CARE,
            subject=one.where,
            state="trouble" if over else "warning",
            found="it has expired" if over else f"it expires in {days:.0f} days",
            evidence=(f"valid until {one.until:%Y-%m-%d %H:%M} UTC",),
            remedy=("renew it; gateways read a new one without a restart",),
            alert="CertificateExpiring",
        )


def _by_hand(seen: Snapshot, kind: str, workload: Json) -> Iterator[Finding]:
    strangers = [
        one
        for one in workload["metadata"].get("managedFields") or []
        if one.get("template")
        and not one.get("subresource")
        and not str(one.get("manager", "")).startswith(_BY_RIGHT)
    ]
    if strangers:
        yield Finding(
            check="drift",
            layer=CARE,
            subject=f"{kind} {named(workload)}",
            state="warning",
            found="somebody changed its pods' template by other means than the stack",
            evidence=tuple(
                f"{one.get('manager')} ({one.get('operation')}) at {one.get('time')}" for one in strangers
            ),
            remedy=(
                f"./berth drift {seen.stack}  # which fields",
                f"./berth up {seen.stack} --take-back  # writes over them",
            ),
        )


def _one_release(seen: Snapshot, server: Json) -> Iterator[Finding]:
    """Replicas of one template that run different bytes: a tag that moved."""
    by_template: dict[str, dict[str, set[str]]] = {}
    for pod in pods_of(seen, server):
        template = (pod["metadata"].get("labels") or {}).get("pod-template-hash", "")
        status = pod.get("status") or {}
        states = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
        for state in states:
            if state.get("imageID"):
                by_template.setdefault(template, {}).setdefault(state["name"], set()).add(state["imageID"])
    for containers in by_template.values():
        for name, images in containers.items():
            if len(images) > 1:
                yield Finding(
                    check="drift",
                    layer=CARE,
                    subject=f"Deployment {named(server)}",
                    state="warning",
                    found=f"its replicas run different images as container {name}: a tag has moved",
                    evidence=tuple(sorted(images)),
                    remedy=("./berth images pin names images by digest",),
                    alert="MixedRevisions",
                )


def _policies(seen: Snapshot, server: Json) -> Iterator[Finding]:
    if not seen.knows("networkpolicies"):
        return
    namespace = server["metadata"]["namespace"]
    pod = {"metadata": server["spec"]["template"]["metadata"]}
    choosing = [
        one for one in seen.all("networkpolicies", namespace) if selects(one["spec"].get("podSelector"), pod)
    ]
    kinds = {kind for one in choosing for kind in one["spec"].get("policyTypes") or ["Ingress"]}
    for kind, what in (
        ("Ingress", "anybody in the cluster reaches its pods"),
        ("Egress", "its pods reach anything"),
    ):
        if kind not in kinds:
            yield Finding(
                check="policies",
                layer=CARE,
                subject=f"Deployment {named(server)}",
                state="warning",
                found=f"no network policy limits its {kind.lower()}: {what}",
                remedy=(f"./berth up {seen.stack}  # its policies are gone; ./berth drift says who",),
            )
    for one in choosing:
        for rule in one["spec"].get("ingress") or []:
            if not rule.get("from") and "berth.dev/public-reason" not in (
                one["metadata"].get("annotations") or {}
            ):
                yield Finding(
                    check="policies",
                    layer=CARE,
                    subject=f"NetworkPolicy {named(one)}",
                    state="warning",
                    found="a rule of it lets everybody in",
                    evidence=(f"ports: {rule.get('ports') or 'all'}",),
                    remedy=(f"./berth drift {seen.stack}",),
                )


def _alerts(seen: Snapshot) -> Iterator[Finding]:
    if seen.alerts is None and not seen.record and not servers(seen):
        return  # nothing is deployed, so nobody watches either
    if seen.alerts is None:
        yield Finding(
            check="alerts",
            layer=CARE,
            subject="alerts",
            state="note",
            found=seen.alerts_from
            if seen.alerts_from == "no monitoring"
            else "nobody could be asked which fire",
            evidence=() if seen.alerts_from == "no monitoring" else (seen.alerts_from,),
            remedy=("set berth:monitoring in the stack",) if seen.alerts_from == "no monitoring" else (),
        )
        return
    for one in seen.alerts:
        if one.name in {"Watchdog", "DeadMansSwitch"} or one.severity == "none":
            continue
        about = ", ".join(
            f"{key}={one.labels[key]}"
            for key in ("site", "namespace", "model", "pod", "node")
            if one.labels.get(key)
        )
        yield Finding(
            check="alerts",
            layer=CARE,
            subject=f"alert {one.name}",
            state="warning" if one.severity in {"page", "critical", "ticket", "warning"} else "note",
            found=one.summary or "it fires",
            evidence=tuple(filter(None, (f"{one.severity or 'no severity'}, since {one.since}", about))),
            remedy=(f"read {one.runbook}" if one.runbook else f"./berth status {seen.stack} --watch",),
            alert=one.name,
        )
