"""The document that a router's controller follows, from the args of a `Router`.

Its form is the controller's (docs/router.md); the tests read what is made here with the controller itself.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi

from berth_components import checks
from berth_components import router_args as declared
from berth_components.arguments import Arguments, Refusal, combine
from berth_components.model_server_gateway import PAYLOAD_BYTES

PORT, METRICS_PORT = 8080, 9000
FOLDER = "/run/berth-router"
TLS_FOLDER = "/etc/berth-router-tls"
CA_FOLDER = "/etc/berth-router-ca"
KEYS_FOLDER = "/etc/berth-router-keys"
"""A folder for each backend that wakes, with the keys that may wake it."""
SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"
LEAST_KEPT, MOST_KEPT = 1 << 20, 8 << 20
"""Bytes of a body that the router may keep for who waits, as its controller allows them."""
_MILLION = 1_000_000
_DAY = 86_400
_ALL = 10_000
_HEADER = "a header's name of letters, digits and '-'"
_header = checks.text(r"[A-Za-z0-9]([-A-Za-z0-9]{0,62}[A-Za-z0-9])?", _HEADER)
name_check = checks.text(
    r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?",
    "1 to 63 lower-case letters, digits and '-', beginning with a letter",
)
_words = checks.text(r"[\x21-\x7e]([\x20-\x7e]{0,254}[\x21-\x7e])?", "a string of printable ASCII")
host_check = checks.text(r"[A-Za-z0-9]([-A-Za-z0-9.:]{0,251}[A-Za-z0-9])?", "a DNS name or an address")

Part = Mapping[str, Any]
"""A part of the document; values in it may be outputs."""


@dataclass
class Found:
    """What backends need of the pod and its network policy beside the document.

    Attributes:
        ca_secrets: with the authorities of gateways.
        ports_elsewhere: of hosts out of the cluster.
        wakes: of backends that wake, by name: the Secret with the keys that may wake it, None where
            everybody may.
    """

    ca_secrets: list[pulumi.Input[str]] = field(default_factory=list)
    ports_elsewhere: list[pulumi.Input[int]] = field(default_factory=list)
    wakes: dict[str, pulumi.Input[str] | None] = field(default_factory=dict)


def listener(given: Arguments, *, tls: bool, trusted_hops: pulumi.Input[int]) -> Part:
    """What clients meet. Envoy reads it once, so a change needs new pods."""
    times = given.group("timeouts", declared.RouterTimeoutsArgs)
    found = {
        "port": PORT,
        "metricsPort": METRICS_PORT,
        "streamIdleSeconds": times.read("stream_idle", checks.whole_number(1, _DAY, "seconds"), 600),
        "requestSeconds": times.read("request", checks.whole_number(1, _DAY, "seconds"), 3600),
        "bodySeconds": times.read("body", checks.whole_number(1, 3600, "seconds"), 60),
        "trustedHops": trusted_hops,
        "accessLog": given.read("access_log", checks.boolean, True),
    }
    return {**found, "tls": TLS_FOLDER} if tls else found


def limits(given: Arguments) -> tuple[Part | None, Mapping[str, Part]]:
    """The limit of each key, and those of single keys."""
    whole = _limit(given.group("limit", declared.RouterLimitArgs)) if "limit" in given else None
    named = given.named("key_limits", declared.RouterLimitArgs)
    return whole, {name: _limit(group) for name, group in named.items()}


def _limit(group: Arguments) -> Part:
    found = {"requestsPerMinute": group.read("requests_per_minute", checks.whole_number(1, _MILLION))}
    if "burst" in group:
        found["burst"] = group.read("burst", checks.whole_number(1, _MILLION))
    return found


def backends(
    given: Arguments, namespace: pulumi.Input[str], listener: Part
) -> tuple[dict[str, Part], dict[str, Part], Found]:
    """Backends, variants, and what they need; `listener` has the times after which requests are ended."""
    variants: dict[str, Part] = {}
    needs = Found()
    shared = given.named("backends", declared.RouterBackendArgs)
    found: dict[str, Part] = {}
    for name, part in shared.items():
        _named(given, "backends", name)
        found[name] = _backend(part, name, namespace, needs, listener)
    groups = given.named("variants", declared.RouterVariantArgs)
    if not groups:
        raise given.refuse("variants", "empty", "at least one variant")
    for name, variant in groups.items():
        _named(given, "variants", name)
        parts = variant.groups("backends", declared.RouterBackendArgs)
        if not parts:
            raise variant.refuse("backends", "empty", "at least one backend")
        keys = []
        for number, part in enumerate(parts):
            if "name" in part:
                key = part.plain("name", checks.choice(*shared))
                if key in keys:
                    raise part.refuse("name", f"{key} again", "each backend once")
            else:
                key = name if number == 0 else f"{name}-{number + 1}"
                if key in found:
                    taken = f"called {key}, as another one is"
                    raise variant.refuse("backends", taken, "a variant's other name")
                found[key] = _backend(part, key, namespace, needs, listener)
            keys.append(key)
        if len(keys) > 1 and (woken := [key for key in keys if key in needs.wakes]):
            said = f"of several, and {woken[0]} wakes"
            raise variant.refuse(
                "backends", said, "only the one that wakes", "the others would answer meanwhile"
            )
        variants[name] = {"backends": keys}
    return found, variants, needs


def _backend(part: Arguments, name: str, namespace: pulumi.Input[str], needs: Found, listener: Part) -> Part:
    hosts = part.groups("hosts", declared.RouterHostArgs)
    if ("service" in part) == bool(hosts):
        raise part.refuse("service", "given beside hosts" if hosts else "missing", "either service or hosts")
    if "name" in part:
        raise part.refuse("name", "given", "only among a variant's backends")
    found: dict[str, Any] = {}
    if "asked" in part:
        found["asked"] = part.read("asked", checks.boolean)
    if hosts:
        found["hosts"] = [
            {
                "address": host.read("address", host_check),
                "port": host.read("port", checks.whole_number(1, 65_535)),
            }
            for host in hosts
        ]
        needs.ports_elsewhere.extend(host["port"] for host in found["hosts"])
    else:
        found["service"] = {"namespace": namespace, "name": part.read("service", checks.server_name)}
    if "tls_server_name" in part:
        found["tls"] = _tls(part, needs)
    elif "ca_secret" in part:
        raise part.refuse("ca_secret", "given", "only with tls_server_name")
    if "wakes" in part:
        found["wakes"] = _wakes(part, name, needs, listener)
    return found


def _tls(part: Arguments, needs: Found) -> Part:
    ca = SYSTEM_CA
    if "ca_secret" in part:
        ca = f"{CA_FOLDER}/{len(needs.ca_secrets)}/ca.crt"
        needs.ca_secrets.append(part.read("ca_secret", checks.dns_label))
    return {"serverName": part.read("tls_server_name", host_check), "caFile": ca}


def _wakes(part: Arguments, name: str, needs: Found, listener: Part) -> Part:
    """How requests are held for a backend that has no replica."""
    if "hosts" in part:
        raise part.refuse("wakes", "given", "only with service", "whether hosts elsewhere sleep is not seen")
    if "asked" in part:
        raise part.refuse("wakes", "given beside asked", "one of the two")
    group = part.group("wakes", declared.RouterWakesArgs)
    anonymous = group.plain("allow_anonymous", checks.boolean, False)
    if ("keys_secret" in group) == anonymous:
        said = "given beside allow_anonymous: True" if anonymous else "missing"
        raise group.refuse(
            "keys_secret", said, "exactly one of keys_secret and allow_anonymous: True",
            "nobody without a key should start what costs",
        )  # fmt: skip
    needs.wakes[name] = group.maybe("keys_secret", checks.plain_text)

    def shorter(hold: int, idle: int, whole: int) -> int:
        for key, most in (("stream_idle", idle), ("request", whole)):
            if hold >= most:
                allowed = f"less than timeouts.{key}, which is {int(most)}"
                raise group.refuse("hold_seconds", int(hold), allowed, "Envoy would end what is held")
        return hold

    return {
        "holdSeconds": combine(
            shorter,
            group.read("hold_seconds", checks.whole_number(1, _DAY, "seconds"), 300),
            listener["streamIdleSeconds"],
            listener["requestSeconds"],
        ),
        "most": group.read("most", checks.whole_number(1, 1000, "requests"), 100),
        "bodyBytes": group.read(
            "body_bytes", checks.whole_number(LEAST_KEPT, MOST_KEPT, "bytes"), PAYLOAD_BYTES
        ),
        "keys": not anonymous,
    }


def routes(given: Arguments, variants: Mapping[str, Part]) -> tuple[list[Part], set[str]]:
    """The routes, and the names of the keys that they ask for."""
    groups = given.groups("routes", declared.RouterRouteArgs)
    if not groups:
        raise given.refuse("routes", "empty", "at least one route")
    named: set[str] = set()
    found: list[Part] = []
    for number, group in enumerate(groups):
        route = _route(group, variants)
        match = route.get("match", {})
        if number == len(groups) - 1 and match:
            raise group.refuse("keys" if "keys" in match else "headers", "given", "nothing in the last route",
                               "it takes what no other one takes")  # fmt: skip
        if any(route["name"] == other["name"] for other in found):
            raise group.refuse("name", f"{route['name']} again", "each name once")
        named |= {*match.get("keys", ())}
        found.append(route)
    return found, named


def _route(group: Arguments, variants: Mapping[str, Part]) -> dict[str, Any]:
    route: dict[str, Any] = {"name": group.plain("name", name_check), "weights": _weights(group, variants)}
    if match := _match(group):
        route["match"] = match
    for key, check in (("sticky", _header), ("experiment", name_check)):
        if key in group:
            route[key] = group.read(key, check)
    return route


def _weights(group: Arguments, variants: Mapping[str, Part]) -> pulumi.Input[dict[str, float]]:
    weights = group.plain_mapping("weights")
    for name in weights:
        if name not in variants:
            raise group.refuse("weights", f"of '{name}'", "of " + ", ".join(sorted(variants)))

    def whole(*percents: float) -> dict[str, float]:
        given = dict(zip(weights, percents, strict=True))
        for name, percent in given.items():
            group.checked(f"weights.{name}", _percent, percent)
        if round(sum(percents) * 100) != _ALL:
            raise group.refuse("weights", f"{sum(percents):g} together", "100 together")
        # Numbers that went through Pulumi's wire format come back as floats.
        return {
            name: int(percent) if float(percent).is_integer() else percent for name, percent in given.items()
        }

    return combine(whole, *weights.values())


def _percent(value: Any) -> float:
    if not isinstance(value, bool) and isinstance(value, int | float):
        hundredths = value * 100
        if 0 <= hundredths <= _ALL and math.isclose(hundredths, round(hundredths), abs_tol=1e-6):
            return value
    raise Refusal("a percentage from 0 to 100 with at most two decimals")


def _match(group: Arguments) -> dict[str, Any]:
    match: dict[str, Any] = {}
    headers = group.plain_mapping("headers")
    if headers:
        match["headers"] = {
            group.checked("headers", _header, name): combine(
                lambda value: group.checked("headers", _words, value), value
            )
            for name, value in headers.items()
        }
    nobody: Sequence[str] = ()
    if keys := group.plain("keys", checks.list_of(checks.plain_text), nobody):
        match["keys"] = [*keys]
    return match


def keys(
    given: Arguments, named: set[str], own: Mapping[str, Part]
) -> pulumi.Input[Mapping[str, Mapping[str, Any]]]:
    """The keys that routes and limits name, by their SHA-256: an output, since the keys are secret.

    A digest of a key that nobody can guess tells nothing, so it is shown: else nobody could see a change.
    """
    wanted = sorted({*named, *own})
    if not wanted:
        return {}
    if "api_keys" not in given:
        raise given.refuse(
            "api_keys", "missing", "the keys that routes or key_limits name: " + ", ".join(wanted)
        )

    def digests(known: Mapping[str, str], limits: Mapping[str, Part]) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for name in wanted:
            if name not in known:
                there = ", ".join(sorted(known))
                raise given.refuse("key_limits" if name in own else "routes", f"of the key '{name}'",
                                   f"of the keys {there}")  # fmt: skip
            digest = hashlib.sha256(_bare(known[name]).encode()).hexdigest()
            found[name] = {"sha256": digest, **({"limit": limits[name]} if name in limits else {})}
        return found

    secret = pulumi.Output.secret(given.read("api_keys", checks.api_keys))
    return pulumi.Output.unsecret(pulumi.Output.all(secret, dict(own)).apply(lambda both: digests(*both)))


def _bare(entry: str) -> str:
    """The key itself, of an entry that may be JSON with scopes and limits."""
    return str(json.loads(entry)["key"]) if entry.startswith("{") else entry


def _named(given: Arguments, key: str, name: str) -> None:
    given.checked(key, name_check, name)


def retries(given: Arguments) -> Part:
    """Further attempts."""
    group = given.group("retries", declared.RouterRetriesArgs)
    return {
        "attempts": group.read("attempts", checks.whole_number(0, 5), 2),
        "budgetPercent": group.read("budget_percent", checks.number(-1e-9, 100, "percent"), 20),
        **({"resets": group.read("resets", checks.boolean)} if "resets" in group else {}),
    }


def ejection(given: Arguments) -> Part:
    """When a pod is left out."""
    group = given.group("ejection", declared.RouterEjectionArgs)
    return {
        "failures": group.read("failures", checks.whole_number(1, 100), 5),
        "seconds": group.read("seconds", checks.whole_number(1, 3600, "seconds"), 10),
        "mostPercent": group.read("most_percent", checks.whole_number(0, 100, "percent"), 50),
    }


def connect_seconds(given: Arguments) -> pulumi.Input[float]:
    """How long a connection to a gateway may take."""
    times = given.group("timeouts", declared.RouterTimeoutsArgs)
    return times.read("connect", checks.number(0.0999, 60, "seconds"), 2)


def text(document: Part) -> pulumi.Input[str]:
    """The document as it is stored."""
    return combine(lambda known: json.dumps(known, sort_keys=False, indent=1), document)


def checksum_of(parts: Sequence[Any]) -> pulumi.Input[str]:
    """Changes with what Envoy reads once."""
    return combine(
        lambda known: hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16], parts
    )
