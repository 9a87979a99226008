"""Checks of single values: each gives the value back, or raises `Refusal` with what is allowed."""

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from berth_components.arguments import Check, Refusal

T = TypeVar("T")

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_QUALIFIED = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_IMAGE = re.compile(
    r"(?P<name>[a-z0-9]([a-z0-9._-]*[a-z0-9])?(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
_FACTORS: dict[str, Decimal] = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000 ** (power + 1)) for power, unit in enumerate("kMGTP")},
    **{f"{unit}i": Decimal(1024 ** (power + 1)) for power, unit in enumerate("KMGTP")},
}
MIN_API_KEY = 16
KEY_SCOPES = ("admin", "feedback", "generate", "read")


def whole_number(minimum: int, maximum: int, unit: str = "") -> Check[int]:
    """A whole number within limits (both included); the unit is for the message."""
    allowed = f"a whole number from {minimum} to {maximum}{' ' + unit if unit else ''}"

    def check(value: Any) -> int:
        # Numbers that went through Pulumi's wire format come back as floats.
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            raise Refusal(allowed)
        return value

    return check


def number(above: float, maximum: float, unit: str = "") -> Check[float]:
    """A number greater than one limit and at most another."""
    allowed = f"a number above {above:g} and at most {maximum:g}{' ' + unit if unit else ''}"

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not above < value <= maximum:
            raise Refusal(allowed)
        return value

    return check


def boolean(value: Any) -> bool:
    """True or False, nothing that merely looks like it."""
    if not isinstance(value, bool):
        raise Refusal("True or False")
    return value


def choice(*allowed: str) -> Check[str]:
    """One of the given words."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise Refusal("one of " + ", ".join(allowed))
        return value

    return check


def text(pattern: str, allowed: str) -> Check[str]:
    """A string that matches the whole pattern."""
    compiled = re.compile(pattern)

    def check(value: Any) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise Refusal(allowed)
        return value

    return check


def dns_label(value: Any) -> str:
    """A name of a Kubernetes object that may become part of a DNS name."""
    if not isinstance(value, str) or not DNS_LABEL.fullmatch(value):
        raise Refusal(
            "1 to 63 lower-case letters, digits and '-', beginning and ending with a letter or digit"
        )
    return value


def server_name(value: Any) -> str:
    """A name that a Service accepts, with room for the suffixes of a component's own objects."""
    if not isinstance(value, str) or not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", value):
        raise Refusal("1 to 40 lower-case letters, digits and '-', beginning with a letter")
    return value


def qualified_name(value: Any) -> str:
    """A label key, taint key or extended resource, such as nvidia.com/gpu."""
    if not isinstance(value, str) or not _QUALIFIED.fullmatch(value):
        raise Refusal("a Kubernetes qualified name such as nvidia.com/gpu")
    return value


def label_value(value: Any) -> str:
    """A label's value: at most 63 characters."""
    if not isinstance(value, str) or not re.fullmatch(
        r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", value
    ):
        raise Refusal("at most 63 letters, digits, '-', '_' and '.'", "quote numbers and booleans")
    return value


def plain_text(value: Any) -> str:
    """Any string but an empty one."""
    if not isinstance(value, str) or not value.strip():
        raise Refusal("a string that is not empty")
    return value


def image(value: Any) -> str:
    """A container image by tag or digest, never by the moving tag `latest`."""
    match = _IMAGE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise Refusal(
            "an image reference such as registry.example/model-server:1.2.0 or …@sha256:<64 hex digits>"
        )
    if not match["digest"] and match["tag"] in {None, "latest"}:
        raise Refusal(
            "an image with a version or digest", "'latest' and no tag at all name another image every day"
        )
    return str(value)


def has_digest(reference: str) -> bool:
    """Whether an image reference is pinned to its content."""
    match = _IMAGE.fullmatch(reference)
    return bool(match and match["digest"])


