"""The bridge of a cluster, the nodes' network namespaces, and the rules that keep both to this machine.

All functions may be called again: they make what is missing and remove what is there.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from .addresses import ANY_BRIDGE, API_PORT, NODE_PORTS, RANGE, ROUTE_PROTOCOL, SLOTS, Node, Plan
from .commands import CommandError, run
from .paths import RUN, run_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

_NSFS = Path("/proc/self/ns/net")
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


_FORWARDING_WAS_OFF = RUN / "forwarding-was-off"
"""There while this machine forwards only for our sake."""


def _wants_forwarding(slot: int) -> Path:
    """There while the slot's cluster has a way out, or to another cluster."""
    return run_folder(slot) / "egress"


def namespace_file(node: Node) -> Path:
    """The file that keeps the node's network namespace alive."""
    return run_folder(node.slot) / f"node{node.index}.net"


def foreign_routes() -> list[str]:
    """The destinations of this machine's IPv4 routes that neither we nor our bridges made."""
    ours = {Plan(slot).bridge for slot in range(SLOTS)}
    found = []
    for route in json.loads(run("ip", "-json", "-N", "-4", "route", "show", "table", "all")):
        if str(route.get("protocol")) == ROUTE_PROTOCOL or route.get("dev") in ours:
            continue
        found.append(str(route["dst"]))
    return found


def link_exists(name: str) -> bool:
    """Whether this machine has a network interface called ``name``."""
    return Path("/sys/class/net", name).exists()


def _batch(lines: Sequence[str], *within: str | Path) -> None:
    run(*within, "ip", "-batch", "-", stdin="\n".join(lines) + "\n")


def ensure_cluster(plan: Plan) -> None:
    """Make the bridge and the routes of a cluster."""
    if not link_exists(plan.bridge):
        run("ip", "link", "add", plan.bridge, "type", "bridge")
    _batch(
        [
            f"address replace {plan.gateway}/{plan.bridge_network.prefixlen} dev {plan.bridge}",
            f"link set {plan.bridge} up",
            # Whatever of the range no cluster has ends here: no packet for a Service without
            # endpoints, or for a pod that is gone, ever leaves this machine.
            f"route replace unreachable {RANGE} proto {ROUTE_PROTOCOL}",
        ]
    )


