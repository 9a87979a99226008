"""Requests go only to pods that can answer."""

from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.checks import Said, all_pods
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Finding, Rule
from berth_policy.scaling import REPLICATED, services_of
from berth_policy.subject import Stack, mapping, sequence, survey
from berth_policy.units import number

_LONGEST = 30.0
"""Seconds until a pod that no longer answers gets no more requests, at the most."""
_PERIOD, _FAILURES = 10.0, 3.0
"""Kubernetes' defaults."""


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each pod behind a Service, and at each one of a rollout that listens."""
    asked = [one for one in all_pods(stack) if services_of(stack, one) or _listens(one)]
    yield from survey(asked, _look)


def _listens(pod: Pod) -> bool:
    return pod.kind in REPLICATED and any(sequence(one.body.get("ports")) for one in pod.containers())


def _look(pod: Pod) -> Iterator[Finding]:
    probes = [
        (one.path, mapping(one.body.get("readinessProbe")))
        for one in pod.containers("initContainers", "containers")
        if one.serves and mapping(one.body.get("readinessProbe"))
    ]
    if not probes:
        found = f"{pod.path} listens and has no readinessProbe"
        yield Finding(found, "one that succeeds where requests are answered", pod.object.resource)
    for path, probe in probes:
        for found, wanted in slow(path, probe):
            yield Finding(found, wanted, pod.object.resource)


def slow(path: str, probe: Mapping[str, Any]) -> Iterator[Said]:
    """Look at how long a readiness probe of a container lets it be asked in vain."""
    seconds = number(probe.get("periodSeconds"), _PERIOD) * number(probe.get("failureThreshold"), _FAILURES)
    if seconds > _LONGEST:
        found = f"{path}.readinessProbe fails after {seconds:g} s"
        yield found, f"periodSeconds x failureThreshold of {_LONGEST:g} s at the most"


RULE = Rule(
    name="pods-readiness",
    group="workloads",
    title="Requests, and rollouts, go on only with pods that can answer.",
    why=(
        "Without a readiness probe a Service sends requests to a pod whose model still loads, and a rollout "
        "replaces what works by what does not."
    ),
    fix="Give a container of the pod a readinessProbe that asks what the Service's clients ask.",
    types=KUBERNETES,
    answers=("CKV_K8S_9",),
    check_stack=check,
)
