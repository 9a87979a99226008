"""What a router is told: one JSON document, strictly read. docs/router.md shows one."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from berth_agents.router.reading import DocumentError, Section, parsed

VERSION = 1
HUNDREDTHS = 100
"""Envoy's weights are whole numbers: a percent is a hundred of them, all together are `TOTAL`."""
TOTAL = 100 * HUNDREDTHS
KEY = "key"
"""Sticky by the API key that a request carries."""
MOST_HELD = 1000
"""Requests of one backend that a replica may hold: each is a connection and some kilobytes."""
LEAST_KEPT, MOST_KEPT = 1 << 20, 8 << 20
"""Bytes of a request's body that Envoy may keep to send it again."""
MAX_DOCUMENT_BYTES = 900_000  # a ConfigMap holds 1 MiB
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_HEADER = re.compile(r"[a-z0-9]([-a-z0-9]{0,62}[a-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9.:]{0,251}[A-Za-z0-9])?")
_FILE = re.compile(r"/[^\x00-\x1f]{1,250}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,254}[\x21-\x7e])?")
_DAY = 86_400


@dataclass(frozen=True)
class Listener:
    """What clients meet. It is read once, at a pod's start; all else counts at once.

    Attributes:
        port: where clients come in.
        metrics_port: where `/metrics` and `/ready` are.
        tls: folder with tls.crt and tls.key, or None: plain HTTP.
        stream_idle_seconds: a request on which nothing moves in either direction for so long is ended.
        request_seconds: no request takes longer, streams included.
        body_seconds: a client has so long to send all of its request.
        trusted_hops: proxies in front whose x-forwarded-for is believed.
        access_log: whether each request is a line of JSON on standard output; never with content.
    """

    port: int
    metrics_port: int
    tls: str | None
    stream_idle_seconds: int
    request_seconds: int
    body_seconds: int
    trusted_hops: int
    access_log: bool


@dataclass(frozen=True)
class Limit:
    """Requests of one key, in each replica of the router: so many a minute, and so many at once."""

    per_minute: int
    burst: int


@dataclass(frozen=True)
class Key:
    """A key by its SHA-256, in hex; the key itself is nowhere in the document."""

    sha256: str
    limit: Limit | None


@dataclass(frozen=True)
class Host:
    """Where something beyond the cluster is."""

    address: str
    port: int


@dataclass(frozen=True)
class Service:
    """A Service whose ready endpoints are followed."""

    namespace: str
    name: str
    port: str


@dataclass(frozen=True)
class Tls:
    """How a backend proves who it is: the name that its certificate carries, and the file with its CA."""

    server_name: str
    ca_file: str


@dataclass(frozen=True)
class Wakes:
    """What comes while no pod is ready is held until one is: that it waits is the autoscaler's signal.

    Attributes:
        hold_seconds: no request is held longer.
        most: requests held at once, in each replica of the router.
        keys: whether only who has a key of the model may wake it.
        body_bytes: a larger body is not kept, so its client is asked to come again.
    """

    hold_seconds: int
    most: int
    keys: bool
    body_bytes: int


@dataclass(frozen=True)
class Backend:
    """Gateways of one model server: a Service of the cluster, or hosts elsewhere.

    Attributes:
        asked: whether each address is asked for its health all the time. Always worth it for hosts elsewhere,
            of which no Kubernetes tells; of a Service where a dead node must be noticed within seconds.
        health_path: what is asked for.
        wakes: of a Service that may have no pods at all; None: requests find nobody then.
    """

    service: Service | None
    hosts: tuple[Host, ...]
    tls: Tls | None
    asked: bool
    health_path: str
    wakes: Wakes | None


@dataclass(frozen=True)
class Variant:
    """One variant of a model: its backends, of which the later ones serve while the former cannot."""

    backends: tuple[str, ...]


@dataclass(frozen=True)
class Match:
    """Which requests a route takes: all that is named must hold. Nothing named is every request.

    Attributes:
        headers: name → exact value.
        keys: names of API keys; any of them.
    """

    headers: Mapping[str, str]
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Route:
    """How requests are divided.

    Attributes:
        experiment: salts the assignment, so that it is independent of every other experiment's.
        weights: variant → hundredths of a percent; together `TOTAL`.
        sticky: `key`, the name of a header that names the user, or None: each request for itself.
    """

    name: str
    experiment: str
    match: Match
    weights: Mapping[str, int]
    sticky: str | None


@dataclass(frozen=True)
class Retries:
    """How often, and how many at most: a share of the requests in flight, and a few where few are.

    Attributes:
        resets: also what was sent and had no answer yet when its connection broke. Between sites a lost one
            then fails nothing that it had not begun to answer; what it had begun to compute is paid twice.
    """

    attempts: int
    budget_percent: float
    least: int
    resets: bool


@dataclass(frozen=True)
class Ejection:
    """When a pod is left out for a while: after so many failures in a row.

    Attributes:
        seconds: the first time; longer each time.
        most_percent: of a backend's pods at once.
    """

    failures: int
    seconds: int
    most_percent: int


