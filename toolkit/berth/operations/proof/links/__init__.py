"""The links of a chain, in the order in which a signal passes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from berth.operations.proof.plan import Subject
from berth.operations.proof.verdicts import Finding

from . import budget, metric, nodes, waking

Check = Callable[[Subject], Iterator[Finding]]

LINKS: tuple[tuple[str, str, Check], ...] = (
    ("exported", "The metric is exported", metric.exported),
    ("matches", "The autoscaler's question is answered for these pods", metric.matches),
    ("target", "It scales a Deployment that is there", metric.target),
    ("value", "Its target is sane for the engine", metric.value),
    ("limits", "There is room between min and max", metric.limits),
    ("capacity", "The pool at its largest holds the most replicas", nodes.capacity),
    ("quota", "The cloud allows the nodes", nodes.quota),
    ("taints", "Taints are tolerated", nodes.taints),
    ("selectors", "Selectors find the pool", nodes.selectors),
    ("scale-down", "Replicas and nodes can go again", nodes.scale_down),
    ("wakes", "Nodes are added to an empty pool, and a first replica", waking.wakes),
    ("budget", "A burst is served in time", budget.budget),
)

__all__ = ["LINKS", "Check"]
