"""One hand on the number of replicas."""

from collections.abc import Iterator

from berth_policy.checks import all_pods
from berth_policy.kubernetes import KUBERNETES, Object
from berth_policy.rule import Finding, Rule
from berth_policy.scaling import REPLICATED, scaler_of, scalers
from berth_policy.subject import Stack, at, survey
from berth_policy.units import number


def check(stack: Stack) -> Iterator[Finding]:
    """Look at whatever an autoscaler of the stack scales, and at the autoscalers' bounds."""
    yield from survey(_scaled(stack), _look)
    yield from survey(scalers(stack), lambda one: _target(stack, one))


def _scaled(stack: Stack) -> list[Object]:
    things = {id(pod.object): pod.object for pod in all_pods(stack) if pod.kind in REPLICATED}
    return [one for one in things.values() if scaler_of(stack, one) is not None]


def _look(thing: Object) -> Iterator[Finding]:
    if thing.spec.get("replicas") is not None:
        found = f"{thing.path}spec.replicas is set, and an autoscaler sets it as well"
        yield Finding(found, "the field left out", thing.resource)


def _target(stack: Stack, scaler: Object) -> Iterator[Finding]:
    target = at(scaler.spec, "scaleTargetRef", "name")
    named = {pod.object.name for pod in all_pods(stack) if pod.namespace == scaler.namespace}
    if named and "" not in named and str(target) not in named:
        found = f"{scaler.path}spec.scaleTargetRef names {target}, which is no workload of the stack there"
        yield Finding(found, f"one of {', '.join(sorted(named))}", scaler.resource)
    if scaler.kind == "HorizontalPodAutoscaler":
        fewest = number(scaler.spec.get("minReplicas"), 1)
        most = number(scaler.spec.get("maxReplicas"), 0)
        if most < max(1, fewest):
            found = f"{scaler.path}spec.maxReplicas is {most:g}, minReplicas {fewest:g}"
            yield Finding(found, "at least minReplicas", scaler.resource)


RULE = Rule(
    name="autoscaler-owns-replicas",
    group="workloads",
    title="Where an autoscaler sets the replicas, nobody else does.",
    why="Each deployment would set the number back, and end pods that the load needs.",
    fix="Leave spec.replicas out of what the autoscaler scales.",
    types=KUBERNETES,
    check_stack=check,
)
