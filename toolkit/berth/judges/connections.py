"""Who may open a connection to whom: the rendered NetworkPolicies, as cyclonus understands them.

Every pair of peers of which one is a pod of the stack is asked, in both directions and on every port that
matters, and all that is allowed is compared with a file that a person wrote or read: what it does not list
must be refused.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from .errors import JudgeError
from .manifests import pod_templates
from .program import MODULE, ask
from .verdict import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from .manifests import Manifest

JUDGE = "connections"
NAME_LABEL = "kubernetes.io/metadata.name"
# Who else is in a cluster: none of them is ours, and no policy of ours selects them.
STRANGERS = {
    "default/stranger": {},
    "kube-system/dns": {"k8s-app": "kube-dns"},
    "monitoring/prometheus": {"app.kubernetes.io/name": "prometheus"},
}
# Who is outside of it. The first two are ranges for documentation: they stand for the Internet.
OUTSIDE = {
    "internet": "203.0.113.10",
    "internet-v6": "2001:db8::10",
    "private-10": "10.99.98.97",
    "private-172": "172.31.30.29",
    "private-192": "192.168.77.66",
    "carrier-nat": "100.64.5.5",
    "node-local-dns": "169.254.20.10",
    "eks-auto-dns": "10.100.0.10",
    "eks-auto-dns-172": "172.20.0.10",
    # Where clouds hand out credentials: AWS and Google (Azure too), AWS by IPv6, EKS' Pod Identity agent.
    "metadata": "169.254.169.254",
    "metadata-v6": "fd00:ec2::254",
    "pod-identity": "169.254.170.23",
}
# SSH, HTTP, HTTPS, an API server, what we listen on, kubelets and etcd.
PORTS = (22, 53, 80, 443, 2379, 6443, 8000, 8080, 9000, 10250)
_KEYS = {"pods", "outside", "groups", "connections"}


@dataclass(frozen=True, order=True)
class Connection:
    """From one peer to another on a port, such as `8000` (TCP) or `53/UDP`."""

    source: str
    destination: str
    port: str

    def __str__(self) -> str:
        return f"{self.source} → {self.destination}:{self.port}"


@dataclass(frozen=True)
class Peer:
    """A pod, with labels and its namespace's, or an address outside of the cluster."""

    name: str
    address: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    ours: bool = False
    ports: Mapping[int, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What `judge network` reads."""
        return {
            "ip": self.address,
            "namespace": self.namespace,
            "namespaceLabels": dict(self.namespace_labels),
            "labels": dict(self.labels),
        }


@dataclass(frozen=True)
class Expected:
    """What a file of expected connections says."""

    pods: str
    """The range that pods have their addresses from: it matters where a policy names ranges."""
    outside: dict[str, str]
    connections: frozenset[Connection]


def version() -> str:
    """Cyclonus' version, such as `v0.5.6`."""
    found = re.search(r"mattfenwick/cyclonus (\S+)", (MODULE / "go.mod").read_text())
    assert found is not None  # noqa: S101 (go.mod is ours)
    return found[1]


def read_expected(file: Path) -> Expected:
    """Read what a stack is expected to allow.

    Raises:
        JudgeError: names the file, the entry, and what is wrong.
    """
    try:
        read = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise JudgeError(f"{file} is no YAML: {error}") from None
    if not isinstance(read, dict) or set(read) - _KEYS or not {"pods", "connections"} <= set(read):
        raise JudgeError(f"{file}: the keys are {', '.join(sorted(_KEYS))}; pods and connections are needed")
    connections = _connections(file, read)
    outside = {**OUTSIDE, **{str(name): str(one) for name, one in (read.get("outside") or {}).items()}}
    for name, address in outside.items():
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise JudgeError(f"{file}: outside.{name}: {address!r} is no address") from None
    try:
        ipaddress.ip_network(str(read["pods"]))
    except ValueError as error:
        raise JudgeError(f"{file}: pods: {error}") from None
    return Expected(str(read["pods"]), outside, connections)


def _connections(file: Path, read: Mapping[str, Any]) -> frozenset[Connection]:
    groups = {str(name): list(members) for name, members in (read.get("groups") or {}).items()}

    def members(names: Sequence[Any], seen: tuple[str, ...] = ()) -> Iterable[str]:
        for name in map(str, names):
            if name in seen:
                raise JudgeError(f"{file}: group {name} contains itself")
            if name in groups:
                yield from members(groups[name], (*seen, name))
            else:
                yield name

    connections: set[Connection] = set()
    for index, entry in enumerate(read["connections"] or [], 1):
        if not isinstance(entry, dict) or set(entry) != {"from", "to", "ports", "why"}:
            raise JudgeError(f"{file}: connection {index}: {{from: […], to: […], ports: […], why}} is wanted")
        if not all(isinstance(entry[key], list) for key in ("from", "to", "ports")) or not entry["why"]:
            raise JudgeError(f"{file}: connection {index}: from, to and ports are lists, why is a text")
        connections.update(
            Connection(source, destination, str(port))
            for source, destination, port in itertools.product(
                members(entry["from"]), members(entry["to"]), entry["ports"]
            )
        )
    return frozenset(connections)


def _peers(manifests: Sequence[Manifest], pods: str, outside: Mapping[str, str]) -> list[Peer]:
    namespaces = {
        one.name: {**(one.body["metadata"].get("labels") or {}), NAME_LABEL: one.name}
        for one in manifests
        if one.kind == "Namespace"
    }
    addresses = map(str, itertools.islice(ipaddress.ip_network(pods).hosts(), 10, None))
    peers = []
    for template in pod_templates(manifests):
        if template.spec.get("hostNetwork"):
            raise JudgeError(
                f"{template.stack}: {template.object} is on its node's network, where no policy holds"
            )
        peers.append(
            Peer(
                f"{template.namespace}/{template.name}",
                next(addresses),
                template.namespace,
                template.labels,
                namespaces.get(template.namespace, {NAME_LABEL: template.namespace}),
                ours=True,
                ports=template.ports(),
            )
        )
    strangers = {**{f"{name}/stranger": {} for name in namespaces}, **STRANGERS}
    for name, labels in strangers.items():
        namespace = name.partition("/")[0]
        peers.append(
            Peer(
                name,
                next(addresses),
                namespace,
                labels,
                namespaces.get(namespace, {NAME_LABEL: namespace}),
            )
        )
    return peers + [Peer(name, address) for name, address in outside.items()]


def _ports(peers: Iterable[Peer], policies: Iterable[Mapping[str, Any]]) -> list[tuple[int, str]]:
    numbers = {*PORTS, *(number for peer in peers for number in peer.ports)}
    for policy in policies:
        for direction in ("ingress", "egress"):
            for rule in policy["spec"].get(direction) or []:
                for port in rule.get("ports") or []:
                    ends = (port.get("port"), port.get("endPort"))
                    numbers.update(end for end in ends if isinstance(end, int))
    return [*((number, "TCP") for number in sorted(numbers)), (53, "UDP")]


@dataclass(frozen=True)
class Allowed:
    """What the policies of one stack allow."""

    asked: int
    connections: frozenset[Connection]


def allowed_connections(manifests: Sequence[Manifest], expected: Expected, program: Path) -> Allowed:
    """Ask about every pair of which at least one is a pod of this one cluster, on every port.

    A stranger in a namespace of the stack has no labels, so that only policies for all pods hold it. A pod
    may be asked about itself: that is another replica.
    """
    policies = [one.body for one in manifests if one.kind == "NetworkPolicy"]
    peers = _peers(manifests, expected.pods, expected.outside)
    ports = _ports(peers, policies)
    held = {f"{one.namespace}/stranger" for one in peers if one.ours}
    asked = []
    questions = []
    for source, destination in itertools.product(peers, peers):
        if not any(one.ours or one.name in held for one in (source, destination)):
            continue
        for number, protocol in ports:
            name = str(number) if protocol == "TCP" else f"{number}/{protocol}"
            asked.append(Connection(source.name, destination.name, name))
            questions.append(
                {
                    "from": source.to_json(),
                    "to": destination.to_json(),
                    "port": number,
                    "portName": destination.ports.get(number, ""),
                    "protocol": protocol,
                }
            )
    answers = ask(program, "network", {"policies": policies, "connections": questions})["answers"]
    return Allowed(
        len(asked),
        frozenset(
            connection
            for connection, answer in zip(asked, answers, strict=True)
            if answer["ingress"] and answer["egress"]
        ),
    )


def by_place(manifests: Iterable[Manifest]) -> dict[str, list[Manifest]]:
    """Manifests by the name of their cluster's file: `STACK` or `STACK.CLUSTER`."""
    found: dict[str, list[Manifest]] = defaultdict(list)
    for manifest in manifests:
        found[manifest.place].append(manifest)
    return found


def judge_connections(manifests: Iterable[Manifest], folder: Path, program: Path) -> Verdict:
    """What each cluster's policies allow is exactly what its file lists.

    That is ``folder``/STACK.yaml, or ``folder``/STACK.CLUSTER.yaml where a stack has several clusters.
    """
    found: list[Finding] = []
    asked = allowed = 0
    for place, ours in by_place(manifests).items():
        stack = ours[0].stack
        file = folder / f"{place}.yaml"
        if not file.is_file():
            found.append(
                Finding(
                    stack,
                    "every pod",
                    "unread",
                    f"nobody has said what may connect in {place}: `./berth judge {stack} --connections` "
                    f"prints it; read it, say why for each, and keep it as {file}",
                )
            )
            continue
        expected = read_expected(file)
        is_so = allowed_connections(ours, expected, program)
        asked += is_so.asked
        allowed += len(is_so.connections)
        found += [
            Finding(stack, one.destination, "allowed", f"{one} is allowed, but {file.name} does not list it")
            for one in is_so.connections - expected.connections
        ]
        found += [
            Finding(stack, one.destination, "refused", f"{one} is refused, but {file.name} lists it")
            for one in expected.connections - is_so.connections
        ]
    return Verdict(
        JUDGE, version(), asked, f"connections, of which {allowed} are allowed", tuple(sorted(found))
    )


def write_expected(allowed: Allowed, expected: Expected) -> str:
    """The file's text for what is allowed now, for a person to read: `why` is left to them."""
    ports: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in allowed.connections:
        ports[one.source, one.destination].add(one.port)
    sources: dict[tuple[str, tuple[str, ...]], set[str]] = defaultdict(set)
    for (source, destination), numbers in ports.items():
        sources[destination, tuple(sorted(numbers))].add(source)
    destinations: dict[tuple[tuple[str, ...], tuple[str, ...]], set[str]] = defaultdict(set)
    for (destination, asked), names in sources.items():
        destinations[tuple(sorted(names)), asked].add(destination)
    entries = [
        {"from": list(names), "to": sorted(to), "ports": [_number(one) for one in asked], "why": ""}
        for (names, asked), to in sorted(destinations.items())
    ]
    return yaml.safe_dump(
        {"pods": expected.pods, "connections": entries}, sort_keys=False, allow_unicode=True, width=110
    )


def _number(port: str) -> int | str:
    return int(port) if port.isdigit() else port
