"""How many of a pod there are, who decides it, and who reaches them."""

from collections.abc import Mapping
from typing import Any

from berth_policy.checks import all_pods, declared
from berth_policy.kubernetes import Object, Pod
from berth_policy.subject import Stack, mapping, sequence
from berth_policy.units import number

REPLICATED = ("Deployment", "StatefulSet", "ReplicaSet", "ReplicationController")


def replicated(stack: Stack) -> list[Pod]:
    """Templates of pods of which there may be several."""
    return [one for one in all_pods(stack) if one.kind in REPLICATED]


def scalers(stack: Stack) -> list[Object]:
    """Every autoscaler of replicas: Kubernetes' own, and KEDA's."""
    return [*declared(stack, "HorizontalPodAutoscaler"), *declared(stack, "ScaledObject")]


def scaler_of(stack: Stack, thing: Object) -> Object | None:
    """The autoscaler that decides how many of an object there are."""
    for one in scalers(stack):
        target = mapping(one.spec.get("scaleTargetRef"))
        kind = target.get("kind") or ("Deployment" if one.kind == "ScaledObject" else "")
        if (kind, target.get("name"), one.namespace) == (thing.kind, thing.name, thing.namespace):
            return one
    return None


def least(stack: Stack, thing: Object) -> float:
    """How many of an object there are at the least."""
    scaler = scaler_of(stack, thing)
    if scaler is None:
        return number(thing.spec.get("replicas"), 1)
    key = "minReplicaCount" if scaler.kind == "ScaledObject" else "minReplicas"
    return number(scaler.spec.get(key), 1)


def most(stack: Stack, thing: Object) -> float:
    """How many of an object there are at the most."""
    scaler = scaler_of(stack, thing)
    if scaler is None:
        return number(thing.spec.get("replicas"), 1)
    key = "maxReplicaCount" if scaler.kind == "ScaledObject" else "maxReplicas"
    return number(scaler.spec.get(key), 1)


def selects(selector: object, labels: Mapping[str, Any]) -> bool:
    """Whether a label selector, with matchLabels and matchExpressions, selects a pod with these labels."""
    body = mapping(selector)
    wanted = mapping(body.get("matchLabels"))
    if any(key not in labels or labels[key] != wanted[key] for key in wanted):
        return False
    return all(_holds(mapping(one), labels) for one in sequence(body.get("matchExpressions")))


def _holds(expression: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    key, operator = str(expression.get("key")), expression.get("operator")
    if operator in ("In", "NotIn"):
        inside = key in labels and labels[key] in sequence(expression.get("values"))
        return inside is (operator == "In")
    return (key in labels) is (operator == "Exists")


def services_of(stack: Stack, pod: Pod) -> list[Object]:
    """Services of the stack that send requests to a pod."""
    return [
        one
        for one in declared(stack, "Service")
        if one.namespace == pod.namespace
        and mapping(one.spec.get("selector"))
        and selects({"matchLabels": one.spec.get("selector")}, pod.labels)
    ]


def is_behind_service(stack: Stack, pod: Pod) -> bool:
    """Whether a Service of the stack sends requests to a pod."""
    return bool(services_of(stack, pod))


def named(pod: Pod, port: object) -> bool:
    """Whether a port is one of a pod's, by name; numbers may be undeclared."""
    if isinstance(port, int | float) or str(port).isdigit():
        return True
    ports = [mapping(p).get("name") for one in pod.containers() for p in sequence(one.body.get("ports"))]
    return port in ports
