"""A node agent is root only where somebody says why."""

from collections.abc import Iterator

from berth_policy.checks import all_pods, is_agent, said
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, survey
from berth_policy.workloads import run_as_non_root, run_as_user

REASON = "berth.dev/root-reason"


def check(stack: Stack) -> Iterator[Finding]:
    """Look at who each agent runs as."""
    yield from survey([pod for pod in all_pods(stack) if is_agent(stack, pod)], _look)


def _look(pod: Pod) -> Iterator[Finding]:
    if said(pod.object, REASON):
        return
    for found, wanted in (*run_as_non_root.look(pod), *run_as_user.look(pod)):
        yield Finding(found, f"{wanted}, or the annotation {REASON}", pod.object.resource)


RULE = Rule(
    name="agents-root",
    group="workloads",
    title="A node agent runs as root only where its DaemonSet says why.",
    why="It reaches into its node: who breaks into one that is root is root on every node that it is on.",
    fix=f"Set securityContext.runAsNonRoot of the pod to true, or say why not in the annotation {REASON}.",
    types=KUBERNETES,
    check_stack=check,
)
