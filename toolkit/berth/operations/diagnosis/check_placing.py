"""Pods that have no node yet, and images that do not come."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from berth.operations.diagnosis.check_needs import about
from berth.operations.diagnosis.findings import PLACING, STARTING, Finding
from berth.operations.diagnosis.pods import (
    condition,
    container_states,
    events_of,
    labels,
    named,
    waiting,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from berth.operations.diagnosis.facts import Json, Snapshot

_PULL = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
)
_INSUFFICIENT = re.compile(r"Insufficient ([\w./-]*\w)")
_TAINTS = re.compile(r"(?:untolerated taint(?:\(s\))?|had taint) (\{[^}]*\})")
# What a registry's refusal sounds like, by cause: the first that fits.
_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"not found|manifest unknown|does not exist|no such image|name unknown",
        "the registry has no image of that name and tag",
        "check the name and tag; ./berth images push, then ./berth images pin, and ./berth up again",
    ),
    (
        r"401|403|unauthori[sz]ed|denied|authentication|forbidden|no basic auth",
        "the registry does not let the cluster in",
        "name a pull secret in berth:images.pullSecrets, or let the nodes' identity read it",
    ),
    (
        r"x509|certificate",
        "the registry's certificate is not believed by the nodes",
        "put its authority on the nodes, as their container runtime wants it",
    ),
    (
        r"no such host|i/o timeout|connection refused|dial tcp|deadline exceeded|unreachable|eof",
        "the nodes do not reach the registry",
        "look from a node: name lookup, route, firewall, proxy; is the registry's name right?",
    ),
    (r"no space|disk", "the node's disk is full", "free space on the node, or take a larger disk"),
    (
        r"invalid reference|couldn't parse|invalid image name",
        "that is no image's name",
        "correct berth:images.refs",
    ),
    (
        r"toomanyrequests|429|rate limit",
        "the registry limits how often it is asked",
        "log in to it, or mirror it",
    ),
)
_UNKNOWN_CAUSE = ("the image does not come", "read the message below; pull it by hand from a node")


def check(seen: Snapshot) -> Iterator[Finding]:
    """Yield what was found."""
    for pod in seen.all("pods"):
        if "deletionTimestamp" in pod["metadata"]:
            continue
        yield from _placing(seen, pod)
        yield from _images(seen, pod)


def _placing(seen: Snapshot, pod: Json) -> Iterator[Finding]:
    placed = condition(pod, "PodScheduled")
    if (pod.get("status") or {}).get("phase") != "Pending" or pod["spec"].get("nodeName"):
        return
    if placed.get("status") != "False" and not placed:
        return
    message = str(placed.get("message") or "the scheduler has not said why")
    found, evidence, remedy = _why(seen, pod, message)
    yield Finding(
        check="pending",
        layer=PLACING,
        subject=f"Pod {named(pod)}",
        state="trouble",
        found=f"no node takes it: {found}",
        evidence=(message, *evidence),
        remedy=tuple(remedy),
        about=about(pod),
        alert="PodsUnschedulable",
    )


def _why(seen: Snapshot, pod: Json, message: str) -> tuple[str, list[str], list[str]]:
    """Return what keeps a pod from every node, what shows it, and what to do."""
    pieces, evidence, remedy = [], list[str](), list[str]()
    if "node affinity/selector" in message or "node selector" in message:
        missing = _missing_labels(seen, pod)
        pieces.append(f"no node has {missing}" if missing else "no node has all the labels that it selects")
        selector = pod["spec"].get("nodeSelector") or {}
        if selector:
            evidence.append("nodeSelector: " + ", ".join(f"{key}={value}" for key, value in selector.items()))
        remedy.append(
            "label a node (kubectl label node <node> <key>=<value>), add the pool, or correct the model's "
            "pool or placement.nodeSelector"
        )
    if "taint" in message:
        taints = _intolerable(seen, pod, message)
        ours = [one for one in taints if "node.kubernetes.io/" not in one]
        pieces.append(f"nodes have the taint {', '.join(ours or taints)}, which it does not tolerate")
        remedy.append(
            "tolerate it: the pool's taints in the stack, or placement.tolerations"
            if ours
            else "that taint is Kubernetes' own for a node that is not well: see the nodes above"
        )
    if short := sorted(set(_INSUFFICIENT.findall(message))):
        pieces.append(f"too little {', '.join(short)} is free")
        evidence += _asks(seen, pod, short)
        remedy.append(
            "add a node (pools.<name>.max, and the cloud's quota), or ask for less; "
            "./berth plan says what the model needs"
        )
    if "PersistentVolumeClaim" in message or "volume node affinity" in message:
        pieces.append("its volume is not there, or is in another zone")
        remedy.append(f"kubectl get pvc -n {pod['metadata']['namespace']}")
    if "free ports" in message:
        pieces.append("the host port that it wants is taken")
    if "no nodes available" in message or "0/0 nodes" in message:
        pieces.append("the cluster has no node at all")
        remedy.append("a pool that wakes from zero takes minutes; else look at the autoscaler of the nodes")
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    evidence += [
        f"{one.get('reason')}: {one.get('message')}"
        for one in events_of(seen, pod)
        if one.get("reason") in {"NotTriggerScaleUp", "FailedScaleUp", "TriggeredScaleUp"}
    ][:1]
    remedy.append(f"kubectl describe pod -n {namespace} {name}")
    return " and ".join(pieces) or "see the scheduler's words", evidence, remedy


def _intolerable(seen: Snapshot, pod: Json, message: str) -> list[str]:
    """Taints that keep a pod away, as `{key: value}`: as the scheduler names them, else the nodes'."""
    if told := sorted(set(_TAINTS.findall(message))):
        return told
    tolerations = pod["spec"].get("tolerations") or []
    found = {
        f"{{{taint['key']}: {taint.get('value', '')}}}"
        for node in seen.all("nodes")
        for taint in (node.get("spec") or {}).get("taints") or []
        if taint.get("effect") != "PreferNoSchedule"
        and not any(_tolerates(one, taint) for one in tolerations)
    }
    return sorted(found) or ["that the scheduler names"]


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in {None, "", taint.get("effect")}:
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in {None, "", taint["key"]}
    return (toleration.get("key"), toleration.get("value", "")) == (taint["key"], taint.get("value", ""))


