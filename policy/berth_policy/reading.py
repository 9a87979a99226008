"""Reading cloud resources: what is there, what it says, and which addresses it lets in."""

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pulumi_policy.proxy import UnknownValueError

from berth_policy.rule import Finding
from berth_policy.subject import Resource, at, mapping, sequence

_WIDEST_V4 = 8
"""Shortest prefix of IPv4 that is not the whole internet: two halves of it are one /0."""
_WIDEST_V6 = 16
_LONGEST = 60


def has(value: object, *path: str) -> bool:
    """Whether something is below keys of nested mappings; a value that a preview does not know is there."""
    *above, last = path
    inner = mapping(at(value, *above) if above else value)
    return last in [*inner] and not _null(inner, last)


def peek(value: object, *path: str) -> Any:
    """What is below keys of nested mappings, where it is known; None where it is not there, or not known."""
    try:
        return at(value, *path)
    except UnknownValueError:
        return None


def on(value: object) -> bool:
    """Whether a provider takes a value for true; some switches of AWS' are strings."""
    return value is True or (isinstance(value, str) and value.lower() == "true")


def off(value: object) -> bool:
    """Whether a provider takes a value for false, said in so many words: absent is not false."""
    return value is False or (isinstance(value, str) and value.lower() == "false")


def said(value: object) -> str:
    """A value as a message shows it."""
    if value is None:
        return "absent"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST else value[:_LONGEST] + "…")
    inner = [said(one) for one in sequence(value)]
    return f"[{', '.join(inner)}]" if not isinstance(value, Mapping) else "an object"


def expect(
    props: object, path: str, allowed: Callable[[object], bool], wanted: str, absent: str = ""
) -> Iterator[Finding]:
    """One finding where a value is not allowed.

    Args:
        props: the inputs.
        path: keys below each other, with dots.
        allowed: tells, also of None, which is absent.
        wanted: what would be allowed.
        absent: what the cloud takes where nothing is said.
    """
    value = at(props, *path.split("."))
    if not allowed(value):
        default = f", so {absent}" if value is None and absent else ""
        yield Finding(f"{path} is {said(value)}{default}", wanted)


def require(props: object, path: str, wanted: str) -> Iterator[Finding]:
    """One finding where nothing is said; what a preview does not know is said."""
    if not has(props, *path.split(".")):
        yield Finding(f"{path} is absent", wanted)


def items(props: object, *path: str) -> list[tuple[int, object]]:
    """The elements of a list below keys, with their places; the whole list must be known."""
    return [*enumerate(sequence(at(props, *path)))]


def one_or_many(value: object) -> list[object]:
    """A list as it is, one value as a list of it, nothing as an empty one."""
    if value is None:
        return []
    return [*sequence(value)] if not isinstance(value, str | Mapping) else [value]


def anywhere(cidr: object) -> bool:
    """Whether addresses are the internet: everything, or so much of it that a few make up everything."""
    if not isinstance(cidr, str):
        return False
    try:
        network = ipaddress.ip_network(cidr.strip(), strict=False)
    except ValueError:
        return False
    if network.is_private and network.prefixlen > 0:
        return False
    return network.prefixlen < (_WIDEST_V4 if network.version == 4 else _WIDEST_V6)  # noqa: PLR2004


def made_from(resource: Resource, key: str, *tokens: str) -> bool:
    """Whether an input is made of the output of a resource of one of these types, by their beginnings."""
    return any(
        urn.split("::")[-2].rpartition("$")[2].startswith(tokens) for urn in resource.references.get(key, ())
    )


def _null(inner: Mapping[str, object], key: str) -> bool:
    try:
        return inner[key] is None
    except UnknownValueError:
        return False
