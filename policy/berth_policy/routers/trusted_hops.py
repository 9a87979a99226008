"""A router believes what proxies say of clients only where there are proxies."""

from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.checks import declared
from berth_policy.kubernetes import Object, objects
from berth_policy.routers._documents import ROUTER, Document, documents
from berth_policy.rule import ADVICE, Finding, Rule
from berth_policy.subject import Stack, at, mapping, sequence, survey
from berth_policy.units import number

_ENTRANCES = ("kubernetes:gateway.networking.k8s.io/", "kubernetes:networking.k8s.io/")
_KINDS = ("HTTPRoute", "Ingress")
_DEPTH = 8
"""How deep an entrance names its backends."""


def check(stack: Stack) -> Iterator[Finding]:
    """Look at how many hops each router trusts, and at what is in front of it."""
    yield from survey(documents(stack, ROUTER), lambda one: _look(stack, one))


def _look(stack: Stack, router: Document) -> Iterator[Finding]:
    hops = number(mapping(router.body.get("listener")).get("trustedHops"), 0)
    if hops < 1 or any(_leads_to(one, router) for one in _entrances(stack)):
        return
    for policy in declared(stack, "NetworkPolicy"):
        own = (policy.namespace, policy.name) == (router.object.namespace, router.object.name)
        ranges = [
            str(at(peer, "ipBlock", "cidr"))
            for rule in sequence(policy.spec.get("ingress"))
            for peer in sequence(mapping(rule).get("from"))
            if own and at(peer, "ipBlock", "cidr") is not None
        ]
        if ranges:
            found = (
                f"{router.path}: listener.trustedHops is {hops:g}, no HTTPRoute or Ingress leads to it, and "
                f"{', '.join(ranges)} may come in"
            )
            yield Finding(found, "0, or only proxies in those ranges", router.object.resource)


def _entrances(stack: Stack) -> list[Object]:
    return [one for each in stack.of(*_ENTRANCES) for one in objects(each) if one.kind in _KINDS]


def _leads_to(entrance: Object, router: Document) -> bool:
    return entrance.namespace == router.object.namespace and _names(entrance.spec, router.object.name, _DEPTH)


def _names(value: object, name: str, depth: int) -> bool:
    """Whether something inside is called so: a backend of a route or of an Ingress."""
    if not depth:
        return False
    if isinstance(value, Mapping):
        inner: Mapping[str, Any] = value
        return inner.get("name") == name or any(_names(one, name, depth - 1) for one in inner.values())
    return any(_names(one, name, depth - 1) for one in sequence(value))


RULE = Rule(
    name="routers-trusted-hops",
    group="routers",
    title="A router trusts x-forwarded-for only where a proxy is in front of it.",
    why="A client that reaches it directly says itself then which address it comes from, in logs and limits.",
    fix="Set entrance.trustedHops to the number of proxies that every client passes.",
    levels=ADVICE,
    types=("kubernetes:core/", *_ENTRANCES),
    check_stack=check,
)