@dataclass(frozen=True)
class Document:
    """All of it."""

    listener: Listener
    limit: Limit | None
    keys: Mapping[str, Key]
    backends: Mapping[str, Backend]
    variants: Mapping[str, Variant]
    routes: tuple[Route, ...]
    retries: Retries
    ejection: Ejection
    connect_seconds: float


def parse(text: str) -> Document:
    """Read a document.

    Raises:
        DocumentError: it is not JSON, or a key is unknown, missing or not allowed.
    """
    if len(text) > MAX_DOCUMENT_BYTES:
        raise DocumentError(f"the document has {len(text)} bytes; at most {MAX_DOCUMENT_BYTES} are allowed")
    top = Section(parsed(text), "")
    top.whole("version", VERSION, VERSION)
    listener = _listener(top.section("listener"))
    limit = _limit(top.section("limit")) if top.has("limit") else None
    keys = {_name("keys", name): _key(section) for name, section in top.entries("keys").items()}
    backends = {
        _name("backends", name): _backend(section) for name, section in top.entries("backends").items()
    }
    variants = {
        _name("variants", name): _variant(section, backends)
        for name, section in top.entries("variants").items()
    }
    routes = top.items("routes", lambda item, where: _route(Section(item, where), variants, keys))
    retries, ejection = _retries(top.section("retries")), _ejection(top.section("ejection"))
    connect = top.number("connectSeconds", 0.1, 60, 2.0)
    top.end()
    if not routes:
        raise DocumentError("routes is empty; at least one route is needed")
    if any(routes[-1].match.headers) or routes[-1].match.keys:
        raise DocumentError(
            f"the last route, '{routes[-1].name}', has a match; the last one must take everything"
        )
    _unlike([route.name for route in routes], "routes", "name")
    _unlike([key.sha256 for key in keys.values()], "keys", "sha256")
    _wakeable(listener, backends, variants)
    return Document(listener, limit, keys, backends, variants, routes, retries, ejection, connect)


def _wakeable(listener: Listener, backends: Mapping[str, Backend], variants: Mapping[str, Variant]) -> None:
    """What is held must be able to wait so long, and must not be wanted by another backend."""
    for name, backend in backends.items():
        if backend.wakes is None:
            continue
        for key, seconds in (
            ("streamIdleSeconds", listener.stream_idle_seconds),
            ("requestSeconds", listener.request_seconds),
        ):
            if backend.wakes.hold_seconds >= seconds:
                raise DocumentError(
                    f"backends.{name}.wakes.holdSeconds is {backend.wakes.hold_seconds}; it must be below "
                    f"listener.{key}, which is {seconds}"
                )
        for variant, served in variants.items():
            if name in served.backends and len(served.backends) > 1:
                raise DocumentError(
                    f"backends.{name}.wakes is given, and variants.{variant} has other backends as well, "
                    "which would never be asked; it must be the only backend of its variants"
                )


def _unlike(values: list[str], where: str, key: str) -> None:
    if twice := {value for value in values if values.count(value) > 1}:
        raise DocumentError(f"{where} have the {key} {min(twice)!r} twice; each needs its own")


