"""A network policy does what it seems to."""

from collections.abc import Iterator

from berth_policy.checks import all_pods, declared
from berth_policy.kubernetes import KUBERNETES, Object
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
    if here and selector and not any(selects(selector, pod.labels) for pod in here):
        found = f"{path}.podSelector selects no pod that the stack declares there"
        yield Finding(found, "the labels of the pods that it is for", resource)


RULE = Rule(
    name="network-policies-effective",
    group="network",
    title="A network policy names its directions, and selects pods that are there.",
    why="A direction that policyTypes leaves out is ignored; a policy that selects nothing does nothing.",
    fix="Name both directions in policyTypes, and select the labels of the pods.",
    types=KUBERNETES,
    check_stack=check,
)
