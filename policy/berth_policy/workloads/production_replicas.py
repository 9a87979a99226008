"""Production runs at least two of everything that serves."""

from collections.abc import Iterator

from berth_policy.kubernetes import Object, Pod, objects, pods
from berth_policy.rule import IN_PRODUCTION, Finding, Rule
from berth_policy.subject import Stack, at, survey

LEAST = 2


def check(stack: Stack) -> Iterator[Finding]:
    """Look at the replicas of what serves, and at the least of each autoscaler."""
    scalers = [
        one
        for resource in stack.of("kubernetes:autoscaling/")
        for one in objects(resource)
        if one.kind == "HorizontalPodAutoscaler"
    ]
    yield from survey(scalers, _least)
    targets = {
        (one.namespace, at(one.spec, "scaleTargetRef", "kind"), at(one.spec, "scaleTargetRef", "name"))
        for one in scalers
    }
    servers = [
        (pod, pod.object)
        for resource in stack.of("kubernetes:apps/")
        for pod in pods(resource)
        if pod.object.kind in {"Deployment", "StatefulSet"} and _serves(pod)
    ]
    yield from survey(
        [one for _, one in servers if (one.namespace, one.kind, one.name) not in targets], _replicas
    )


def _serves(pod: Pod) -> bool:
    return any(one.body.get("readinessProbe") and one.body.get("ports") for one in pod.containers())


def _least(one: Object) -> Iterator[Finding]:
    least = one.spec.get("minReplicas")
    if least is None or least < LEAST:
        found = "is absent, so 1" if least is None else f"is {least:g}"
        yield Finding(f"{one.path}spec.minReplicas {found}", f"at least {LEAST}", one.resource)


def _replicas(one: Object) -> Iterator[Finding]:
    replicas = one.spec.get("replicas")
    if replicas is None or replicas < LEAST:
        found = "is absent, so 1" if replicas is None else f"is {replicas:g}"
        yield Finding(f"{one.path}spec.replicas {found}", f"at least {LEAST}, or an autoscaler", one.resource)


RULE = Rule(
    name="production-replicas",
    group="workloads",
    title="Production runs at least two replicas of everything that serves.",
    why="With one replica, the loss of a node or an eviction is an outage.",
    fix="Set replicas, or minReplicas of the autoscaler, to at least 2.",
    levels=IN_PRODUCTION,
    check_stack=check,
)
