"""A node can always be drained, one pod after another."""

import math
from collections.abc import Iterator

from berth_policy.checks import all_pods, declared
from berth_policy.kubernetes import KUBERNETES, Object, Pod
from berth_policy.rule import Finding, Rule
from berth_policy.scaling import is_behind_service, least, most, replicated, selects
from berth_policy.subject import Stack, survey
from berth_policy.units import number

KIND = "PodDisruptionBudget"


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each budget, and for one at everything behind a Service that has several pods."""
    budgets = declared(stack, KIND)
    yield from survey(budgets, lambda one: _look(stack, one))
    served = [
        pod for pod in replicated(stack) if is_behind_service(stack, pod) and most(stack, pod.object) > 1
    ]
    yield from survey(served, lambda pod: _has_one(pod, budgets))


def _has_one(pod: Pod, budgets: list[Object]) -> Iterator[Finding]:
    if not any(_covers(one, pod) for one in budgets):
        found = "several pods behind a Service have no PodDisruptionBudget"
        yield Finding(found, "one with maxUnavailable 1", pod.object.resource)


def _covers(budget: Object, pod: Pod) -> bool:
    selector = budget.spec.get("selector")
    return budget.namespace == pod.namespace and selector is not None and selects(selector, pod.labels)


def _look(stack: Stack, budget: Object) -> Iterator[Finding]:
    path, resource = f"{budget.path}spec", budget.resource
    unavailable, available = budget.spec.get("maxUnavailable"), budget.spec.get("minAvailable")
    covered = [pod for pod in all_pods(stack) if _covers(budget, pod)]
    here = [pod for pod in all_pods(stack) if pod.namespace == budget.namespace]
    if not covered and here:
        yield Finding(f"{path}.selector selects no pod of the stack", "the labels of its pods", resource)
    if unavailable is None and available is None:
        yield Finding(f"{path} has neither maxUnavailable nor minAvailable", "maxUnavailable: 1", resource)
    if unavailable is not None and number(str(unavailable).removesuffix("%"), 0) <= 0:
        found = f"{path}.maxUnavailable is {unavailable}, which allows no eviction"
        yield Finding(found, "1 or more", resource)
    for pod in covered:
        fewest = max(2.0, least(stack, pod.object))
        if unavailable is not None and _allowed(unavailable, fewest) >= fewest:
            found = f"{path}.maxUnavailable is {unavailable} of {fewest:g} replicas, which protects nothing"
            yield Finding(found, "1", resource)
    if available is not None:
        yield from _minimum(stack, budget, str(available), covered)
    if budget.spec.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
        found = f"{path}.unhealthyPodEvictionPolicy is not AlwaysAllow"
        yield Finding(found, "AlwaysAllow: a pod that is broken holds no node back", resource)


def _allowed(unavailable: object, replicas: float) -> float:
    text = str(unavailable)
    if text.endswith("%"):
        return math.ceil(number(text.removesuffix("%"), 0) * replicas / 100)
    return number(unavailable, 0)


def _minimum(stack: Stack, budget: Object, available: str, covered: list[Pod]) -> Iterator[Finding]:
    path = f"{budget.path}spec.minAvailable"
    share = available.endswith("%")
    wanted = number(available.removesuffix("%"), 0)
    if share and wanted >= 100:  # noqa: PLR2004 - percent
        yield Finding(
            f"{path} is {available}, which allows no eviction", "maxUnavailable: 1", budget.resource
        )
    for pod in covered:
        fewest = least(stack, pod.object)
        if not share and fewest <= wanted:
            found = f"{path} is {available} of {fewest:g} replicas, which allows no eviction"
            yield Finding(found, "maxUnavailable: 1", budget.resource)


RULE = Rule(
    name="disruption-budgets",
    group="workloads",
    title="A PodDisruptionBudget covers what serves, and always allows an eviction.",
    why="Without one a drain takes all replicas at once; one that allows none blocks it for ever.",
    fix="Give it maxUnavailable: 1 and unhealthyPodEvictionPolicy: AlwaysAllow.",
    types=KUBERNETES,
    check_stack=check,
)
