"""Declares what makes a router hybrid: a reporter at each site, and the controller beside the router."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import pulumi
from berth_components import HybridController, HybridControllerArgs, SiteReporter, SiteReporterArgs, pods
from berth_components.site_reporter import PORT, TOKEN

from berth_stacks import build, gateway_tls, hybrid
from berth_stacks.hybrid import Reached, Shared
from berth_stacks.load import Loaded
from berth_stacks.sites import Place


@dataclass(frozen=True)
class Grounds:
    """What is there before a router.

    Attributes:
        places: by site.
        rooms: the namespaces of the models, by site.
        addresses: of the models' load balancers, by `<site>/<model>`; "" where there is none yet.
        costs: US dollars per replica and hour, by router and site, as far as they are known.
    """

    places: Mapping[str, Place]
    rooms: Mapping[str, pulumi.Input[str]]
    addresses: Mapping[str, pulumi.Output[str]]
    costs: Mapping[str, Mapping[str, float]]


def declare_reporters(
    loaded: Loaded, shared: Shared, grounds: Grounds
) -> tuple[dict[str, SiteReporter], dict[str, Reached]]:
    """A reporter at each of a router's sites, and how the sites beyond are reached."""
    settings, _ = hybrid.hybrid_of(shared.router)
    reporters: dict[str, SiteReporter] = {}
    where: dict[str, Reached] = {}
    for site in settings.sites:
        server = {"service": settings.model, "selector": pods.selector("model-server", settings.model)}
        args = hybrid.reporter_args(shared, site, grounds.rooms[site], server)
        reporters[site] = SiteReporter(
            f"{site}-{shared.key}-report",
            cast("SiteReporterArgs", {**args, "token": _token(loaded)}),
            grounds.places[site].options,
        )
        if site != shared.router.site:
            address, report = grounds.addresses[f"{site}/{settings.model}"], reporters[site].address
            where[site] = hybrid.reached(
                shared.stack, shared.router, site, address.apply(_or_pending), report.apply(_or_pending)
            )
    return reporters, where


def _or_pending(address: str) -> str:
    return address or hybrid.PENDING


def _token(loaded: Loaded) -> pulumi.Output[str]:
    if loaded.site_token is not None:
        return loaded.site_token
    keys = loaded.api_keys if loaded.api_keys is not None else pulumi.Output.from_input(build.NO_KEYS)
    return pulumi.Output.secret(keys.apply(hybrid.token_of))


def declare_controller(
    loaded: Loaded,
    shared: Shared,
    grounds: Grounds,
    reporters: Mapping[str, SiteReporter],
    where: Mapping[str, Reached],
) -> dict[str, Any]:
    """The controller beside a router. Returns what the stack's output says of the sites."""
    router, key = shared.router, shared.key
    settings, beyond = hybrid.hybrid_of(router)
    costs = grounds.costs.get(key, {})
    args = hybrid.controller_args(shared, grounds.rooms[router.site], where, costs)
    controller = HybridController(
        f"{router.site}-{key}-hybrid",
        cast("HybridControllerArgs", {**args, "token": _token(loaded)}),
        grounds.places[router.site].options,
    )
    scheme = "https" if beyond.tls else "http"
    own = "https" if gateway_tls.trusted(shared.stack, settings.model, "") else "http"

    def site(name: str) -> dict[str, Any]:
        there = where.get(name)
        gateway = (
            pulumi.Output.format("{0}://{1}.{2}.svc", own, settings.model, grounds.rooms[name])
            if there is None
            else _url(scheme, there.address, there.port)
        )
        report = (
            reporters[name].url if there is None else _url(scheme, there.report_address, there.report_port)
        )
        return {
            "backend": name,
            "url": gateway,
            "costPerReplicaHour": costs.get(name),
            "namespace": reporters[name].namespace,
            "reporter": {
                "url": report,
                "namespace": reporters[name].namespace,
                "deployment": reporters[name].name,
                "service": reporters[name].service,
                "port": PORT,
                "tokenSecret": reporters[name].name,
                "tokenKey": TOKEN,
            },
        }

    return {
        "model": settings.model,
        "weightsConfigMap": controller.weights,
        "controller": {"namespace": controller.namespace, "deployment": controller.name},
        "sites": {name: site(name) for name in settings.sites},
        "costCapPerHour": settings.cost_cap_per_hour,
        "residency": [rule.model_dump() for rule in settings.residency],
    }


def _url(scheme: str, address: pulumi.Input[str], port: int) -> pulumi.Output[str]:
    return pulumi.Output.from_input(address).apply(
        lambda host: f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    )
