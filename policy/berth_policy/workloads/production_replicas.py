"""Production runs at least two of everything that serves."""

from collections.abc import Iterator

from berth_policy.kubernetes import Object, Pod
from berth_policy.rule import IN_PRODUCTION, Finding, Rule
from berth_policy.scaling import is_behind_service, replicated, scaler_of, scalers
from berth_policy.subject import Stack, mapping, survey
from berth_policy.units import number

LEAST = 2
REASON = "berth.dev/one-replica-reason"
_WORDS = 5


def check(stack: Stack) -> Iterator[Finding]:
    """Look at the replicas of what serves, and at the least of each autoscaler."""
    yield from survey(scalers(stack), _least)
    serving = [one for one in replicated(stack) if _serves(stack, one)]
    yield from survey([one.object for one in serving if scaler_of(stack, one.object) is None], _replicas)


def _serves(stack: Stack, pod: Pod) -> bool:
    ready = any(one.body.get("readinessProbe") and one.body.get("ports") for one in pod.containers())
    return ready or is_behind_service(stack, pod)


def _least(one: Object) -> Iterator[Finding]:
    least = number(one.spec.get("minReplicas"), 1)
    if least < LEAST:
        yield Finding(f"{one.path}spec.minReplicas is {least:g}", f"at least {LEAST}", one.resource)


def _replicas(one: Object) -> Iterator[Finding]:
    replicas = number(one.spec.get("replicas"), 1)
    alone = len(str(mapping(one.metadata.get("annotations")).get(REASON, "")).split()) >= _WORDS
    if replicas < (1 if alone else LEAST):
        found = f"{one.path}spec.replicas is {replicas:g}"
        wanted = "1: the reason is for one replica" if alone else f"at least {LEAST}, or an autoscaler"
        yield Finding(found, wanted, one.resource)


RULE = Rule(
    name="production-replicas",
    group="workloads",
    title="Production runs at least two replicas of everything that serves.",
    why="With one replica, the loss of a node or an eviction is an outage.",
    fix=(
        "Set replicas, or minReplicas of the autoscaler, to at least 2; where a second one would be wrong, "
        f"say why in the annotation {REASON}."
    ),
    levels=IN_PRODUCTION,
    types=("kubernetes:apps/", "kubernetes:autoscaling/", "kubernetes:core/"),
    check_stack=check,
)
