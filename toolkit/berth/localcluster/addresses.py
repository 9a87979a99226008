"""Which addresses and which names of kernel objects a cluster has.

Everything comes from 198.18.0.0/15, which RFC 2544 reserves for benchmarks: it meets no company network and
no VPN. It is cut into eight slots, one per cluster; a slot holds

    198.18.0.0/15 ─ slot 0 … 7, a /18 each
                      ├── /19 pods: a /24 for each of 32 nodes
                      ├── /20 Services: .1 the API server, .10 DNS
                      └── /24 the bridge: .1 this machine and the API server, .11 … .42 the nodes

Kernel objects carry the slot's number, never the cluster's name: two people's caches may hold clusters of
one name, and what a slot owns can be found and removed without any file.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

RANGE = IPv4Network("198.18.0.0/15")
SLOTS = 8
MAX_NODES = 32

# The protocol number that marks our routes among those of this machine (`ip route show proto 198`).
ROUTE_PROTOCOL = "198"

# As iptables writes it: whatever begins so.
ANY_BRIDGE = "berth+"

API_PORT = 6443
NODE_PORTS = "30000:32767"
_LIKE_A_DEFAULT_ROUTE = 8
ETCD_CLIENT_PORT = 12379
ETCD_PEER_PORT = 12380


@dataclass(frozen=True)
class Node:
    """The addresses and kernel objects of one node."""

    slot: int
    index: int
    cluster: str

    @property
    def name(self) -> str:
        """The Kubernetes node's name."""
        return f"{self.cluster}-{self.index}"

    @property
    def address(self) -> IPv4Address:
        """The node's address on the bridge."""
        return Plan(self.slot).bridge_network[10 + self.index]

    @property
    def pods(self) -> IPv4Network:
        """The addresses of the node's pods."""
        return list(Plan(self.slot).pods.subnets(new_prefix=24))[self.index - 1]

    @property
    def veth(self) -> str:
        """This machine's end of the node's cable (15 characters at most)."""
        return f"berth{self.slot}n{self.index}"

    @property
    def cgroup(self) -> str:
        """The cgroup that holds all pods of the node, directly below each hierarchy's root."""
        return f"berth{self.slot}-n{self.index}"


@dataclass(frozen=True)
class Plan:
    """The addresses and kernel objects of the cluster in one slot."""

    slot: int

    def __post_init__(self) -> None:
        if not 0 <= self.slot < SLOTS:
            raise ValueError(f"slot {self.slot}: want 0 to {SLOTS - 1}")

    @property
    def network(self) -> IPv4Network:
        """All addresses of the slot."""
        return list(RANGE.subnets(new_prefix=18))[self.slot]

    @property
    def pods(self) -> IPv4Network:
        """The addresses of all pods."""
        return next(self.network.subnets(new_prefix=19))

    @property
    def services(self) -> IPv4Network:
        """The addresses of Services."""
        return list(self.network.subnets(new_prefix=20))[2]

    @property
    def bridge_network(self) -> IPv4Network:
        """The addresses on the bridge."""
        return next(list(self.network.subnets(new_prefix=20))[3].subnets(new_prefix=24))

    @property
    def gateway(self) -> IPv4Address:
        """This machine's address on the bridge, where the API server listens."""
        return self.bridge_network[1]

    @property
    def api_service(self) -> IPv4Address:
        """The address of the Service `kubernetes`."""
        return self.services[1]

    @property
    def dns_service(self) -> IPv4Address:
        """The address of the Service `kube-dns`."""
        return self.services[10]

    @property
    def loopback(self) -> IPv4Address:
        """Where etcd listens: a loopback address of the slot's own, so ports need no planning."""
        return IPv4Address("127.198.18.1") + self.slot

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.gateway}:{API_PORT}"

    @property
    def bridge(self) -> str:
        """The bridge's name."""
        return f"berth{self.slot}"

    @property
    def chain(self) -> str:
        """The start of the names of the iptables chains."""
        return f"BERTH-{self.slot}"

    def node(self, index: int, cluster: str) -> Node:
        """Node ``index`` (1 to 32) of the cluster called ``cluster``."""
        if not 1 <= index <= MAX_NODES:
            raise ValueError(f"node {index}: want 1 to {MAX_NODES}")
        return Node(self.slot, index, cluster)


def overlapping(plan: Plan, routes: Iterable[str]) -> str | None:
    """The first of ``routes`` that meets the slot, or None.

    ``routes`` are destinations as `ip route` prints them, without our own.
    """
    for route in routes:
        if route == "default":
            continue
        network = ipaddress.ip_network(route, strict=False)
        # A VPN that takes all traffic halves the Internet (0.0.0.0/1, 128.0.0.0/1): that is a default route,
        # and ours, being longer, win over it.
        if network.prefixlen < _LIKE_A_DEFAULT_ROUTE:
            continue
        if isinstance(network, IPv4Network) and network.overlaps(plan.network):
            return route
    return None
