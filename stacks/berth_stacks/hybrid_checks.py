"""What the components of a hybrid router would refuse, at the settings that it comes from."""

from collections.abc import Iterator, Mapping

from berth_components import (
    ArgumentError,
    HybridControllerArgs,
    SiteReporterArgs,
    hybrid_controller,
    site_reporter,
)
from berth_components.arguments import Arguments

from berth_stacks import build, hybrid
from berth_stacks.component_rules import camel, camel_words
from berth_stacks.errors import Path, Problem
from berth_stacks.router_settings import Router
from berth_stacks.settings import Stack

_TOKEN = "unpinned-" * 5
"""Stands for a token that nobody knows yet."""

_BEYOND: dict[str | int, Path] = {
    "caSecret": ("tls", "caSecret"),
    "clientCidrs": ("cidrs",),
    "nodePort": ("service", "reportNodePort"),
    "tlsSecret": ("tls", "secret"),
    "tlsServerName": ("tls", "serverName"),
}
"""Arguments that say something of sites beyond, by their last word."""


def hybrid_refusals(stack: Stack, key: str, name: str, images: Mapping[str, str]) -> Iterator[Problem]:
    """What they would refuse, of a router whose settings fit together; once each."""
    router = stack.routers[key]
    settings, _ = hybrid.hybrid_of(router)
    where = {site: hybrid.reached(stack, router, site) for site in hybrid.sites_beyond(router)}
    room = build.namespace(stack, stack.sites[router.site], name)
    shared = hybrid.Shared(stack, key, images)
    seen: set[Path] = set()
    try:
        args = hybrid.controller_args(shared, room, where, settings.cost_per_replica_hour)
        hybrid_controller.read(Arguments("", {**args, "token": _TOKEN}, HybridControllerArgs))
    except ArgumentError as error:
        yield _problem(error, ("routers", key, "hybrid"), router)
    for site in settings.sites:
        server = {"service": settings.model, "selector": {"app.kubernetes.io/name": "model-server"}}
        try:
            args = hybrid.reporter_args(shared, site, room, server)
            site_reporter.read(Arguments("", {**args, "token": _TOKEN}, SiteReporterArgs), key)
        except ArgumentError as error:
            problem = _problem(error, ("routers", key, "hybrid"), router, site)
            if problem.path not in seen:
                yield problem
            seen.add(problem.path)


def hybrid_path(path: Path, argument: str, router: Router, site: str = "") -> Path:
    """Where an argument of one of the components comes from.

    Args:
        path: that of the hybrid settings.
        argument: the component's.
        router: whose it is.
        site: where the component is; "" for the router's own.
    """
    words = camel(argument)
    settings, beyond = hybrid.hybrid_of(router)
    if (known := _BEYOND.get(words[-1])) is not None:
        inner = (*beyond.where(site), *known[1:]) if known[0] == "service" else known
        return (*path, "beyond", *inner)
    found: Path = (*path, *words)
    match words:
        case ("policy", *rest):
            found = (*path, *rest)
        case ("sites", int(i), "costPerReplicaHour"):
            found = (*path, "costPerReplicaHour", settings.sites[i])
        case ("sites", int(i), "mostReplicas"):
            found = ("models", settings.model, "autoscaling", "max")
        case ("service", *rest):
            found = (*path, "beyond", *beyond.where(site), *rest)
        case ("backends", str(site), "hosts", *_):
            found = ("sites", site, "nodeAddress")
        case ("routes", int(i), *rest) if i < len(settings.residency):
            found = (*path, "residency", i, *rest)
        case ("routes", int(_), *rest):
            found = (*path[:-1], *rest)
        case ("routes",):
            found = (*path, "residency")
    return found


def _problem(error: ArgumentError, path: Path, router: Router, site: str = "") -> Problem:
    found = hybrid_path(path, error.argument, router, site)
    return Problem(found, error.given, camel_words(error.allowed), camel_words(error.remedy))
