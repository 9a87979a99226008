"""Routers of a stack: from settings to the args of the component, and what is wrong with them."""

from collections.abc import Iterator, Mapping
from typing import Any

import pulumi
from berth_components import ArgumentError, RouterArgs
from berth_components.arguments import Arguments
from berth_components.router_settings import read

from berth_stacks import build, hybrid, pools
from berth_stacks.component_rules import camel, camel_words
from berth_stacks.errors import Path, Problem, nearest
from berth_stacks.fields import Settings
from berth_stacks.gateway_tls import tls_problems, trusted
from berth_stacks.hybrid_checks import hybrid_path, hybrid_refusals
from berth_stacks.hybrid_rules import ALL, hybrid_problems
from berth_stacks.router_settings import Router, RouterRoute
from berth_stacks.rules import unknown_names
from berth_stacks.settings import Stack
from berth_stacks.waking import adapter_args, wakes_args, waking_problems

_GROUP = "routers"
_OF_CLIENTS = {"client_cidrs", "client_namespaces", "public_reason"}


def router_args(
    stack: Stack,
    key: str,
    namespace: pulumi.Input[str],
    images: Mapping[str, str],
    where: Mapping[str, hybrid.Reached] | None = None,
) -> dict[str, Any]:
    """Args of a `Router`, without the keys of clients; `where` is how a hybrid one reaches sites beyond."""
    router = stack.routers[key]
    controller, envoy = build.ROUTER_ROLES
    groups = ("entrance", "limit", "timeouts", "retries", "ejection", "termination")
    return {
        "name": key,
        "namespace": namespace,
        "image": images[controller],
        "envoy_image": images[envoy],
        **_routed(stack, router, namespace, where or {}),
        "access": {
            "client_cidrs": stack.clients.cidrs,
            "client_namespaces": stack.clients.namespaces,
            "public_reason": stack.clients.public_reason,
            "metrics_namespaces": stack.metrics_namespaces,
            **build.asked_by(stack),
            **adapter_args(stack, router),
            "api_server_cidrs": stack.metrics_adapter.api_server_cidrs or None,
        },
        "replicas": router.replicas,
        "access_log": router.access_log,
        "key_limits": {name: _group(limit) for name, limit in router.key_limits.items()},
        **{name: _group(getattr(router, name)) for name in groups if getattr(router, name) is not None},
        **({"retries": {"resets": True, **_group(router.retries)}} if router.hybrid else {}),
        "placement": hybrid.placement(stack.sites[router.site]),
        "dns": pools.dns_of(stack.sites[router.site]),
        "image_pull_secrets": stack.images.pull_secrets,
    }


def _routed(
    stack: Stack, router: Router, namespace: pulumi.Input[str], where: Mapping[str, hybrid.Reached]
) -> dict[str, Any]:
    """One model at several sites, or models of a site, each a variant."""
    if router.hybrid:
        return hybrid.routed(router, where, trusted(stack, router.hybrid.model, namespace))
    last = {"name": ALL, "weights": router.weights, "sticky": router.sticky, "experiment": router.experiment}
    return {
        "variants": {
            model: {
                "backends": [
                    {
                        "service": model,
                        **trusted(stack, model, namespace),
                        **wakes_args(stack, router, model),
                    }
                ]
            }
            for model in build.routed_by(router)
        },
        "routes": [*map(_route, router.routes), last],
    }


def _route(route: RouterRoute) -> dict[str, Any]:
    return {name: value for name, value in _group(route).items() if value not in ({}, [])}


def _group(settings: Settings | None) -> dict[str, Any]:
    return settings.model_dump(exclude_none=True) if settings else {}


def named_keys(router: Router) -> list[str]:
    """Names of the API keys that a router's settings name."""
    routes = [name for route in router.routes for name in route.keys]
    rules = [name for rule in router.hybrid.residency for name in rule.keys] if router.hybrid else []
    return sorted({*router.key_limits, *routes, *rules})


