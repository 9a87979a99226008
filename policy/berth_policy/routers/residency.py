"""Requests that are to stay at some sites are sent to no other one."""

from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.routers._documents import HYBRID, ROUTER, Document, documents, items
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, mapping, sequence, survey

_ANYTHING = "*"


def check(stack: Stack) -> Iterator[Finding]:
    """Look at what each router matches, and compare it with the controller that divides its load."""
    yield from survey(documents(stack, ROUTER), _matches)
    yield from survey(documents(stack, HYBRID), lambda one: _compare(stack, one))


def _matches(router: Document) -> Iterator[Finding]:
    for place, route in items(router.body, "routes"):
        for name, value in mapping(mapping(route.get("match")).get("headers")).items():
            if value == _ANYTHING:
                found = (
                    f"{router.path}: {place}.match.headers.{name} is {_ANYTHING}, which matches only itself"
                )
                yield Finding(found, "the value that clients send", router.object.resource)


def _compare(stack: Stack, hybrid: Document) -> Iterator[Finding]:
    where = (hybrid.object.namespace, hybrid.body.get("router"))
    routers = [one for one in documents(stack, ROUTER) if (one.object.namespace, one.object.name) == where]
    if not routers:
        found = f"{hybrid.path}: router {where[1]} has no document in namespace {where[0]}"
        yield Finding(found, "the router whose load it divides", hybrid.object.resource)
    told = mapping(hybrid.body.get("routes"))
    for router in routers:
        routes = {str(one.get("name")): one for _, one in items(router.body, "routes")}
        for name, sites in told.items():
            yield from _route(router, str(name), [*map(str, sequence(sites))], routes)
        for name in [*routes][:-1]:
            if name not in told:
                found = f"{hybrid.path}: routes lacks {name}, which its router has"
                yield Finding(found, "the sites that its requests may go to", hybrid.object.resource)


def _route(
    router: Document, name: str, sites: list[str], routes: Mapping[str, Mapping[str, Any]]
) -> Iterator[Finding]:
    resource = router.object.resource
    if name not in routes:
        found = f"{router.path}: routes lacks {name}, so its requests go wherever others may"
        yield Finding(found, f"a route to {', '.join(sites)} only", resource)
        return
    variants = mapping(router.body.get("variants"))
    for variant in mapping(routes[name].get("weights")):
        reached = map(str, sequence(mapping(variants.get(variant)).get("backends")))
        if odd := [one for one in reached if one not in sites]:
            found = f"{router.path}: route {name} reaches {', '.join(odd)} by its variant {variant}"
            yield Finding(found, f"only {', '.join(sites)}", resource)


RULE = Rule(
    name="routers-residency",
    group="routers",
    title="A router has each route of the controller that divides its load, to the same sites.",
    why="Requests that may not leave a place, such as a country, would be served elsewhere, unseen.",
    fix="Make the documents of router and controller from the same routes.",
    types=("kubernetes:core/",),
    check_stack=check,
)
