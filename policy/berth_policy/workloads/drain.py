"""A pod that ends finishes what it has begun."""

from collections.abc import Iterator, Mapping

from berth_policy.checks import all_pods, declared
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, at, mapping, sequence, survey
from berth_policy.units import number

VARIABLE = "BERTH_DRAIN_SECONDS"
ROUTER = ("BERTH_ROUTER_PRE_STOP_SECONDS", "BERTH_ROUTER_DRAIN_SECONDS")
"""A router's controller pauses by itself, so that it can go on to drain Envoy."""
LEAST_PAUSE = 2.0
"""Seconds in which every proxy of a small cluster learns that a pod ends."""
MARGIN = 5.0
"""Seconds for the process to end after its drain."""
DEFAULT_GRACE = 30.0


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each container that says how long it drains, by itself or by a ConfigMap of the stack."""
    maps = {(one.namespace, one.name): mapping(one.body.get("data")) for one in declared(stack, "ConfigMap")}
    drains = [
        (pod, one, seconds)
        for pod in all_pods(stack)
        for one in pod.containers("containers", "initContainers")
        if one.serves and (seconds := _seconds(pod, one, maps)) is not None
    ]
    yield from survey(drains, lambda found: _look(*found))
    yield from survey(drains, lambda found: _beside(found[0], found[1]))
    yield from survey(all_pods(stack), _router)


def _router(pod: Pod) -> Iterator[Finding]:
    for one in pod.containers("containers"):
        told = {str(mapping(entry).get("name")): entry for entry in sequence(one.body.get("env"))}
        if all(name in told for name in ROUTER):
            pause, drain = (number(mapping(told[name]).get("value"), 0) for name in ROUTER)
            yield from _grace(pod, pause, drain)


def _seconds(pod: Pod, one: Container, maps: Mapping[tuple[str, str], Mapping[str, object]]) -> float | None:
    for entry in sequence(one.body.get("env")):
        if mapping(entry).get("name") == VARIABLE:
            return number(mapping(entry).get("value"), 0)
    for source in sequence(one.body.get("envFrom")):
        name = at(source, "configMapRef", "name")
        data = maps.get((pod.namespace, str(name)), {})
        if VARIABLE in data:
            return number(data[VARIABLE], 0)
    return None


def _look(pod: Pod, one: Container, drain: float) -> Iterator[Finding]:
    pause = number(at(one.body, "lifecycle", "preStop", "sleep", "seconds"), 0)
    resource = pod.object.resource
    if pause < LEAST_PAUSE:
        wanted = "a preStop hook that sleeps until every proxy knows that the pod ends"
        yield Finding(f"{one.path}.lifecycle.preStop.sleep.seconds is {pause:g}", wanted, resource)
    yield from _grace(pod, pause, drain)
    if drain <= 0:
        yield Finding(f"{one.path}: {VARIABLE} is no number above 0", "the seconds a request takes", resource)


def _beside(pod: Pod, draining: Container) -> Iterator[Finding]:
    """What the one that drains works with is told to end together with it, and must wait."""
    for one in pod.containers("containers"):
        waits = sequence(at(one.body, "lifecycle", "preStop", "exec", "command"))
        if one.path != draining.path and not waits:
            found = f"{one.path}.lifecycle.preStop.exec.command is absent, and {draining.path} drains"
            wanted = "a hook that waits until it has drained, or a native sidecar"
            yield Finding(found, wanted, pod.object.resource)


def _grace(pod: Pod, pause: float, drain: float) -> Iterator[Finding]:
    grace = number(pod.spec.get("terminationGracePeriodSeconds"), DEFAULT_GRACE)
    least = pause + drain + MARGIN
    if grace < least:
        found = f"{pod.path}.terminationGracePeriodSeconds is {grace:g}"
        wanted = f"at least {least:g}: preStop {pause:g} + drain {drain:g} + {MARGIN:g}"
        yield Finding(found, wanted, pod.object.resource)


RULE = Rule(
    name="pods-drain",
    group="workloads",
    title="A pod that ends gets the time that its requests take.",
    why="Killed before its drain is over, it breaks every stream that still runs, at each rollout.",
    fix=(
        "Make terminationGracePeriodSeconds at least preStop + drain + 5 s; give each container beside the "
        "one that drains a preStop hook that waits for it."
    ),
    types=KUBERNETES,
    check_stack=check,
)
