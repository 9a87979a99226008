"""What stands on pods: rollouts, Services, and disruption budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth.operations.diagnosis.check_needs import about
from berth.operations.diagnosis.findings import NEEDS, SERVING, Finding
from berth.operations.diagnosis.pods import (
    INSTANCE,
    NAME,
    condition,
    is_ready,
    labels,
    named,
    pods_of,
    selects,
    servers,
    sleeps,
    templates,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from berth.operations.diagnosis.facts import Json, Snapshot

ADAPTER = "metrics-adapter"


def check(seen: Snapshot) -> Iterator[Finding]:
    """Yield what was found."""
    for kind, workload, _ in templates(seen):
        yield from _workload(seen, kind, workload)
    for service in seen.all("services"):
        yield from _service(seen, service)
    for budget in seen.all("poddisruptionbudgets"):
        yield from _budget(budget)
    for server in servers(seen):
        ready, wanted = _counts(seen, server)
        if wanted and ready >= wanted:
            yield Finding(
                check="replicas",
                layer=SERVING,
                subject=f"Deployment {named(server)}",
                state="ok",
                found=f"{ready} of {wanted} replicas are Ready",
            )


def _counts(seen: Snapshot, workload: Json) -> tuple[int, int]:
    wanted = int(workload["spec"].get("replicas", 1))
    return sum(is_ready(pod) for pod in pods_of(seen, workload)), wanted


def _workload(seen: Snapshot, kind: str, workload: Json) -> Iterator[Finding]:
    status, subject = workload.get("status") or {}, f"{kind} {named(workload)}"
    # The adapter is what autoscalers stand on; the rest stands on its own pods.
    layer = NEEDS if labels(workload).get(NAME) == ADAPTER else SERVING
    if kind == "DaemonSet":
        wanted, ready = int(status.get("desiredNumberScheduled") or 0), int(status.get("numberReady") or 0)
    else:
        ready, wanted = _counts(seen, workload)
    progressing, failing = condition(workload, "Progressing"), condition(workload, "ReplicaFailure")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        metadata = workload["metadata"]
        rollout = f"kubectl rollout undo -n {metadata['namespace']} deployment/{metadata['name']}"
        yield Finding(
            check="rollout",
            layer=layer,
            subject=subject,
            state="trouble",
            found=f"its rollout is stuck; {ready} of {wanted} replicas are Ready",
            evidence=(str(progressing.get("message")),),
            remedy=(
                f"mend what is above and ./berth up {seen.stack}; or back to what ran before: {rollout}",
            ),
            about=about(workload),
            alert="RolloutStuck",
        )
    elif wanted and not ready:
        yield Finding(
            check="replicas",
            layer=layer,
            subject=subject,
            state="trouble",
            found=f"none of its {wanted} replica(s) is Ready: "
            + ("autoscalers see no signal" if layer == NEEDS else "nobody is served"),
            evidence=(f"{failing['reason']}: {failing['message']}",) if failing else (),
            remedy=(f"kubectl get pods -n {workload['metadata']['namespace']}",),
            about=about(workload),
            alert="ModelUnavailable" if layer == SERVING else "AutoscalerBlind",
        )
    elif ready < wanted:
        yield Finding(
            check="replicas",
            layer=layer,
            subject=subject,
            state="note",
            found=f"{ready} of {wanted} replicas are Ready: it is scaling or rolling out",
            about=about(workload),
        )
    if wanted == 0 and sleeps(seen, workload):
        yield Finding(
            check="replicas",
            layer=layer,
            subject=subject,
            state="ok",
            found="it is asleep: its router holds the next request until a replica is ready",
        )
    elif wanted == 0 and kind != "DaemonSet":
        yield Finding(
            check="replicas",
            layer=layer,
            subject=subject,
            state="trouble" if layer == NEEDS else "warning",
            found="it is scaled to no replica at all: "
            + ("autoscalers see no signal" if layer == NEEDS else "nobody is served"),
            remedy=(
                (
                    f"kubectl scale -n {workload['metadata']['namespace']} {kind.lower()}/"
                    f"{workload['metadata']['name']} --replicas=1"
                ),
                f"./berth drift {seen.stack}  # who did it",
            ),
            about=about(workload),
        )
    if workload["spec"].get("paused"):
        yield Finding(
            check="rollout",
            layer=layer,
            subject=subject,
            state="warning",
            found="its rollout is paused: changes do not reach its pods",
            remedy=(
                (
                    f"kubectl rollout resume -n {workload['metadata']['namespace']} "
                    f"deployment/{workload['metadata']['name']}"
                ),
            ),
        )


def _service(seen: Snapshot, service: Json) -> Iterator[Finding]:
    spec, subject = service["spec"], f"Service {named(service)}"
    namespace = service["metadata"]["namespace"]
    if not spec.get("selector"):
        return
    chosen = [pod for pod in seen.all("pods", namespace) if selects({"matchLabels": spec["selector"]}, pod)]
    if seen.knows("pods") and not chosen:
        known = [one for _, one, _ in templates(seen) if one["metadata"]["namespace"] == namespace]
        # The labels of its pods, were there any.
        asleep = any(
            selects({"matchLabels": spec["selector"]}, one["spec"]["template"])
            and not int(one["spec"].get("replicas", 1))
            and sleeps(seen, one)
            for one in known
        )
        if not asleep and any(int(one["spec"].get("replicas", 1)) for one in known):
            yield Finding(
                check="service",
                layer=SERVING,
                subject=subject,
                state="trouble",
                found="its selector chooses no pod, so it leads nowhere",
                evidence=("selector: " + ", ".join(f"{k}={v}" for k, v in spec["selector"].items()),),
                remedy=(f"./berth drift {seen.stack}",),
                about=about(service),
            )
    if spec.get("type") == "LoadBalancer" and not (
        (service.get("status") or {}).get("loadBalancer") or {}
    ).get("ingress"):
        yield Finding(
            check="service",
            layer=SERVING,
            subject=subject,
            state="trouble",
            found="it has no address yet: no load balancer was made for it",
            remedy=(
                "is there a controller for load balancers (a cloud's, MetalLB)? Else take NodePort",
                f"kubectl describe service -n {namespace} {service['metadata']['name']}",
            ),
            about=about(service),
        )


def _budget(budget: Json) -> Iterator[Finding]:
    status, given = budget.get("status") or {}, labels(budget)
    expected, healthy = int(status.get("expectedPods") or 0), int(status.get("currentHealthy") or 0)
    if not expected or int(status.get("disruptionsAllowed") or 0):
        return
    needs = int(status.get("desiredHealthy") or 0)
    by_design = needs >= expected
    yield Finding(
        check="disruption",
        layer=SERVING,
        subject=f"PodDisruptionBudget {named(budget)}",
        state="warning" if by_design else "note",
        found="it allows no eviction, "
        + (
            "ever: a node with such a pod can never be drained or upgraded"
            if by_design
            else "as long as pods are not Ready"
        ),
        evidence=(f"{healthy} of {expected} pods are healthy, {needs} have to be",),
        remedy=("set maxUnavailable: 1, as the components do; ./berth drift says who changed it",)
        if by_design
        else (),
        about=frozenset({f"server:{budget['metadata']['namespace']}/{given.get(INSTANCE)}"}),
    )