def amount(value: str) -> Decimal:
    """A Kubernetes quantity as a number: CPUs or bytes."""
    match = _QUANTITY.fullmatch(value)
    if not match:
        raise Refusal("a Kubernetes quantity such as 500m, 2 or 16Gi")
    return Decimal(match[1]) * _FACTORS[match[2] or ""]


def quantity(value: Any) -> str:
    """A Kubernetes quantity greater than zero, as a string."""
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value) or amount(value) <= 0:
        raise Refusal("a string with a Kubernetes quantity above zero, such as '500m', '2' or '16Gi'")
    return value


def cidr(value: Any) -> str:
    """An address range whose host bits are zero, such as 10.20.0.0/16."""
    refusal = Refusal("an address range such as 10.20.0.0/16 (host bits zero)")
    if not isinstance(value, str) or "/" not in value:
        raise refusal
    try:
        ipaddress.ip_network(value)
    except ValueError:
        raise refusal from None
    return value


def is_everybody(cidrs: Sequence[str]) -> bool:
    """Whether address ranges hold the whole internet of IPv4 or IPv6, also when it is cut into pieces."""
    networks = [ipaddress.ip_network(cidr) for cidr in cidrs]
    four = ipaddress.collapse_addresses(n for n in networks if isinstance(n, ipaddress.IPv4Network))
    six = ipaddress.collapse_addresses(n for n in networks if isinstance(n, ipaddress.IPv6Network))
    return any(n.prefixlen == 0 for n in four) or any(n.prefixlen == 0 for n in six)


def sha256(value: Any) -> str:
    """A SHA-256 as 64 lower-case hex digits."""
    return text(r"[0-9a-f]{64}", "a SHA-256 as 64 lower-case hex digits")(value)


def list_of(check: Check[T], *, at_least: int = 0) -> Check[Sequence[T]]:
    """A list whose items pass a check."""

    def check_all(value: Any) -> Sequence[T]:
        if isinstance(value, str) or not isinstance(value, Sequence) or len(value) < at_least:
            raise Refusal(f"a list of at least {at_least}" if at_least else "a list")
        return [check(item) for item in value]

    return check_all


def mapping_of(key: Check[str], item: Check[T]) -> Check[Mapping[str, T]]:
    """A mapping whose keys and values pass checks."""

    def check_all(value: Any) -> Mapping[str, T]:
        if not isinstance(value, Mapping):
            raise Refusal("a mapping")
        return {key(name): item(content) for name, content in value.items()}

    return check_all


def _api_key(value: Any) -> str:
    if (
        not isinstance(value, str)
        or len(value) < MIN_API_KEY
        or not value.isascii()
        or not value.isprintable()
    ):
        raise Refusal(
            f"keys of at least {MIN_API_KEY} printable ASCII characters",
            "make one with: openssl rand -hex 24",
        )
    if value.startswith("{"):
        _check_key_file(value)
    return value


def _check_key_file(value: str) -> None:
    """A key with scopes and limits, as the gateway reads it."""
    allowed = 'a word, or JSON such as {"key": "…", "scopes": ["generate"], "requests_per_minute": 60}'
    try:
        given = json.loads(value)
        key, scopes = given["key"], given.get("scopes", ["generate"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Refusal(allowed) from None
    if unknown := set(given) - {"key", "scopes", "requests_per_minute", "max_concurrent"}:
        raise Refusal(f"{allowed}; not {', '.join(sorted(unknown))}")
    if not isinstance(scopes, list) or not scopes or not set(scopes) <= set(KEY_SCOPES):
        raise Refusal(f"scopes of {', '.join(KEY_SCOPES)}")
    if not isinstance(key, str) or len(key) < MIN_API_KEY or len(key.split()) != 1:
        raise Refusal(f"keys of one word of at least {MIN_API_KEY} characters")


def api_keys(value: Any) -> Mapping[str, str]:
    """API keys by the name of who holds them: at least one, none of them short."""
    name = text(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?", "names of lower-case letters, digits, '-' and '.'")
    keys = mapping_of(name, _api_key)(value)
    if not keys:
        raise Refusal(
            "at least one key", "or set allow_anonymous where everybody who reaches the server may use it"
        )
    return keys
