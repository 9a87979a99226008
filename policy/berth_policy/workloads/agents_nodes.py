"""A node agent runs where it is needed only."""

from collections.abc import Iterator

from berth_policy.checks import all_pods, is_agent
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, at, sequence, survey

_TERMS = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")


def check(stack: Stack) -> Iterator[Finding]:
    """Look at which nodes each agent chooses."""
    yield from survey([pod for pod in all_pods(stack) if is_agent(stack, pod)], _pod)


def _pod(pod: Pod) -> Iterator[Finding]:
    terms = sequence(at(pod.spec, *_TERMS))
    chosen = [one for one in terms if at(one, "matchExpressions") or at(one, "matchFields")]
    if not pod.spec.get("nodeSelector") and (not chosen or len(chosen) < len(terms)):
        yield Finding(f"{pod.path} chooses no nodes, so all of them", "the pool's label", pod.object.resource)


RULE = Rule(
    name="agents-nodes",
    group="workloads",
    title="A node agent chooses the nodes that it runs on.",
    why="It reaches into its node: on every node more, there is one more to take over.",
    fix="Add nodeSelector or a required nodeAffinity with the pool's label.",
    types=KUBERNETES,
    check_stack=check,
)
