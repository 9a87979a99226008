"""What must fit together in a router in front of several sites."""

from collections.abc import Iterator, Mapping, Sequence

from berth_components import checks

from berth_stacks import pools
from berth_stacks.errors import Path, Problem, nearest
from berth_stacks.hybrid_settings import Beyond, BeyondService, Hybrid
from berth_stacks.router_settings import Router
from berth_stacks.settings import Stack

ALL = "all"
"""The route of every request that no other one takes."""
_FEWEST = 2


def variant(hybrid: Hybrid, route: str, sites: Sequence[str], site: str) -> str:
    """The router's variant that begins at a site, on a route that may go to some."""
    return site if [*sites] == [*hybrid.sites] else f"{route}-{site}"


def hybrid_problems(stack: Stack) -> Iterator[Problem]:
    """Every rule that the settings of hybrid routers break."""
    owners: dict[str, str] = {}
    for key, router in stack.routers.items():
        path: Path = ("routers", key)
        hybrid = router.hybrid
        if hybrid is None:
            if not router.weights:
                yield Problem((*path, "weights"), "is missing", "percent by model, or hybrid")
            continue
        for name in ("weights", "routes"):
            if getattr(router, name):
                remedy = "hybrid.residency says where requests stay" if name == "routes" else ""
                yield Problem((*path, name), "is given beside hybrid", "one of the two", remedy)
        path = (*path, "hybrid")
        owner = owners.setdefault(hybrid.model, key)
        if owner != key:
            yield Problem((*path, "model"), f"is {hybrid.model!r}", f"a model that router {owner} has not")
        places = [*_places(stack, path, router, hybrid)]
        yield from places
        yield from _figures(path, hybrid)
        yield from _residency(path, hybrid)
        if not places:
            yield from _beyond(stack, path, router, hybrid)


def _places(stack: Stack, path: Path, router: Router, hybrid: Hybrid) -> Iterator[Problem]:
    if hybrid.model not in stack.models:
        allowed = "one of the models: " + ", ".join(stack.models)
        yield Problem(
            (*path, "model"), f"is {hybrid.model!r}", allowed, nearest(hybrid.model, [*stack.models])
        )
        return
    model = stack.models[hybrid.model]
    for i, site in enumerate(hybrid.sites):
        here: Path = (*path, "sites", i)
        if site not in stack.sites:
            allowed = "one of the sites: " + ", ".join(stack.sites)
            yield Problem(here, f"is {site!r}", allowed, nearest(site, [*stack.sites]))
        elif site in hybrid.sites[:i]:
            yield Problem(here, f"is {site!r} again", "each site once")
        elif pools.ground_of(stack.sites[site]) == "sagemaker":
            yield Problem(
                here, f"is {site!r}", "a site with a cluster", "an endpoint there has clients by IAM"
            )
        elif site not in model.sites:
            remedy = f"add it to berth:models.{hybrid.model}.sites"
            yield Problem(here, f"is {site!r}", f"a site of model {hybrid.model}", remedy)
    if len(hybrid.sites) < _FEWEST:
        given = f"has {len(hybrid.sites)}"
        yield Problem((*path, "sites"), given, "at least 2 of the sites, in order of preference")
    elif router.site not in hybrid.sites:
        yield Problem((*path, "sites"), f"does not have {router.site!r}", "the router's own site among them")


def _figures(path: Path, hybrid: Hybrid) -> Iterator[Problem]:
    for site in hybrid.cost_per_replica_hour:
        if site not in hybrid.sites:
            allowed = "of one of its sites: " + ", ".join(hybrid.sites)
            where = (*path, "costPerReplicaHour", site)
            yield Problem(where, f"is of {site!r}", allowed, nearest(site, hybrid.sites))
    if hybrid.return_below >= hybrid.overflow_at:
        allowed = f"less than overflowAt, {hybrid.overflow_at:g}"
        yield Problem((*path, "returnBelow"), f"is {hybrid.return_below:g}", allowed, "else load swings")
    if hybrid.return_step_percent > hybrid.step_percent:
        allowed = f"at most stepPercent, {hybrid.step_percent:g}"
        where = (*path, "returnStepPercent")
        yield Problem(where, f"is {hybrid.return_step_percent:g}", allowed, "else load swings")
    if hybrid.hold_seconds < hybrid.silent_seconds:
        allowed = f"at least silentSeconds, {hybrid.silent_seconds}"
        yield Problem((*path, "holdSeconds"), f"is {hybrid.hold_seconds}", allowed)


