"""A copy of a stack's model server for the proof: its own objects, in a namespace of their own.

What differs from the stack is only what the proof is about: each replica asks for one simulated GPU and
tolerates the taint of such nodes, it goes to the proof's nodes and the first one instead of a pool of the
stack's, the Service has no port on the nodes, the API key is the proof's own, and the last replica stays.
"""

from __future__ import annotations

import base64
import copy
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from berth.operations.errors import OperationsError
from berth.operations.proof.facts import UNKNOWN
from berth.operations.proof.plan import Plan, Subject

from .nodes import POOL_LABEL
from .writer import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from berth.operations.proof.facts import Facts, Resource

Json = dict[str, Any]
GPU = "nvidia.com/gpu"
PROOF_LABEL = "berth.dev/proof"
POOL = "berth-proof"
"""The pool of the nodes that the proof makes."""
_ORDER = ("Namespace", "ServiceAccount", "Secret", "ConfigMap", "NetworkPolicy", "Service", "Deployment")


@dataclass(frozen=True)
class Workload:
    """What the proof deploys.

    Attributes:
        namespace: its own.
        objects: in the order in which they are applied.
        deployment: its name, which is the autoscaler's and the Service's, too.
        selector: labels of its pods.
        port: of the Service.
        minimum, maximum: replicas.
        target: waiting requests per replica.
        slots: requests at once of one replica.
        queue_seconds: how long a request may wait.
    """

    namespace: str
    objects: tuple[Json, ...]
    deployment: str
    selector: dict[str, str]
    port: int
    minimum: int
    maximum: int
    target: float
    slots: int
    queue_seconds: float


def workload(resources: Iterable[Resource], facts: Facts, namespace: str, key: str) -> Workload:
    """Take the first autoscaled model server of a plan, and put it elsewhere.

    Args:
        resources: the plan.
        facts: beside it.
        namespace: where to.
        key: the API key of the copy.

    Raises:
        OperationsError: the plan has none, or not everything of it is known.
    """
    plan = Plan(tuple(resources), facts)
    subject = next((one for one in plan.subjects() if one.deployment and not one.is_keda), None)
    if subject is None:
        raise OperationsError("this stack has no model server that an HPA scales: there is nothing to prove")
    instance = str(subject.labels.get("app.kubernetes.io/instance"))
    kept = [one for one in plan.resources if _belongs(one, subject, instance)]
    objects = [_moved(one, namespace, key) for one in kept]
    objects.sort(key=lambda one: _ORDER.index(one["kind"]) if one["kind"] in _ORDER else len(_ORDER))
    (deployment,) = (one for one in objects if one["kind"] == "Deployment")
    _ask_for_gpu(deployment)
    _place(deployment)
    for one in objects:
        if one["kind"] == "HorizontalPodAutoscaler" and one["spec"].get("minReplicas") == 0:
            # No router is copied that would wake it.
            one["spec"]["minReplicas"] = 1
    service = next(one for one in objects if one["kind"] == "Service")
    _within(service)
    environment = subject.environment()
    return Workload(
        namespace=namespace,
        objects=tuple(objects),
        deployment=deployment["metadata"]["name"],
        selector={"app.kubernetes.io/instance": instance},
        port=int(service["spec"]["ports"][0]["port"]),
        minimum=max(1, subject.minimum),
        maximum=subject.maximum,
        target=_target(subject),
        slots=int(environment.get("BERTH_ENGINE_SLOTS", 1)),
        queue_seconds=float(environment.get("BERTH_QUEUE_TIMEOUT_SECONDS", 60)),
    )


def _belongs(one: Resource, subject: Subject, instance: str) -> bool:
    if one.cluster != subject.scaler.cluster or one.kind not in KINDS:
        return False
    metadata = one.properties["metadata"]
    if one.kind == "Namespace":
        return bool(metadata.get("name") == subject.scaler.namespace)
    labels = metadata.get("labels") or {}
    of_all = "app.kubernetes.io/instance" not in labels and one.kind == "NetworkPolicy"
    return one.namespace == subject.scaler.namespace and (
        labels.get("app.kubernetes.io/instance") == instance or of_all
    )


def _moved(one: Resource, namespace: str, key: str) -> Json:
    manifest: Json = copy.deepcopy(dict(one.properties))
    metadata = manifest["metadata"]
    if manifest["kind"] == "Namespace":
        metadata["name"] = namespace
    else:
        metadata["namespace"] = namespace
    metadata["labels"] = {**(metadata.get("labels") or {}), PROOF_LABEL: "true"}
    annotations = metadata.get("annotations") or {}
    metadata["annotations"] = {
        name: value for name, value in annotations.items() if not name.startswith("pulumi.com/")
    }
    if manifest["kind"] == "Secret":
        manifest["data"] = {"proof": base64.b64encode(key.encode()).decode()}
        manifest.pop("stringData", None)
    if _has_unknown(manifest):
        raise OperationsError(f"{one.title}: not everything of it is known; `up` the stack first")
    return manifest


def _has_unknown(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_unknown, value.values()))
    if isinstance(value, list):
        return any(map(_has_unknown, value))
    return value is UNKNOWN


def _ask_for_gpu(deployment: Json) -> None:
    pod = deployment["spec"]["template"]["spec"]
    engine = next(
        one for one in [*pod.get("initContainers", []), *pod["containers"]] if one["name"] == "engine"
    )
    for part in ("limits", "requests"):
        engine.setdefault("resources", {}).setdefault(part, {})[GPU] = "1"
    pod["tolerations"] = [*pod.get("tolerations", []), {"key": GPU, "operator": "Exists"}]


def _place(deployment: Json) -> None:
    """Onto nodes of the proof and of no pool: room in a pool of the stack's would hide the way to a node."""
    pod = deployment["spec"]["template"]["spec"]
    if POOL_LABEL not in (pod.get("nodeSelector") or {}):
        return
    del pod["nodeSelector"][POOL_LABEL]
    terms: list[Json] = [
        {"matchExpressions": [{"key": POOL_LABEL, "operator": "DoesNotExist"}]},
        {"matchExpressions": [{"key": POOL_LABEL, "operator": "In", "values": [POOL]}]},
    ]
    node = pod.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    given = (node.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or [
        {}
    ]
    # Terms are alternatives: each of those given, with each of these.
    node["requiredDuringSchedulingIgnoredDuringExecution"] = {
        "nodeSelectorTerms": [
            {**one, "matchExpressions": [*one.get("matchExpressions", []), *term["matchExpressions"]]}
            for one in given
            for term in terms
        ]
    }


def _within(service: Json) -> None:
    spec = service["spec"]
    spec["type"] = "ClusterIP"
    for one in spec["ports"]:
        one.pop("nodePort", None)
    spec.pop("externalTrafficPolicy", None)


def _target(subject: Subject) -> float:
    from berth.operations.proof.links.metric import targets  # noqa: PLC0415 - links import what is beside this

    return next(given for name, _, given in targets(subject) if given is not None)


def summary(work: Workload) -> str:
    """What is deployed, in a few words."""
    kinds = json.dumps(sorted({one["kind"] for one in work.objects}))
    return f"{work.namespace}: {work.deployment}, {work.minimum} to {work.maximum} replicas ({kinds})"
