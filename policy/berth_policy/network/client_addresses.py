"""Who comes from outside is told apart by address, where policies do that."""

from collections.abc import Iterator

from berth_policy.checks import all_pods, declared
from berth_policy.kubernetes import KUBERNETES, Object
from berth_policy.reading import said
from berth_policy.rule import IN_CLOUDS, Finding, Rule
from berth_policy.scaling import selects
from berth_policy.subject import Stack, at, mapping, sequence, survey

_OUTSIDE = ("NodePort", "LoadBalancer")


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each Service that is reached from outside."""
    outside = [one for one in declared(stack, "Service") if one.spec.get("type") in _OUTSIDE]
    yield from survey(outside, lambda one: _look(stack, one))


def _look(stack: Stack, service: Object) -> Iterator[Finding]:
    policy = service.spec.get("externalTrafficPolicy")
    if policy != "Local" and _tells_addresses_apart(stack, service):
        found = f"{service.path}spec.externalTrafficPolicy is {said(policy)}"
        wanted = "'Local': a network policy of its pods names the addresses of clients"
        yield Finding(found, wanted, service.resource)


def _tells_addresses_apart(stack: Stack, service: Object) -> bool:
    """Whether a network policy lets ranges of addresses in to a Service's pods."""
    selector = mapping(service.spec.get("selector"))
    reached = [
        pod
        for pod in all_pods(stack)
        if pod.namespace == service.namespace and selector and selects({"matchLabels": selector}, pod.labels)
    ]
    return any(
        at(peer, "ipBlock", "cidr") is not None
        for policy in declared(stack, "NetworkPolicy")
        if policy.namespace == service.namespace
        and any(selects(policy.spec.get("podSelector"), pod.labels) for pod in reached)
        for rule in sequence(policy.spec.get("ingress"))
        for peer in sequence(mapping(rule).get("from"))
    )


RULE = Rule(
    name="services-client-addresses",
    group="network",
    title="A Service from outside keeps its clients' addresses, where network policies name them.",
    why=(
        "Otherwise a node puts its own address there: the policy refuses clients that it names, or whoever "
        "named the nodes to mend that let everybody in."
    ),
    fix="Set externalTrafficPolicy to Local.",
    levels=IN_CLOUDS,
    types=KUBERNETES,
    check_stack=check,
)
