"""What the two processes are told, and what one says to the other: JSON, strictly read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from berth_agents.hybrid.decision import Observed, Policy, Site, check
from berth_agents.router.reading import DocumentError, Section, parsed

VERSION = 1
WHOLE = "all"
"""The route with all sites, in their order: the router's last one."""
_PERCENT = 100
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_NAMES = "1 to 63 lower-case letters, digits and '-', beginning with a letter"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_URL = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?")
_PORT = re.compile(r"[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?")
_MOST_REPLICAS = 100_000
_HOUR, _DAY = 3600, 86_400
_DOLLARS = 1_000_000


@dataclass(frozen=True)
class Served:
    """A model of a site.

    Attributes:
        service: whose ready endpoints are counted.
        selector: labels of its pods.
        port: where their gateways answer `/load`: the name of a container's port, or its number.
    """

    service: str
    selector: Mapping[str, str]
    port: str | int


@dataclass(frozen=True)
class Place:
    """A site, and where its reporter is.

    Attributes:
        ca_file: PEM with the CA of its certificate; None: those of the system. Read again when it changes.
        server_name: that its certificate carries; None: the host of the URL.
    """

    site: Site
    url: str
    ca_file: str | None
    server_name: str | None


@dataclass(frozen=True)
class Hybrid:
    """What a controller divides.

    Attributes:
        router: whose weights are written, into the ConfigMap `<router>-weights` of `namespace`.
        routes: name → its sites in order of preference; `all` has all of them.
    """

    router: str
    namespace: str
    model: str
    every_seconds: float
    places: tuple[Place, ...]
    policy: Policy
    routes: Mapping[str, tuple[str, ...]]

    @property
    def sites(self) -> tuple[Site, ...]:
        """In order of preference."""
        return tuple(place.site for place in self.places)

    def variant(self, route: str, site: str) -> str:
        """As the router's document calls it: by the site where the route may use all, else by both."""
        whole = self.routes[route] == tuple(one.name for one in self.sites)
        return site if whole else f"{route}-{site}"


@dataclass(frozen=True)
class Report:
    """What a reporter says of a model. `age_seconds`: of the oldest reading in it."""

    seen: Observed
    age_seconds: float


def served(text: str) -> dict[str, Served]:
    """Read what a reporter reports, by model.

    Raises:
        DocumentError: names what is wrong and what is allowed.
    """
    top = Section(parsed(text), "")
    top.whole("version", VERSION, VERSION)
    found = {_labelled("models", name): _served(section) for name, section in top.entries("models").items()}
    top.end()
    if not found:
        raise DocumentError("models is empty; at least one model is needed")
    return found


def _served(section: Section) -> Served:
    service = section.text("service")
    if not _LABEL.fullmatch(service):
        raise section.refuse("service", service, "the name of a Service")
    selector = section.mapping("selector")
    if not selector or not all(isinstance(value, str) for value in selector.values()):
        raise section.refuse("selector", selector, "labels of its pods, at least one")
    port = section.take("metricsPort", "metrics")
    named = isinstance(port, str) and _PORT.fullmatch(port)
    numbered = isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65_536  # noqa: PLR2004 - ports
    if not named and not numbered:
        raise section.refuse("metricsPort", port, "the name or number of a container's port")
    section.end()
    return Served(service, selector, port)


def hybrid(text: str) -> Hybrid:
    """Read what a controller divides.

    Raises:
        DocumentError: names what is wrong and what is allowed.
    """
    top = Section(parsed(text), "")
    top.whole("version", VERSION, VERSION)
    places = top.items("sites", lambda item, where: _place(Section(item, where)))
    names = tuple(place.site.name for place in places)
    found = Hybrid(
        router=_checked("router", top.text("router")),
        namespace=_labelled("namespace", top.text("namespace")),
        model=_labelled("model", top.text("model")),
        every_seconds=top.number("everySeconds", 0.1, 60, 1.0),
        places=places,
        policy=_policy(top.section("policy")),
        routes=_routes(top, names),
    )
    top.end()
    try:
        check(found.sites, found.policy)
    except ValueError as error:
        raise DocumentError(str(error)) from error
    return found


