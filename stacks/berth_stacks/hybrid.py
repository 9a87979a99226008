"""From the settings of a router in front of several sites to the args of its components."""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from berth_components.site_reporter import PORT as REPORTER_PORT

from berth_stacks import afar, build
from berth_stacks.hybrid_rules import ALL, variant
from berth_stacks.hybrid_settings import Beyond, Hybrid
from berth_stacks.pools import dns_of
from berth_stacks.router_settings import Router
from berth_stacks.settings import Site, Stack

PENDING = "pending.invalid"
"""Stands for a load balancer's address until it has one: no name of this kind is ever found (RFC 6761)."""
_ABOUT = b"berth: what a hybrid controller shows to the reporters of its sites"


@dataclass(frozen=True)
class Reached:
    """Where a router at another site finds gateways and reporter of a site."""

    address: pulumi.Input[str]
    port: int
    report_address: pulumi.Input[str]
    report_port: int


@dataclass(frozen=True)
class Shared:
    """What every component of a hybrid router is made from; images by role."""

    stack: Stack
    key: str
    images: Mapping[str, str]

    @property
    def router(self) -> Router:
        """Its settings."""
        return self.stack.routers[self.key]


def token_of(api_keys: Mapping[str, str]) -> str:
    """What a controller shows to reporters, where nobody says it: it changes whenever the clients' keys do.

    An HMAC by the keys, so that none of them can be told from it.
    """
    secret = json.dumps(api_keys, sort_keys=True).encode()
    return hmac.new(secret, _ABOUT, hashlib.sha256).hexdigest()


def hybrid_of(router: Router) -> tuple[Hybrid, Beyond]:
    """A hybrid router's settings, which the rules let pass."""
    if router.hybrid is None or router.hybrid.beyond is None:
        raise AssertionError(router)
    return router.hybrid, router.hybrid.beyond


def sites_beyond(router: Router) -> list[str]:
    """Sites of a router that it is not at, in order of preference."""
    return [site for site in router.hybrid.sites if site != router.site] if router.hybrid else []


def reached(
    stack: Stack,
    router: Router,
    site: str,
    address: pulumi.Input[str] = PENDING,
    report_address: pulumi.Input[str] = PENDING,
) -> Reached:
    """Where a site beyond is reached; the addresses are those of its load balancers."""
    _, beyond = hybrid_of(router)
    service = beyond.service_at(site)
    if service.type == "NodePort":
        node = stack.sites[site].node_address or PENDING
        return Reached(node, service.node_port or 1, node, service.report_node_port or 1)
    # Names that are known beforehand can be reviewed, and written as a chart.
    gateways, reporter = afar.names_at(beyond, site) or (address, report_address)
    return Reached(gateways, 443 if beyond.tls else 80, reporter, REPORTER_PORT)


def _trust(beyond: Beyond) -> dict[str, Any]:
    if beyond.tls is None:
        return {}
    return {"tls_server_name": beyond.tls.server_name, "ca_secret": beyond.tls.ca_secret}


def routed(router: Router, where: Mapping[str, Reached], home: Mapping[str, Any]) -> dict[str, Any]:
    """Backends, variants and routes of a `Router` in front of several sites.

    A variant is the sites that serve its requests: the first one that can. `home` is what it is told of the
    certificate of the gateways at its own site.
    """
    hybrid, beyond = hybrid_of(router)
    backends: dict[str, Any] = {
        site: (
            {"service": hybrid.model, "asked": True, **home}
            if site == router.site
            else {
                "hosts": [{"address": where[site].address, "port": where[site].port}],
                **_trust(beyond),
            }
        )
        for site in hybrid.sites
    }
    variants: dict[str, Any] = {}
    routes: list[dict[str, Any]] = []
    for name, sites in routes_of(hybrid).items():
        for site in sites:
            order = [site, *(one for one in sites if one != site)]
            variants[variant(hybrid, name, sites, site)] = {"backends": [{"name": one} for one in order]}
        # Others come from the controller; these hold where it says nothing.
        shares = {variant(hybrid, name, sites, site): 100 if site == sites[0] else 0 for site in sites}
        routes.append({"name": name, "weights": shares, "sticky": router.sticky})
    for route, rule in zip(routes, hybrid.residency, strict=False):
        route |= {"headers": rule.headers or None, "keys": rule.keys or None}
    routes[-1]["experiment"] = router.experiment
    return {"backends": backends, "variants": variants, "routes": routes}