def router_problems(stack: Stack, name: str) -> Iterator[Problem]:
    """Every rule that the settings of routers break; of models that nobody knows no more can be said."""
    if not stack.routers or any(unknown_names(stack)):
        return
    images = build.references(stack)
    wrong = {problem.path[1] for problem in hybrid_problems(stack) if problem.path[0] == _GROUP}
    of_models = [one for one in (*tls_problems(stack), *waking_problems(stack)) if one.path[0] == "models"]
    refused = {one.path[1] for one in of_models}
    for key, router in stack.routers.items():
        path: Path = (_GROUP, key)
        if key in wrong or not refused.isdisjoint(build.routed_by(router)):
            continue
        problems = [*_places(stack, key, router)]
        yield from problems
        if problems:
            continue
        yield from _ports(stack, path, router)
        site = stack.sites[router.site]
        where = {one: hybrid.reached(stack, router, one) for one in hybrid.sites_beyond(router)}
        args = router_args(stack, key, build.namespace(stack, site, name), images, where)
        if named := named_keys(router):
            args["api_keys"] = {one: f"{one}-unpinned-key-of-nobody" for one in named}
        try:
            read(Arguments("", args, RouterArgs), key)
        except ArgumentError as error:
            yield Problem(
                _path(path, error.argument, router),
                error.given,
                camel_words(error.allowed),
                camel_words(error.remedy),
            )
        if router.hybrid:
            yield from hybrid_refusals(stack, key, name, images)
        if named and stack.api_keys_secret:
            of_rules = ("hybrid", "residency") if router.hybrid else ("routes",)
            yield Problem((*path, *(("keyLimits",) if router.key_limits else of_rules)), "names API keys",
                          "no name of a key with apiKeysSecret", "its keys are not known here")  # fmt: skip
        if stack.environment == "production" and router.replicas == 1:
            yield Problem(
                (*path, "replicas"), "is 1", "at least 2 in production", "one node's end would be an outage"
            )


def _path(path: Path, argument: str, router: Router) -> Path:
    match argument.split("."):
        case ["variants", model, _, "wakes", setting]:
            # A model's own settings; its key is no argument's name.
            return ("models", model, "autoscaling", *camel("hold_most" if setting == "most" else setting))
    words = camel(argument)
    if router.hybrid and words[0] in {"routes", "backends"}:
        return hybrid_path((*path, "hybrid"), argument, router)
    match words:
        case ("access", *_):
            inner = argument.partition(".")[2]
            return (
                ("clients", *camel(inner.removeprefix("client_"))) if inner in _OF_CLIENTS else ("clients",)
            )
        case ("routes", int(i), *rest) if i == len(router.routes):
            return (*path, *rest)
    return (*path, *words)


def _places(stack: Stack, key: str, router: Router) -> Iterator[Problem]:
    path: Path = (_GROUP, key)
    site = stack.sites.get(router.site)
    if site is None or pools.ground_of(site) in {"", "sagemaker"}:
        clusters = [
            name for name, one in stack.sites.items() if pools.ground_of(one) not in {"", "sagemaker"}
        ]
        allowed = "one of the sites with a cluster: " + ", ".join(clusters)
        yield Problem((*path, "site"), f"is {router.site!r}", allowed, nearest(router.site, clusters))
        return
    here = [name for name, model in stack.models.items() if router.site in model.sites]
    if key in here:
        yield Problem(path, "has the name of a model at its site", "another name", "both name a Service")
    named: list[tuple[Path, str]] = (
        [((*path, "hybrid", "model"), router.hybrid.model)] if router.hybrid else []
    )
    for where, weights in [
        ((), router.weights),
        *((("routes", i), one.weights) for i, one in enumerate(router.routes)),
    ]:
        named += [((*path, *where, "weights", name), name) for name in weights]
    for at, name in named:
        if name not in here:
            allowed = f"one of the models at {router.site}: " + ", ".join(here)
            yield Problem(at, "is no model there", allowed, nearest(name, here))


def _ports(stack: Stack, path: Path, router: Router) -> Iterator[Problem]:
    entrance = router.entrance
    if entrance is None or entrance.type != "NodePort":
        return
    site = stack.sites[router.site]
    if site.node_address is None:
        yield Problem(
            ("sites", router.site, "nodeAddress"),
            "is missing",
            "a node's address",
            "a router is on a NodePort",
        )
    home = pools.home(site, router.site)
    for at in build.placed(stack):
        service = at.model.service
        same = (
            service is not None and service.node_port is not None and service.node_port == entrance.node_port
        )
        if same and pools.home(at.site, at.site_key) == home:
            allowed = f"a port that {at.title} does not have in that cluster"
            yield Problem((*path, "entrance", "nodePort"), f"is {entrance.node_port}", allowed)
