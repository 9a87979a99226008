"""A network policy does what it seems to."""

from collections.abc import Iterator

from berth_policy.checks import all_pods, declared
from berth_policy.kubernetes import KUBERNETES, Object, Pod
from berth_policy.rule import Finding, Rule
from berth_policy.scaling import selects
from berth_policy.subject import Stack, mapping, sequence, survey

DIRECTIONS = {"Ingress": "ingress", "Egress": "egress"}


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each network policy of the stack."""
    yield from survey(declared(stack, "NetworkPolicy"), lambda one: _look(stack, one))


def _look(stack: Stack, policy: Object) -> Iterator[Finding]:
    path, resource = f"{policy.path}spec", policy.resource
    types = sequence(policy.spec.get("policyTypes"))
    for kind, key in DIRECTIONS.items():
        if policy.spec.get(key) is not None and kind not in types:
            yield Finding(f"{path}.policyTypes lacks {kind}, and {path}.{key} is given", kind, resource)
    if not types:
        yield Finding(f"{path}.policyTypes is absent", "Ingress, Egress or both", resource)
    selector = mapping(policy.spec.get("podSelector"))
    here = [pod for pod in all_pods(stack) if pod.namespace == policy.namespace]
    selected = [pod for pod in here if selector and selects(selector, pod.labels)]
    if here and selector and not selected:
        found = f"{path}.podSelector selects no pod that the stack declares there"
        yield Finding(found, "the labels of the pods that it is for", resource)
    for pod in selected[:1]:
        missing = [kind for kind in DIRECTIONS if kind not in _closed(stack, pod)]
        if types and missing:
            found = f"{path}.policyTypes lacks {' and '.join(missing)}, as does every policy of these pods"
            yield Finding(found, "both directions, so that it holds by itself", resource)


def _closed(stack: Stack, pod: Pod) -> set[str]:
    """The directions that policies of a pod's own, not of its whole namespace, name."""
    own = [one for one in declared(stack, "NetworkPolicy") if one.namespace == pod.namespace]
    own = [one for one in own if mapping(one.spec.get("podSelector"))]
    return {
        str(kind)
        for one in own
        if selects(mapping(one.spec.get("podSelector")), pod.labels)
        for kind in sequence(one.spec.get("policyTypes"))
    }


RULE = Rule(
    name="network-policies-effective",
    group="network",
    title="Network policies name both directions for the pods that they select, and these are there.",
    why=(
        "A direction that policyTypes leaves out is ignored, so only another policy closes it; one that "
        "selects nothing does nothing."
    ),
    fix="Name both directions in policyTypes, and select the labels of the pods.",
    types=KUBERNETES,
    check_stack=check,
)
