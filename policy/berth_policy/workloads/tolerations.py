"""A pod tolerates the taints that it names, not every one."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_stack
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Rule
from berth_policy.subject import mapping, sequence


def look(pod: Pod) -> Iterator[Said]:
    """Look at one pod; the pods of a DaemonSet belong on every node that it chooses."""
    if pod.kind == "DaemonSet":
        return
    for number, one in enumerate(sequence(pod.spec.get("tolerations"))):
        if mapping(one) and not mapping(one).get("key"):
            found = f"{pod.path}.tolerations[{number}] names no key, so it tolerates every taint"
            yield found, "the key of the taint that is meant"


RULE = Rule(
    name="pods-tolerations",
    group="workloads",
    title="Tolerations name the taint that they are for.",
    why=(
        "Without a key it is every taint: the pod takes nodes that are cordoned, drained, lost, or kept for "
        "others' accelerators."
    ),
    fix="Name key, operator and effect of the pool's taint.",
    types=KUBERNETES,
    check_stack=of_stack(look),
)
