"""An inventory and its findings as one page of 80 columns, and as JSON."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from berth.operations.inventory.facts import Inventory, Node
    from berth.operations.inventory.findings import Finding

WIDTH = 80
_MARKS = {"mismatch": "NO     ", "unknown": "UNKNOWN", "note": "note   ", "ok": "ok     "}
_NODES_SHOWN = 12


def page(site: str, found: Inventory, findings: Sequence[Finding]) -> str:
    """Return what there is at a site, then what does not fit, what is unknown, notes, and what fits."""
    lines = [f"site {site}: {found.server}"]
    if found.reached:
        lines += [*_cluster(found), *_nodes(found)]
    for state in _MARKS:
        for one in (each for each in findings if each.state == state):
            lines += _finding(one)
    return "\n".join(lines)


def _cluster(found: Inventory) -> Iterator[str]:
    version = ".".join(map(str, found.version or ()))
    yield f"  Kubernetes {version}"
    facts = (
        (
            "device plugins",
            None
            if found.device_plugins is None
            else [
                f"{one.where} (from {one.origin}, {one.ready} of {one.desired} ready)"
                for one in found.device_plugins
            ],
        ),
        (
            "storage",
            None
            if found.storage_classes is None
            else [f"{one.name}{' (default)' if one.default else ''}" for one in found.storage_classes],
        ),
        ("extensions", found.extensions),
        ("policies", None if found.policy_engine is None else [found.policy_engine or "ignored"]),
        (
            "pod security",
            None
            if found.restricted_namespaces is None
            else [f"{len(found.restricted_namespaces)} namespaces enforce a level"],
        ),
    )
    for name, values in facts:
        shown = "unknown" if values is None else "; ".join(values) or "none"
        yield from _wrapped(f"  {name}: ", shown)


def _nodes(found: Inventory) -> Iterator[str]:
    if found.nodes is None:
        return
    with_accelerators = [node for node in found.nodes if node.allocatable or node.product]
    nodes = "1 node" if len(found.nodes) == 1 else f"{len(found.nodes)} nodes"
    yield f"  {nodes}, {len(with_accelerators)} with accelerators"
    for node in with_accelerators[:_NODES_SHOWN]:
        yield from _wrapped(f"    {node.name}: ", _node(found, node))
    if len(with_accelerators) > _NODES_SHOWN:
        yield f"    and {len(with_accelerators) - _NODES_SHOWN} more (--json has all)"


def _node(found: Inventory, node: Node) -> str:
    parts = []
    if node.product:
        memory = f", {round(node.memory_mib / 1024)} GiB" if node.memory_mib else ""
        parts.append(f"{node.product}{memory}")
    for resource, count in sorted(node.allocatable.items()):
        held = found.held(node.name, resource)
        free = "free unknown" if found.holders is None else f"{max(0, count - held)} free"
        parts.append(f"{count} {resource} ({free})")
    if node.driver:
        cuda = f", CUDA {node.cuda}" if node.cuda else ""
        parts.append(f"driver {node.driver}{cuda}")
    parts += ["simulated"] if node.simulated else []
    parts += [] if node.ready else ["not Ready"]
    parts += [] if node.schedulable else ["cordoned"]
    parts += [f"taint {taint}" for taint in node.taints]
    return ", ".join(parts)


def _finding(one: Finding) -> Iterator[str]:
    yield from _wrapped(f"{_MARKS[one.state]} ", f"{one.subject}: {one.found}", indent=8)
    if one.state == "ok":
        return
    if one.wanted:
        yield from _wrapped("        wanted: ", one.wanted)
    if one.remedy:
        yield from _wrapped("        remedy: ", one.remedy)


def _wrapped(start: str, text: str, indent: int | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=start,
        subsequent_indent=" " * (len(start) if indent is None else indent),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [start.rstrip()]


def as_json(site: str, found: Inventory, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return everything: what was found, and every finding; unknown parts are null."""
    return {
        "site": site,
        "reached": found.reached,
        "inventory": asdict(found),
        "findings": [{**asdict(one), "text": one.text} for one in findings],
    }