def _missing_labels(seen: Snapshot, pod: Json) -> str:
    """The labels that a pod selects and that no node has; "" where nodes were not read."""
    nodes = seen.all("nodes")
    if not nodes:
        return ""
    lacking = [
        f"{key}={value}"
        for key, value in (pod["spec"].get("nodeSelector") or {}).items()
        if not any(labels(node).get(key) == value for node in nodes)
    ]
    return "the label " + ", ".join(lacking) if lacking else ""


def _asks(seen: Snapshot, pod: Json, resources: list[str]) -> list[str]:
    found = []
    for resource in resources:
        asked = [
            str(((one.get("resources") or {}).get("requests") or {}).get(resource))
            for one in [*(pod["spec"].get("initContainers") or []), *(pod["spec"].get("containers") or [])]
            if ((one.get("resources") or {}).get("requests") or {}).get(resource)
        ]
        sizes = {
            node["metadata"]["name"]: (node.get("status") or {}).get("allocatable") or {}
            for node in seen.all("nodes")
        }
        there = [f"{name} {size.get(resource, '0')}" for name, size in sizes.items()]
        if asked:
            found.append(f"{resource}: it asks for {' + '.join(asked)}; nodes have {', '.join(there[:4])}")
    return found


def _images(seen: Snapshot, pod: Json) -> Iterator[Finding]:
    for state in container_states(pod):
        wait = waiting(state)
        if wait.get("reason") not in _PULL:
            continue
        said = [
            str(one.get("message"))
            for one in events_of(seen, pod)
            if one.get("reason") in {"Failed", "InspectFailed", "ErrImageNeverPull"}
            and str(state["image"]) in str(one.get("message"))
        ]
        message = next((one for one in [*said, str(wait.get("message") or "")] if "ack-off" not in one), "")
        cause, remedy = _cause(str(wait["reason"]), message)
        yield Finding(
            check="image",
            layer=STARTING,
            subject=f"Pod {named(pod)}",
            state="trouble",
            found=f"the image of its container {state['name']} does not come: {cause}",
            evidence=tuple(filter(None, (f"image: {_image(pod, state)}", f"{wait['reason']}: {message}"))),
            remedy=(
                remedy,
                f"kubectl describe pod -n {pod['metadata']['namespace']} {pod['metadata']['name']}",
            ),
            about=about(pod),
            alert="ImageMissing",
        )


def _image(pod: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    containers = [*(pod["spec"].get("initContainers") or []), *(pod["spec"].get("containers") or [])]
    return next(
        (str(one["image"]) for one in containers if one["name"] == state["name"]), str(state["image"])
    )


def _cause(reason: str, message: str) -> tuple[str, str]:
    if reason == "ErrImageNeverPull":
        return (
            "it is not on the node, and the pod never pulls",
            "./berth up puts images where they are needed",
        )
    if reason == "InvalidImageName":
        return "that is no image's name", "correct berth:images.refs"
    if ".invalid" in message:
        return (
            "nobody has said yet where it is: it has a placeholder",
            "./berth images push, then ./berth images pin; ./berth up again",
        )
    for pattern, cause, remedy in _CAUSES:
        if re.search(pattern, message, re.IGNORECASE):
            return cause, remedy
    return _UNKNOWN_CAUSE