def _residency(path: Path, hybrid: Hybrid) -> Iterator[Problem]:
    seen = {ALL}
    variants = {*hybrid.sites}
    for i, rule in enumerate(hybrid.residency):
        here: Path = (*path, "residency", i)
        if rule.name in seen:
            why = "" if rule.name != ALL else "that is the route of all other requests"
            yield Problem((*here, "name"), f"is {rule.name!r}", "a name of its own", why)
        seen.add(rule.name)
        if not rule.sites:
            allowed = "at least one of the router's: " + ", ".join(hybrid.sites)
            yield Problem((*here, "sites"), "is empty", allowed)
        for j, site in enumerate(rule.sites):
            if site not in hybrid.sites:
                allowed = "one of the router's: " + ", ".join(hybrid.sites)
                yield Problem((*here, "sites", j), f"is {site!r}", allowed, nearest(site, hybrid.sites))
            elif site in rule.sites[:j]:
                yield Problem((*here, "sites", j), f"is {site!r} again", "each site once")
        own = {variant(hybrid, rule.name, rule.sites, site) for site in rule.sites} - {*hybrid.sites}
        if taken := sorted(own & variants):
            given = f"is {rule.name!r}, so its variant would be {taken[0]!r}, as another one is"
            yield Problem((*here, "name"), given, "another name")
        variants |= own
        if not rule.keys and not rule.headers:
            remedy = "say which requests it is for"
            yield Problem(here, "names neither keys nor headers", "at least one of them", remedy)


def _beyond(stack: Stack, path: Path, router: Router, hybrid: Hybrid) -> Iterator[Problem]:
    path = (*path, "beyond")
    beyond = hybrid.beyond
    if beyond is None:
        others = ", ".join(site for site in hybrid.sites if site != router.site)
        yield Problem(path, "is missing", f"how the router reaches {others}: cidrs, service, tls")
        return
    if not beyond.cidrs or checks.is_everybody(beyond.cidrs):
        given = "is everybody" if beyond.cidrs else "is empty"
        yield Problem((*path, "cidrs"), given, f"the addresses that come from {router.site}",
                      "a gateway there lets in nobody but the router")  # fmt: skip
    if beyond.tls is None and stack.environment == "production":
        yield Problem((*path, "tls"), "is missing", "secret and serverName in production",
                      "requests and keys would cross networks in the clear")  # fmt: skip
    away = [site for site in hybrid.sites if site != router.site]
    for site in beyond.services:
        if site not in away:
            given = "is of no site beyond"
            yield Problem((*path, "services", site), given, "of " + ", ".join(away), nearest(site, away))
    said = {beyond.where(site): beyond.service_at(site) for site in away}
    for words, service in {("service",): beyond.service, **said}.items():
        yield from _service((*path, *words), service)
    yield from _ports(stack, path, away, hybrid, beyond)


def _service(path: Path, service: BeyondService) -> Iterator[Problem]:
    """What must fit together in the entrance of one site, or of all."""
    ports: Mapping[str, int | None] = {
        "nodePort": service.node_port,
        "reportNodePort": service.report_node_port,
    }
    for name, port in ports.items():
        if service.type == "NodePort" and port is None:
            yield Problem((*path, name), "is missing", "a port from 30000 to 32767 with NodePort")
        elif service.type != "NodePort" and port is not None:
            yield Problem((*path, name), "is given", "only with type NodePort")
    if service.domain and service.type != "LoadBalancer":
        yield Problem((*path, "domain"), "is given", "only with type LoadBalancer")
    if service.report_node_port is not None and service.report_node_port == service.node_port:
        given = f"is {service.report_node_port}"
        yield Problem((*path, "reportNodePort"), given, "another port than nodePort")


def _ports(
    stack: Stack, path: Path, others: Sequence[str], hybrid: Hybrid, beyond: Beyond
) -> Iterator[Problem]:
    """Ports of nodes that somebody else has."""
    homes: set[object] = set()
    said: set[Path] = set()
    for site in others:
        words, service = beyond.where(site), beyond.service_at(site)
        report, home = service.report_node_port, pools.home(stack.sites[site], site)
        if report is None:
            continue
        problems = []
        if home in homes:
            remedy = "or type LoadBalancer"
            problems.append(
                Problem((*path, *words, "type"), "is NodePort", "sites beyond in a cluster each", remedy)
            )
        homes.add(home)
        for key, model in stack.models.items():
            taken = model.service.node_port if model.service else None
            there = [one for one in model.sites if pools.home(stack.sites[one], one) == home]
            if report == taken and there and key != hybrid.model:
                given = f"is {report}, as {key}'s at {there[0]}"
                problems.append(
                    Problem((*path, *words, "reportNodePort"), given, "a port that no model has there")
                )
        yield from (one for one in problems if one.path not in said)
        said |= {one.path for one in problems}
