"""Replicas are not all on one node."""

from collections.abc import Iterator

from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import IN_CLOUDS, Finding, Rule
from berth_policy.scaling import most, replicated, selects
from berth_policy.subject import Stack, at, mapping, sequence, survey
from berth_policy.units import number

MOST_SKEW = 2


def check(stack: Stack) -> Iterator[Finding]:
    """Look at everything of which there may be several pods."""
    several = [pod for pod in replicated(stack) if most(stack, pod.object) > 1]
    yield from survey(several, _look)


def _look(pod: Pod) -> Iterator[Finding]:
    spread = [mapping(one) for one in sequence(pod.spec.get("topologySpreadConstraints"))]
    anti = mapping(at(pod.spec, "affinity", "podAntiAffinity"))
    terms = [mapping(one) for one in sequence(anti.get("requiredDuringSchedulingIgnoredDuringExecution"))]
    terms += [
        mapping(at(one, "podAffinityTerm"))
        for one in sequence(anti.get("preferredDuringSchedulingIgnoredDuringExecution"))
    ]
    rules = [*spread, *terms]
    if not any(
        one.get("topologyKey") and one.get("labelSelector") and selects(one["labelSelector"], pod.labels)
        for one in rules
    ):
        found = f"{pod.path} spreads its replicas by nothing that selects them"
        wanted = "topologySpreadConstraints by kubernetes.io/hostname with the pod's own labels"
        yield Finding(found, wanted, pod.object.resource)
    for index, one in enumerate(spread):
        path = f"{pod.path}.topologySpreadConstraints[{index}]"
        if not one.get("topologyKey"):
            yield Finding(f"{path}.topologyKey is absent", "kubernetes.io/hostname", pod.object.resource)
        if not mapping(one.get("labelSelector")) or not selects(one["labelSelector"], pod.labels):
            yield Finding(f"{path} selects other pods", "the pod's own labels", pod.object.resource)
        elif len(mapping(at(one, "labelSelector", "matchLabels"))) == 0:
            yield Finding(f"{path} selects every pod", "the pod's own labels", pod.object.resource)
        if not 1 <= number(one.get("maxSkew"), 0) <= MOST_SKEW:
            found = f"{path}.maxSkew is {one.get('maxSkew')}"
            yield Finding(found, f"1 to {MOST_SKEW}", pod.object.resource)


RULE = Rule(
    name="pods-spread",
    group="workloads",
    title="Replicas are spread over nodes.",
    why="All replicas on one node are one replica when the node goes.",
    fix="Add topologySpreadConstraints, or podAntiAffinity, that select the pod's own labels.",
    levels=IN_CLOUDS,
    types=KUBERNETES,
    check_stack=check,
)
