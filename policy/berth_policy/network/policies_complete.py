"""The network policies of a program close both directions by themselves."""

from collections.abc import Iterator

from berth_policy.checks import all_pods, declared
from berth_policy.kubernetes import KUBERNETES, Object, Pod
from berth_policy.network.policies_effective import DIRECTIONS
from berth_policy.rule import ADVICE, Finding, Rule
from berth_policy.scaling import selects
from berth_policy.subject import Stack, mapping, sequence, survey


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each network policy of the stack that selects pods of it by their labels."""
    own = [one for one in declared(stack, "NetworkPolicy") if mapping(one.spec.get("podSelector"))]
    yield from survey(own, lambda one: _look(stack, own, one))


def _look(stack: Stack, own: list[Object], policy: Object) -> Iterator[Finding]:
    selected = next((pod for pod in all_pods(stack) if _is_of(policy, pod)), None)
    if selected is None or not sequence(policy.spec.get("policyTypes")):
        return
    named = {
        str(kind) for one in own if _is_of(one, selected) for kind in sequence(one.spec.get("policyTypes"))
    }
    if missing := [kind for kind in DIRECTIONS if kind not in named]:
        found = f"{policy.path}spec.policyTypes lacks {' and '.join(missing)}, as do all of its pods"
        yield Finding(found, "both directions, so that they hold by themselves", policy.resource)


def _is_of(policy: Object, pod: Pod) -> bool:
    selector = mapping(policy.spec.get("podSelector"))
    return pod.namespace == policy.namespace and selects(selector, pod.labels)


RULE = Rule(
    name="network-policies-both-directions",
    group="network",
    title="The network policies of a program name both directions.",
    why=(
        "A direction that they leave out is closed by the namespace's default-deny alone, and open from the "
        "moment that is gone, or the program moves."
    ),
    fix="Name Ingress and Egress in policyTypes; a direction without entries lets nothing through.",
    levels=ADVICE,
    types=KUBERNETES,
    check_stack=check,
)