def _place(section: Section) -> Place:
    name = section.text("name")
    if not _NAME.fullmatch(name):
        raise section.refuse("name", name, _NAMES)
    site = Site(
        name,
        section.number("costPerReplicaHour", 0, _DOLLARS),
        section.whole("mostReplicas", 1, _MOST_REPLICAS),
    )
    url = section.text("url").rstrip("/")
    if not _URL.fullmatch(url):
        raise section.refuse("url", url, "http:// or https://, a host and a port")
    ca_file, server_name = _maybe_text(section, "caFile"), _maybe_text(section, "serverName")
    section.end()
    if (ca_file or server_name) and not url.startswith("https://"):
        raise section.refuse("url", url, "https:// where caFile or serverName is given")
    return Place(site, url, ca_file, server_name)


def _policy(section: Section) -> Policy:
    cap = section.maybe("costCapPerHour")
    if cap is not None and (
        isinstance(cap, bool) or not isinstance(cap, int | float) or not 0 <= cap <= _DOLLARS
    ):
        raise section.refuse("costCapPerHour", cap, f"dollars from 0 to {_DOLLARS}, or null: no cap")
    default = Policy(None)
    found = Policy(
        cost_cap_per_hour=None if cap is None else float(cap),
        overflow_at=section.number("overflowAt", 0, 1_000_000, default.overflow_at),
        return_below=section.number("returnBelow", 0, 1_000_000, default.return_below),
        step=_hundredths(section, "step", default.step),
        return_step=_hundredths(section, "returnStep", default.return_step),
        silent_seconds=section.number("silentSeconds", 1, _HOUR, default.silent_seconds),
        hold_seconds=section.number("holdSeconds", 1, _DAY, default.hold_seconds),
    )
    section.end()
    return found


def _hundredths(section: Section, key: str, default: int) -> int:
    return round(section.number(key, 0.01, 100, default / _PERCENT) * _PERCENT)


def _routes(top: Section, names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    given = top.mapping("routes")
    section = Section(given, "routes")
    found = {}
    for route in given:
        found[_checked("routes", route)] = sites = section.texts(route)
        for site in sites:
            if site not in names:
                raise section.refuse(route, site, "of " + ", ".join(names))
        if not sites or len(set(sites)) != len(sites):
            raise section.refuse(route, [*sites], "at least one site, each once")
    if found.get(WHOLE) != names:
        shown = [*found[WHOLE]] if WHOLE in found else "missing"
        raise DocumentError(f"routes.{WHOLE} is {shown}; it must be all sites in their order, {[*names]}")
    return found


def report(text: str, site: str, model: str) -> Report:
    """Read what a reporter answered. What else it says is passed over: it may be newer than this.

    Raises:
        DocumentError: it is not of this site or model, or says what it may not say.
    """
    top = Section(parsed(text, "the answer"), "")
    top.whole("version", VERSION, VERSION)
    if (said := top.text("site")) != site:
        raise DocumentError(f"the reporter is of the site {said!r}, not of {site!r}")
    models = top.mapping("models")
    if model not in models:
        there = ", ".join(sorted(models)) or "nothing"
        raise DocumentError(f"the reporter of {site} knows no model {model!r}; it reports {there}")
    section = Section(models[model], f"models.{model}")
    most = 1_000_000_000
    seen = Observed(
        waiting=section.whole("waiting", 0, most),
        ready_replicas=section.whole("ready", 0, _MOST_REPLICAS),
        billed_replicas=section.whole("billed", 0, _MOST_REPLICAS),
        running=section.whole("running", 0, most),
        slots=section.whole("slots", 0, most, 0),
        unread=section.whole("unread", 0, _MOST_REPLICAS, 0),
    )
    return Report(seen, section.number("ageSeconds", 0, _DAY, 0.0))


def _maybe_text(section: Section, key: str) -> str | None:
    value = section.maybe(key)
    if value is not None and (not isinstance(value, str) or not value):
        raise section.refuse(key, value, "a string, or null")
    return value


def _checked(where: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise DocumentError(f"{where} has {name!r}; it must be {_NAMES}")
    return name


def _labelled(where: str, name: str) -> str:
    if not _LABEL.fullmatch(name):
        raise DocumentError(f"{where} has {name!r}; it must be 1 to 63 lower-case letters, digits and '-'")
    return name
