"""A node agent writes to its image only where somebody says why."""

from collections.abc import Iterator

from berth_policy.checks import all_pods, is_agent, of_each, said
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, survey
from berth_policy.workloads import read_only_root

REASON = "berth.dev/writable-root-reason"
_EACH = of_each(read_only_root.look)


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each agent's containers."""
    yield from survey([pod for pod in all_pods(stack) if is_agent(stack, pod)], _look)


def _look(pod: Pod) -> Iterator[Finding]:
    if said(pod.object, REASON):
        return
    for found, wanted in _EACH(pod):
        yield Finding(found, f"{wanted}, or the annotation {REASON}", pod.object.resource)


RULE = Rule(
    name="agents-read-only-root",
    group="workloads",
    title="A node agent's containers cannot write to their image, unless its DaemonSet says why.",
    why="Whoever breaks in leaves programs there, on every node, and fills their disks unseen.",
    fix=f"Set securityContext.readOnlyRootFilesystem to true, or say why not in the annotation {REASON}.",
    types=KUBERNETES,
    check_stack=check,
)
