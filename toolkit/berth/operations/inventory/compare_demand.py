"""Whether a pool's nodes have room for the models that are to run there."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from berth.operations.inventory.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from berth.operations.inventory.asked import AskedModel, AskedPool, AskedSite
    from berth.operations.inventory.facts import Inventory, Node

_HOLDERS_SHOWN = 4


def plugin_to_come(found: Inventory, asked: AskedSite, kind: str) -> bool:
    """Whether nodes will offer accelerators only once `up` has installed the stack's own device plugin."""
    runs = any(one.kind == kind and one.ready for one in found.device_plugins or ())
    return asked.device_plugins.get(kind) == "managed" and not runs


def free_accelerators(found: Inventory, asked: AskedSite, pool: AskedPool) -> tuple[int, int] | None:
    """Return how many accelerators a pool offers and how many of them are free; `None` where nobody can tell.

    What pods of the stack's own namespace hold counts as free.
    """
    if found.nodes is None or found.holders is None:
        return None
    nodes = [one for one in found.nodes if one.usable and pool.node_selector.items() <= one.labels.items()]
    to_come = plugin_to_come(found, asked, pool.kind)
    own = frozenset({asked.namespace})
    offered = {node.name: _offered(node, pool, to_come=to_come) for node in nodes}
    free = [max(0, count - found.held(name, pool.resource, but=own)) for name, count in offered.items()]
    return sum(offered.values()), sum(free)


def demand_findings(
    found: Inventory, asked: AskedSite, pool: AskedPool, nodes: Sequence[Node]
) -> Iterator[Finding]:
    """Compare what models ask at most with what the pool's nodes offer, and with what is free there."""
    models = [one for one in asked.models if one.pool == pool.name and one.accelerators]
    if not models:
        return
    subject, resource = f"pool {pool.name}", pool.resource
    to_come = plugin_to_come(found, asked, pool.kind)
    offered = {node.name: _offered(node, pool, to_come=to_come) for node in nodes if node.usable}
    largest = max(offered.values(), default=0)
    too_large = [one for one in models if one.accelerators > largest]
    for model in too_large:
        remedy = f"set models.{model.name}.gpu.count to at most {largest}, or use a pool with larger nodes"
        wanted = f"{model.accelerators} for each replica of {model.name}"
        shown = f"no node offers more than {largest} {resource}"
        yield Finding(asked.site, subject, "mismatch", shown, wanted, remedy)
    if too_large:
        return
    total = sum(one.replicas * one.accelerators for one in models)
    each = " + ".join(f"{one.name} {one.replicas} x {one.accelerators}" for one in models)
    wanted = f"{total} {resource} at most ({each})"
    if found.holders is None:
        shown = f"cannot be told how many are free: {found.why_not('pods')}"
        remedy = "let your user list pods in all namespaces"
        yield Finding(asked.site, subject, "unknown", shown, wanted, remedy)
        return
    own = frozenset({asked.namespace})
    free = {name: max(0, count - found.held(name, resource, but=own)) for name, count in offered.items()}
    shown = f"{sum(free.values())} free of {sum(offered.values())} {resource}"
    if waiting := _without_place(models, free):
        others = _others(found, own, resource, free)
        held = f", held by {others}" if others else ""
        missing = ", ".join(f"{count} of {name}" for name, count in waiting.items())
        remedy = "lower their replicas or autoscaling.max, free accelerators, or add nodes"
        shown += f"{held}: no place for replicas: {missing}"
        yield Finding(asked.site, subject, "mismatch", shown, wanted, remedy)
    elif _without_place(models, free, surge=True):
        shown += "; at most replicas an update finds no accelerator for its surge"
        remedy = "set rollout: {maxSurge: 0, maxUnavailable: 1}, or keep one replica's worth free"
        yield Finding(asked.site, subject, "note", shown, wanted, remedy)
    else:
        yield Finding(asked.site, subject, "ok", shown, wanted)


def findings_without_pool(found: Inventory, asked: AskedSite) -> Iterator[Finding]:
    """Compare models that ask for accelerators of any node with the largest number that a node offers."""
    for model in asked.models:
        if model.pool is not None or not model.accelerators:
            continue
        subject, wanted = f"model {model.name}", f"{model.accelerators} {model.resource} of one node"
        if found.nodes is None:
            shown = f"cannot be told: {found.why_not('nodes')}"
            yield Finding(asked.site, subject, "unknown", shown, wanted, "let your user list nodes")
            continue
        offers = [node.allocatable.get(model.resource, 0) for node in found.nodes if node.usable]
        most = max(offers, default=0)
        if most >= model.accelerators:
            yield Finding(asked.site, subject, "ok", f"a node offers {most} {model.resource}", wanted)
        else:
            shown = (
                f"no node offers more than {most} {model.resource}"
                if most
                else f"no node offers {model.resource}"
            )
            remedy = f"lower models.{model.name}.gpu.count, or install a device plugin where there are more"
            yield Finding(asked.site, subject, "mismatch", shown, wanted, remedy)


def _offered(node: Node, pool: AskedPool, *, to_come: bool) -> int:
    offered = node.allocatable.get(pool.resource, 0)
    if offered or not to_come:
        return offered
    return node.gpu_count if node.gpu_count is not None else pool.per_node


def _without_place(
    models: Sequence[AskedModel], free: dict[str, int], *, surge: bool = False
) -> dict[str, int]:
    """Return how many replicas of each model find no node: a replica's accelerators are of one node."""
    left = dict(free)
    waiting: Counter[str] = Counter()
    for model in sorted(models, key=lambda one: -one.accelerators):
        for _ in range(model.replicas + (model.surge if surge else 0)):
            # The fullest node that still has room, so that large gaps stay large.
            fits = [name for name, count in left.items() if count >= model.accelerators]
            if not fits:
                waiting[model.name] += 1
                continue
            left[min(fits, key=lambda name: left[name])] -= model.accelerators
    return dict(waiting)


def _others(found: Inventory, own: frozenset[str], resource: str, nodes: dict[str, int]) -> str:
    holders = Counter(
        {
            f"{one.namespace}/{one.pod}": one.requested[resource]
            for one in found.holders or ()
            if one.node in nodes and one.namespace not in own and one.requested.get(resource)
        }
    )
    shown = ", ".join(f"{name} ({count})" for name, count in holders.most_common(_HOLDERS_SHOWN))
    return shown + (f" and {len(holders) - _HOLDERS_SHOWN} more" if len(holders) > _HOLDERS_SHOWN else "")