def ensure_rules(plan: Plan, *, egress: bool, links: Sequence[Plan] = ()) -> None:
    """Make the firewall rules of a cluster whose bridge is there.

    Args:
        plan: the cluster.
        egress: whether its pods may leave this machine.
        links: clusters whose pods reach its NodePorts, as its own reach theirs.
    """
    into, through = f"{plan.chain}-IN", f"{plan.chain}-FWD"
    out = (
        [
            f"-A {through} -i {plan.bridge} -j ACCEPT",
            f"-A {through} -o {plan.bridge} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        ]
        if egress
        else [f"-A {through} -i {plan.bridge} -j REJECT --reject-with icmp-net-prohibited"]
    )
    rules = [
        "*filter",
        f":{into} - [0:0]",
        f":{through} - [0:0]",
        # To the cluster's addresses only from the cluster itself and from this machine.
        f"-A {into} -i {plan.bridge} -d {plan.gateway} -p tcp --dport {API_PORT} -j ACCEPT",
        f"-A {into} -i {plan.bridge} -j RETURN",
        f"-A {into} -i lo -j RETURN",
        f"-A {into} -d {plan.network} -j DROP",
        # Between nodes, also where a container engine drops what is forwarded.
        f"-A {through} -i {plan.bridge} -o {plan.bridge} -j ACCEPT",
        # Both clusters of a link say this, since nobody knows whose chain is asked first.
        *(
            rule
            for other in links
            for pair in ((plan, other), (other, plan))
            for rule in _link(through, *pair)
        ),
        *_apart(through, plan),
        *out,
        f"-A {through} -o {plan.bridge} -j DROP",
        "COMMIT",
    ]
    if egress:
        nat = f"{plan.chain}-OUT"
        masquerade = f"-A {nat} -s {plan.network} ! -d {plan.network} -j MASQUERADE"
        rules += ["*nat", f":{nat} - [0:0]", masquerade, "COMMIT"]
    run("iptables-restore", "--noflush", "--wait", stdin="\n".join(rules) + "\n")
    for table, parent, chain in _jumps(plan):
        if table == "nat" and not egress:
            continue
        if _fails("iptables", "--wait", "-t", table, "-C", parent, "-j", chain):
            run("iptables", "--wait", "-t", table, "-I", parent, "1", "-j", chain)
    _forward(plan.slot, wanted=egress or bool(links))


def _link(chain: str, source: Plan, target: Plan) -> list[str]:
    """From pods to NodePorts, and the answers to that."""
    there = f"-A {chain} -i {source.bridge} -o {target.bridge}"
    ports = f"-s {source.pods} -d {target.bridge_network} -p tcp --dport {NODE_PORTS}"
    back = f"-A {chain} -i {target.bridge} -o {source.bridge}"
    return [
        f"{there} {ports} -j ACCEPT",
        f"{back} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
    ]


def _apart(chain: str, plan: Plan) -> list[str]:
    """Whoever of another cluster tries is told so at once; a way out leads to none of them."""
    pairs = ((plan.bridge, ANY_BRIDGE), (ANY_BRIDGE, plan.bridge))
    refused = (("-p tcp ", "tcp-reset"), ("", "icmp-net-prohibited"))
    return [
        f"-A {chain} -i {into} -o {out} {kind}-j REJECT --reject-with {how}"
        for into, out in pairs
        for kind, how in refused
    ]


def _forward(slot: int, *, wanted: bool) -> None:
    """Let this machine forward packets while any cluster needs that; then leave it as it was."""
    if wanted:
        _wants_forwarding(slot).touch()
        if _FORWARDING.read_text().strip() == "0":
            _FORWARDING_WAS_OFF.touch()
            _FORWARDING.write_text("1")
        return
    _wants_forwarding(slot).unlink(missing_ok=True)
    if _FORWARDING_WAS_OFF.exists() and not any(_wants_forwarding(one).exists() for one in range(SLOTS)):
        _FORWARDING.write_text("0")
        _FORWARDING_WAS_OFF.unlink()


def _jumps(plan: Plan) -> list[tuple[str, str, str]]:
    """Table, built-in chain, and our chain that it jumps to."""
    return [
        ("filter", "INPUT", f"{plan.chain}-IN"),
        ("filter", "FORWARD", f"{plan.chain}-FWD"),
        ("nat", "POSTROUTING", f"{plan.chain}-OUT"),
    ]


def ensure_node(node: Node, nodes: Sequence[Node], *, egress: bool, links: Sequence[Plan] = ()) -> None:
    """Make the node's network namespace, its cable to the bridge, and the routes to and from it.

    ``nodes`` are all nodes of the cluster, this one among them or not; egress and links as `ensure_rules`.
    """
    plan = Plan(node.slot)
    file = namespace_file(node)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not file.exists() or not _is_namespace(file):
        file.touch()
        run("unshare", f"--net={file}", "true")
    inside = _inside(node)
    if not link_exists(node.veth):
        run("ip", "link", "add", node.veth, "type", "veth", "peer", "name", "eth0", "netns", file)
    _batch([f"link set {node.veth} master {plan.bridge}", f"link set {node.veth} up"])
    _batch(
        [
            "link set lo up",
            f"address replace {node.address}/{plan.bridge_network.prefixlen} dev eth0",
            "link set eth0 up",
            f"route replace default via {plan.gateway}",
            # A process of the node itself needs a route before kube-proxy's rules rewrite the address.
            f"route replace {plan.services} dev eth0",
            *(f"route replace {other.pods} via {other.address}" for other in nodes if other != node),
        ],
        *inside,
    )
    # No limit on how often a pod is told that it cannot go somewhere.
    run(*inside, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0")
    ensure_node_rules(node, egress=egress, links=links)
    routes = [f"route replace {node.pods} via {node.address} proto {ROUTE_PROTOCOL}"]
    if node.index == 1:
        # So that this machine's processes, the API server among them, reach Services too.
        routes.append(f"route replace {plan.services} via {node.address} proto {ROUTE_PROTOCOL}")
    _batch(routes)


def join(node: Node, nodes: Sequence[Node]) -> None:
    """Tell the other nodes of the cluster where the pods of a new one are."""
    for other in nodes:
        if other != node and is_connected(other):
            _batch([f"route replace {node.pods} via {node.address}"], *_inside(other))


def leave(node: Node, nodes: Sequence[Node]) -> None:
    """Remove what a node has: its namespace, its cable, and the routes to its pods."""
    absent = 2
    for other in nodes:
        if other != node and is_connected(other):
            run(*_inside(other), "ip", "route", "delete", str(node.pods), accept=(0, absent))
    file = namespace_file(node)
    if file.exists():
        if _is_namespace(file):
            run("umount", file)
        file.unlink()
    if link_exists(node.veth):
        with contextlib.suppress(CommandError):  # it goes with its namespace, maybe just now
            run("ip", "link", "delete", node.veth)
    run("ip", "route", "delete", str(node.pods), "proto", ROUTE_PROTOCOL, accept=(0, absent))


def _inside(node: Node) -> tuple[str, str]:
    return "nsenter", f"--net={namespace_file(node)}"


def ensure_node_rules(node: Node, *, egress: bool, links: Sequence[Plan]) -> None:
    """Without a way out, whoever tries is told so at once, instead of waiting for an answer in vain."""
    plan, inside = Plan(node.slot), _inside(node)
    rules = [
        "-A BERTH-OUT -o lo -j RETURN",
        f"-A BERTH-OUT -d {plan.network} -j RETURN",
        *(
            rule
            for other in links
            for rule in (
                f"-A BERTH-OUT -d {other.bridge_network} -p tcp --dport {NODE_PORTS} -j RETURN",
                f"-A BERTH-OUT -d {other.network} -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN",
            )
        ),
        "-A BERTH-OUT -p tcp -j REJECT --reject-with tcp-reset",
        "-A BERTH-OUT -j REJECT",
    ]
    text = ["*filter", ":BERTH-OUT - [0:0]", *([] if egress else rules), "COMMIT"]
    run(*inside, "iptables-restore", "--noflush", "--wait", stdin="\n".join(text) + "\n")
    for parent in ("FORWARD", "OUTPUT"):
        if _fails(*inside, "iptables", "--wait", "-C", parent, "-j", "BERTH-OUT"):
            run(*inside, "iptables", "--wait", "-I", parent, "1", "-j", "BERTH-OUT")


def _is_namespace(file: Path) -> bool:
    return file.stat().st_dev == _NSFS.stat().st_dev


def is_connected(node: Node) -> bool:
    """Whether the node has its namespace and its cable. Without the first, whatever runs in it is lost."""
    file = namespace_file(node)
    return file.exists() and _is_namespace(file) and link_exists(node.veth)


def remove_cluster(plan: Plan) -> None:
    """Remove everything that was made for the slot, with the namespaces of all its nodes."""
    folder = run_folder(plan.slot)
    for file in sorted(folder.glob("node*.net")):
        if _is_namespace(file):
            run("umount", file)
        file.unlink()
    # A process that is just dying may keep its namespace, and with it the cable, for a moment.
    for link in sorted(Path("/sys/class/net").glob(f"{plan.bridge}n*")):
        with contextlib.suppress(CommandError):
            run("ip", "link", "delete", link.name)
    if link_exists(plan.bridge):
        run("ip", "link", "delete", plan.bridge)
    for table, parent, chain in _jumps(plan):
        _remove_chain(table, parent, chain)
    if not any(link_exists(Plan(slot).bridge) for slot in range(SLOTS)):
        absent = 2
        run("ip", "route", "delete", "unreachable", str(RANGE), "proto", ROUTE_PROTOCOL, accept=(0, absent))
    _forward(plan.slot, wanted=False)


def _remove_chain(table: str, parent: str, chain: str) -> None:
    missing = 1
    while not _fails("iptables", "--wait", "-t", table, "-D", parent, "-j", chain):
        pass
    run("iptables", "--wait", "-t", table, "-F", chain, accept=(0, missing))
    run("iptables", "--wait", "-t", table, "-X", chain, accept=(0, missing))


def _fails(*command: str) -> bool:
    try:
        run(*command)
    except CommandError:
        return True
    return False
