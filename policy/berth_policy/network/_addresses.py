"""Address ranges as network policies and Services name them."""

import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
METADATA: tuple[Network, ...] = (
    ipaddress.ip_network("169.254.169.254/32"),
    ipaddress.ip_network("fd00:ec2::254/128"),
)
"""Where clouds hand out a node's credentials, by IPv4 and, on AWS, IPv6."""
_OWN: tuple[Network, ...] = tuple(
    ipaddress.ip_network(one)
    for one in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15"),
        *("127.0.0.0/8", "169.254.0.0/16", "fc00::/7", "fe80::/10", "::1/128"),
    )
)
"""Ranges that no router of the internet knows (RFC 1918, 6598, 2544, 4193, 4291)."""
_WIDE = {4: 8, 6: 16}
"""A range of fewer fixed bits is as good as everybody."""


def network(text: object) -> Network | None:
    """A range; None where the text is none."""
    try:
        return ipaddress.ip_network(str(text), strict=False)
    except ValueError:
        return None


def within(inner: Network, outer: Network) -> bool:
    """Whether a range lies in another one."""
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False


def holds_metadata(cidr: object, excluded: Sequence[object]) -> bool:
    """Whether a range, without what is excluded, holds an address of a metadata server."""
    outer = network(cidr)
    if outer is None:
        return False
    gone = [one for one in map(network, excluded) if one is not None]
    return any(
        within(address, outer) and not any(within(address, one) for one in gone) for address in METADATA
    )


def is_everybody(cidr: object) -> bool:
    """Whether a range is the internet, or so large a part of it that it may as well be."""
    found = network(cidr)
    return found is not None and found.prefixlen < _WIDE[found.version]


def is_own(cidr: object) -> bool:
    """Whether a range lies in private address space."""
    found = network(cidr)
    return found is not None and any(within(found, one) for one in _OWN)
