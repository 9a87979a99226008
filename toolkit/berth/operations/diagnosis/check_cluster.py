"""What everything stands on: the API server and what may be read, the last deployment, nodes, namespaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth.operations.diagnosis.findings import CLUSTER, NODES, Finding
from berth.operations.diagnosis.pods import condition, labels, named

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from berth.operations.diagnosis.facts import Json, NotRead, Snapshot

_PRESSURES: Mapping[str, tuple[str, str]] = {
    "MemoryPressure": ("runs out of memory", "end what takes it, or take nodes with more memory"),
    "DiskPressure": ("runs out of disk", "free space on it (images, logs, weights), or take a larger disk"),
    "PIDPressure": ("runs out of process ids", "find what starts so many processes"),
    "NetworkUnavailable": ("has no network yet", "look at the network plugin's pods on it"),
}
_ALERTS = {"MemoryPressure": "NodeMemoryLow", "DiskPressure": "NodeDiskFilling"}
_CLUSTER = frozenset({"cluster"})


def check(seen: Snapshot) -> Iterator[Finding]:
    """Yield what was found."""
    if not seen.reached:
        yield from _out_of_reach(seen)
        return
    yield Finding(
        check="api",
        layer=CLUSTER,
        subject="API server",
        state="ok",
        found=f"{seen.server} answers, Kubernetes {seen.version}",
    )
    yield from map(_not_read, seen.not_read)
    yield from _deployment(seen)
    for node in seen.all("nodes"):
        yield from _node(node)
    for namespace in seen.all("namespaces"):
        if (namespace.get("status") or {}).get("phase") == "Terminating":
            left = condition(namespace, "NamespaceContentRemaining").get("message")
            name = namespace["metadata"]["name"]
            yield Finding(
                check="namespace",
                layer=CLUSTER,
                subject=f"Namespace {name}",
                state="trouble",
                found="it is being deleted, so nothing can be made in it",
                evidence=(str(left),) if left else (),
                remedy=(f"wait until it is gone, then ./berth up {seen.stack}",),
                about=frozenset(f"server:{one.namespace}/{one.name}" for one in seen.asked),
            )


def _out_of_reach(seen: Snapshot) -> Iterator[Finding]:
    why = next((one.reason for one in seen.not_read if one.what == "cluster"), "it was not asked")
    steps = [f"kubectl cluster-info  # with the kubeconfig of {seen.server}"]
    if "401" in why or "Unauthorized" in why:
        steps = ["the credentials of the kubeconfig have expired or are another cluster's: log in again"]
    yield Finding(
        check="api",
        layer=CLUSTER,
        subject="API server",
        state="unknown",
        found=f"{seen.server} cannot be asked",
        evidence=(why,),
        remedy=tuple(steps),
        about=_CLUSTER,
    )


def _not_read(one: NotRead) -> Finding:
    resource = one.what.partition(" (")[0]
    remedy = (
        f"ask for the right to get and list {resource}: kubectl auth can-i list {resource} --all-namespaces"
        if one.forbidden
        else "run this again"
    )
    return Finding(
        check="permissions" if one.forbidden else "api",
        layer=CLUSTER,
        subject=one.what,
        state="unknown",
        found="it may not be read" if one.forbidden else "it could not be read",
        evidence=(one.reason,),
        remedy=(remedy,),
    )


def _deployment(seen: Snapshot) -> Iterator[Finding]:
    """How the last run ended, and whether anything of the stack is there at all."""
    present = {named(one) for one in seen.all("deployments")}
    missing = [one for one in seen.asked if f"{one.namespace}/{one.name}" not in present]
    if seen.knows("deployments") and seen.asked and len(missing) == len(seen.asked) and not seen.record:
        yield Finding(
            check="deployed",
            layer=CLUSTER,
            subject=f"stack {seen.stack}",
            state="note",
            found="nothing of it is deployed here",
            remedy=(f"./berth up {seen.stack}",),
        )
        return
    for one in missing if seen.knows("deployments") else ():
        yield Finding(
            check="deployed",
            layer=CLUSTER,
            subject=f"Deployment {one.namespace}/{one.name}",
            state="trouble",
            found="the stack asks for it, and it is not there",
            remedy=(f"./berth drift {seen.stack}", f"./berth up {seen.stack}"),
            about=frozenset({f"server:{one.namespace}/{one.name}"}),
        )
    state = (seen.record or {}).get("state")
    if seen.record is None or state == "succeeded":
        return
    when, by = seen.record.get("ended") or seen.record.get("at", "?"), seen.record.get("by", "?")
    said = {
        "failed": "the last `up` failed",
        "cancelled": "the last `up` was stopped half-way",
        "running": "an `up` is under way, or was killed half-way",
    }
    yield Finding(
        check="deployed",
        layer=CLUSTER,
        subject=f"stack {seen.stack}",
        state="note" if state == "running" else "warning",
        found=said.get(str(state), f"its last run is {state}"),
        evidence=(f"{when}, by {by}",),
        remedy=(f"./berth up {seen.stack}  # goes on from there",),
    )


def _node(node: Json) -> Iterator[Finding]:
    name = node["metadata"]["name"]
    subject, about = f"Node {name}", frozenset({f"node:{name}"})
    ready = condition(node, "Ready")
    simulated = " (simulated hardware)" if labels(node).get("berth.dev/simulated-gpu") == "true" else ""
    if ready.get("status") != "True":
        yield Finding(
            check="node",
            layer=NODES,
            subject=subject,
            state="trouble",
            found=f"it is not Ready{simulated}: its kubelet does not answer or is not well",
            evidence=(f"{ready.get('reason')}: {ready.get('message')}",)
            if ready
            else ("no condition Ready",),
            remedy=(f"kubectl describe node {name}", "look at the machine itself: kubelet, runtime, network"),
            about=about,
            alert="NodeNotReady",
        )
    for kind, (what, remedy) in _PRESSURES.items():
        found = condition(node, kind)
        if found.get("status") == "True":
            yield Finding(
                check="node/pressure",
                layer=NODES,
                subject=subject,
                state="trouble",
                found=f"it {what}; pods are evicted from it, and none is placed on it",
                evidence=(f"{found.get('reason')}: {found.get('message')}",),
                remedy=(remedy,),
                about=about,
                alert=_ALERTS.get(kind, ""),
            )
    if (node.get("spec") or {}).get("unschedulable"):
        yield Finding(
            check="node/cordoned",
            layer=NODES,
            subject=subject,
            state="note",
            found="it is cordoned: no new pod is placed on it",
            remedy=(f"kubectl uncordon {name}",),
        )
