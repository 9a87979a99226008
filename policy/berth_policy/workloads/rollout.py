"""An update of what serves never leaves it without a pod."""

import math
from collections.abc import Iterator

from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Finding, Rule
from berth_policy.scaling import is_behind_service, least, replicated
from berth_policy.subject import Stack, at, mapping, survey
from berth_policy.units import number

DEFAULT = "25%"


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each Deployment behind a Service."""
    served = [pod for pod in replicated(stack) if pod.kind == "Deployment" and is_behind_service(stack, pod)]
    yield from survey(served, lambda pod: _look(stack, pod))


def _look(stack: Stack, pod: Pod) -> Iterator[Finding]:
    strategy = mapping(pod.object.spec.get("strategy"))
    path, resource = f"{pod.object.path}spec.strategy", pod.object.resource
    kind = strategy.get("type")
    if kind not in (None, "RollingUpdate"):
        yield Finding(f"{path}.type is {kind}", "RollingUpdate", resource)
        return
    unavailable = str(at(strategy, "rollingUpdate", "maxUnavailable") or 0)
    if at(strategy, "rollingUpdate", "maxUnavailable") is None:
        unavailable = DEFAULT
    fewest = least(stack, pod.object)
    share = unavailable.endswith("%")
    gone = number(unavailable.removesuffix("%"), 0)
    gone = math.floor(gone * fewest / 100) if share else gone
    if gone and gone >= fewest:
        found = f"{path}.rollingUpdate.maxUnavailable is {unavailable} of {fewest:g} replicas"
        yield Finding(found, "fewer than there are", resource)


RULE = Rule(
    name="workloads-rollout",
    group="workloads",
    title="An update leaves at least one pod that serves.",
    why="Recreate, or as many unavailable pods as there are, makes each update an outage.",
    fix="Use RollingUpdate with maxUnavailable 0 and maxSurge 1.",
    types=KUBERNETES,
    check_stack=check,
)
