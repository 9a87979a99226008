"""Whether a cluster works, asked of the cluster itself."""

from __future__ import annotations

import datetime as dt
import secrets
import socket
import struct
from typing import TYPE_CHECKING, Any

from .errors import ApiError

if TYPE_CHECKING:
    from .addresses import Node, Plan
    from .api import Api

_DNS_PORT = 53
_DNS_PODS = "/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-dns"
_TYPE_A, _CLASS_IN = 1, 1
_LEFT_SO = dt.timedelta(seconds=15)
"""Several times what kubelet takes to ask a container and to report it."""


def node_problem(api: Api, node: Node, since: dt.datetime | None) -> str | None:
    """Why the node cannot run pods, None when it can.

    What was said before ``since`` (when its kubelet was started, if that was just now) does not count.
    """
    found = api.get(f"/api/v1/nodes/{node.name}")
    if problem := said_problem(found or {}, since):
        return problem
    try:
        api.request("GET", f"/api/v1/nodes/{node.name}/proxy/healthz")
    except ApiError as error:
        return f"its kubelet does not answer: {error}"
    return None


def said_problem(found: dict[str, Any], since: dt.datetime | None) -> str | None:
    """What the node object says against the node, None when nothing."""
    conditions: list[dict[str, Any]] = found.get("status", {}).get("conditions", [])
    ready = next((condition for condition in conditions if condition["type"] == "Ready"), None)
    if ready is None:
        return "kubelet has not said anything yet"
    if ready["status"] != "True":
        return str(ready.get("message") or "it is not ready")
    heard = dt.datetime.fromisoformat(ready["lastHeartbeatTime"])
    if since is not None and heard < since.replace(microsecond=0):
        return "kubelet has not said anything since it was started"
    if taints := [
        taint["key"]
        for taint in found["spec"].get("taints", [])
        if taint["key"].startswith("node.kubernetes.io/")
    ]:
        return f"it is tainted {', '.join(taints)}"
    return None


def dns_pod_problem(api: Api, since: dt.datetime | None) -> str | None:
    """Why the API server does not hold CoreDNS for ready, None when it does.

    After a node's restart the API server still tells what was true before it, also of a container that runs
    anew, and takes a pod that answers already out of its Service once more when kubelet reports. So what
    started or became ready before ``since`` does not count, unless kubelet has left it at that for a while.
    """
    pods: list[dict[str, Any]] = (api.get(_DNS_PODS) or {}).get("items", [])
    for pod in pods:
        status = pod.get("status", {})
        became_ready = [
            dt.datetime.fromisoformat(condition["lastTransitionTime"])
            for condition in status.get("conditions", [])
            if condition["type"] == "Ready" and condition["status"] == "True"
        ]
        started = [
            dt.datetime.fromisoformat(running["startedAt"])
            for container in status.get("containerStatuses", [])
            if (running := container["state"].get("running"))
        ]
        if not became_ready or not started:
            continue
        if since is None:
            return None
        anew = since.replace(microsecond=0)
        left_so = dt.datetime.now(dt.UTC) - min(started) > _LEFT_SO
        if min(started) >= anew and (min(became_ready) >= anew or left_so):
            return None
    return "CoreDNS is not ready yet"


def dns_problem(plan: Plan, seconds: float = 1.0) -> str | None:
    """Why the cluster's DNS does not answer, None when it does.

    One question to the Service's address passes kube-proxy's rules, the node's network and CoreDNS.
    """
    question = secrets.token_bytes(2) + _query("kubernetes.default.svc.cluster.local")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(seconds)
        try:
            udp.connect((str(plan.dns_service), _DNS_PORT))
            udp.send(question)
            answer = udp.recv(512)
        except OSError as error:
            return f"no answer from {plan.dns_service}: {error}"
    if answer[:2] == question[:2] and answer.endswith(plan.api_service.packed):
        return None
    return f"{plan.dns_service} gives another answer than {plan.api_service}"


def _query(name: str) -> bytes:
    recursion_desired = 0x0100
    header = struct.pack(">HHHHH", recursion_desired, 1, 0, 0, 0)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return header + labels + b"\0" + struct.pack(">HH", _TYPE_A, _CLASS_IN)