def _name(where: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise DocumentError(f"{where} has the key {name!r}; it must be {_NAMES}")
    return name


_NAMES = "1 to 63 lower-case letters, digits and '-', beginning with a letter"


def _pattern(section: Section, key: str, pattern: re.Pattern[str], allowed: str) -> str:
    value = section.text(key)
    if not pattern.fullmatch(value):
        raise section.refuse(key, value, allowed)
    return value


def _listener(section: Section) -> Listener:
    found = Listener(
        port=section.whole("port", 1, 65_535, 8080),
        metrics_port=section.whole("metricsPort", 1, 65_535, 9000),
        tls=_pattern(section, "tls", _FILE, "an absolute path") if section.has("tls") else None,
        stream_idle_seconds=section.whole("streamIdleSeconds", 1, _DAY, 600),
        request_seconds=section.whole("requestSeconds", 1, _DAY, 3600),
        body_seconds=section.whole("bodySeconds", 1, 3600, 60),
        trusted_hops=section.whole("trustedHops", 0, 10, 0),
        access_log=section.flag("accessLog", default=True),
    )
    section.end()
    if found.port == found.metrics_port:
        raise section.refuse("metricsPort", found.metrics_port, "another port than port")
    return found


def _limit(section: Section) -> Limit:
    per_minute = section.whole("requestsPerMinute", 1, 1_000_000)
    limit = Limit(per_minute, section.whole("burst", 1, 1_000_000, per_minute))
    section.end()
    return limit


def _key(section: Section) -> Key:
    digest = _pattern(section, "sha256", _SHA256, "64 lower-case hex digits")
    limit = _limit(section.section("limit")) if section.has("limit") else None
    section.end()
    return Key(digest, limit)


def _backend(section: Section) -> Backend:
    service = _service(section.section("service")) if section.has("service") else None
    hosts = section.items("hosts", lambda item, where: _host(Section(item, where)))
    tls = _tls(section.section("tls")) if section.has("tls") else None
    asked = section.flag("asked", default=bool(hosts))
    health = section.text("healthPath", "/ready")
    if not health.startswith("/"):
        raise section.refuse("healthPath", health, "a path")
    wakes = _wakes(section.section("wakes")) if section.has("wakes") else None
    section.end()
    if (service is None) == (not hosts):
        raise DocumentError(f"{section.where} needs either service or hosts")
    if wakes is not None and service is None:
        raise DocumentError(f"{section.where}.wakes is given beside hosts; it is for a service only")
    return Backend(service, hosts, tls, asked, health, wakes)


def _wakes(section: Section) -> Wakes:
    found = Wakes(
        hold_seconds=section.whole("holdSeconds", 1, _DAY, 300),
        most=section.whole("most", 1, MOST_HELD, 100),
        keys=section.flag("keys", default=True),
        body_bytes=section.whole("bodyBytes", LEAST_KEPT, MOST_KEPT, LEAST_KEPT),
    )
    section.end()
    return found


def _service(section: Section) -> Service:
    found = Service(
        namespace=_pattern(section, "namespace", re.compile(r"[a-z0-9][-a-z0-9]{0,62}"), "a namespace"),
        name=_pattern(section, "name", _NAME, "the name of a Service"),
        port=section.text("port", "http"),
    )
    section.end()
    return found


def _host(section: Section) -> Host:
    found = Host(
        _pattern(section, "address", _HOST, "a DNS name or an address"), section.whole("port", 1, 65_535)
    )
    section.end()
    return found


def _tls(section: Section) -> Tls:
    name = _pattern(section, "serverName", _HOST, "the name that the certificate carries")
    found = Tls(name, section.text("caFile", "/etc/ssl/certs/ca-certificates.crt"))
    section.end()
    return found


def _variant(section: Section, backends: Mapping[str, Backend]) -> Variant:
    names = section.texts("backends")
    section.end()
    for name in names:
        if name not in backends:
            raise section.refuse("backends", name, "of " + ", ".join(sorted(backends)))
    if not names or len(set(names)) != len(names):
        raise section.refuse("backends", [*names], "at least one backend, each once")
    return Variant(names)


def _route(section: Section, variants: Mapping[str, Variant], keys: Mapping[str, Key]) -> Route:
    name = _pattern(section, "name", _NAME, _NAMES)
    experiment = section.text("experiment", name)
    if not _NAME.fullmatch(experiment):
        raise section.refuse("experiment", experiment, _NAMES)
    match = _match(section.section("match"), keys)
    weights = weights_of(section, "weights", variants)
    sticky = None
    if section.has("sticky"):
        sticky = section.text("sticky").lower()
        if not _HEADER.fullmatch(sticky):
            raise section.refuse("sticky", sticky, "'key' or the name of a header that names the user")
    section.end()
    return Route(name, experiment, match, weights, sticky)


def _match(section: Section, keys: Mapping[str, Key]) -> Match:
    headers: dict[str, str] = {}
    for name, value in section.mapping("headers").items():
        if not _HEADER.fullmatch(name.lower()):
            raise section.refuse(f"headers.{name}", value, "under the name of a header")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise section.refuse(f"headers.{name}", value, "a string of printable ASCII")
        headers[name.lower()] = value
    named = section.texts("keys")
    for name in named:
        if name not in keys:
            raise section.refuse("keys", name, "of " + (", ".join(sorted(keys)) or "the document's keys"))
    section.end()
    return Match(headers, named)


def weights_of(section: Section, key: str, variants: Mapping[str, Variant]) -> dict[str, int]:
    """Read weights by variant, as percent, into hundredths of a percent.

    Raises:
        DocumentError: one is unknown or no percentage, or together they are not 100.
    """
    found: dict[str, int] = {}
    for name, value in section.mapping(key).items():
        if name not in variants:
            raise section.refuse(key, name, "of " + ", ".join(sorted(variants)))
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:  # noqa: PLR2004 - percent
            raise section.refuse(f"{key}.{name}", value, "a percentage from 0 to 100")
        scaled = value * HUNDREDTHS
        if not math.isclose(scaled, round(scaled), abs_tol=1e-6):
            raise section.refuse(f"{key}.{name}", value, "a percentage with at most two decimals")
        found[name] = round(scaled)
    if sum(found.values()) != TOTAL:
        total = sum(found.values()) / HUNDREDTHS
        raise DocumentError(f"{section.where}.{key} are {total:g} together; they must be 100")
    return found


def _retries(section: Section) -> Retries:
    found = Retries(
        attempts=section.whole("attempts", 0, 5, 2),
        budget_percent=section.number("budgetPercent", 0, 100, 20),
        least=section.whole("least", 0, 100, 3),
        resets=section.flag("resets", default=False),
    )
    section.end()
    return found


def _ejection(section: Section) -> Ejection:
    found = Ejection(
        failures=section.whole("failures", 1, 100, 5),
        seconds=section.whole("seconds", 1, 3600, 10),
        most_percent=section.whole("mostPercent", 0, 100, 50),
    )
    section.end()
    return found