def routes_of(hybrid: Hybrid) -> dict[str, Sequence[str]]:
    """The sites of each route, in order of preference; the last route takes what no other one does."""
    return {**{rule.name: rule.sites for rule in hybrid.residency}, ALL: hybrid.sites}


def controller_args(
    shared: Shared,
    namespace: pulumi.Input[str],
    where: Mapping[str, Reached],
    costs: Mapping[str, float],
) -> dict[str, Any]:
    """Args of a `HybridController`, without its token.

    Args:
        shared: whose it is.
        namespace: where the router is.
        where: how sites beyond are reached.
        costs: US dollars per replica and hour, by site; one that is not known counts as 0.
    """
    stack, key, router = shared.stack, shared.key, shared.router
    hybrid, beyond = hybrid_of(router)
    most = {at.site_key: at.most for at in build.placed(stack) if at.model_key == hybrid.model}

    def site(name: str) -> dict[str, Any]:
        found = {
            "name": name,
            "most_replicas": most.get(name, 1),
            "cost_per_replica_hour": costs.get(name, 0),
        }
        if name == router.site:
            return {**found, "reporter": key}
        there = where[name]
        return {**found, "address": there.report_address, "port": there.report_port, **_trust(beyond)}

    home = stack.sites[router.site]
    return {
        "namespace": namespace,
        "image": shared.images[build.ROUTER_ROLES[0]],
        "router": key,
        "model": hybrid.model,
        "sites": [site(name) for name in hybrid.sites],
        "policy": {
            "cost_cap_per_hour": hybrid.cost_cap_per_hour,
            "overflow_at": hybrid.overflow_at,
            "return_below": hybrid.return_below,
            "step_percent": hybrid.step_percent,
            "return_step_percent": hybrid.return_step_percent,
            "silent_seconds": hybrid.silent_seconds,
            "hold_seconds": hybrid.hold_seconds,
        },
        "routes": routes_of(hybrid),
        "access": {
            "metrics_namespaces": stack.metrics_namespaces,
            "api_server_cidrs": stack.metrics_adapter.api_server_cidrs or None,
            **build.asked_by(stack),
        },
        "placement": placement(home),
        "dns": dns_of(home),
        "image_pull_secrets": stack.images.pull_secrets,
    }


def reporter_args(
    shared: Shared, site: str, namespace: pulumi.Input[str], server: Mapping[str, Any]
) -> dict[str, Any]:
    """Args of the `SiteReporter` of a router's site, without its token.

    Args:
        shared: whose it is.
        site: the site.
        namespace: where its model servers are.
        server: service and selector of the model's server there.
    """
    stack, key, router = shared.stack, shared.key, shared.router
    hybrid, beyond = hybrid_of(router)
    args: dict[str, Any] = {
        "name": key,
        "namespace": namespace,
        "image": shared.images[build.ROUTER_ROLES[0]],
        "site": site,
        "models": {hybrid.model: dict(server)},
        "access": {
            "controllers": [key],
            "api_server_cidrs": stack.metrics_adapter.api_server_cidrs or None,
        },
        "placement": placement(stack.sites[site]),
        "image_pull_secrets": stack.images.pull_secrets,
    }
    if site != router.site:
        service, names = beyond.service_at(site), afar.names_at(beyond, site)
        args["access"] |= {"controllers": None, "client_cidrs": beyond.cidrs}
        args["service"] = {
            "type": service.type,
            "node_port": service.report_node_port,
            "external_traffic_policy": service.external_traffic_policy,
            "annotations": afar.annotated(beyond, site, names[1] if names else None),
        }
        args["tls_secret"] = beyond.tls.secret if beyond.tls else None
    return args


def placement(site: Site) -> dict[str, Any]:
    """Nodes of what is beside the models of a site."""
    return {
        "node_selector": site.node_selector,
        "tolerations": [one.model_dump(exclude_none=True) for one in site.tolerations],
    }
