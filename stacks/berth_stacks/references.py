"""A cluster that another stack makes: read from that stack's outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from berth_catalogue.accelerators import accelerator
from berth_components.node_pools import POOL_LABEL, PoolSpec

from berth_stacks.errors import Path, Problem, SettingsError
from berth_stacks.grounds import Pool
from berth_stacks.load import Loaded
from berth_stacks.settings import Site

KUBECONFIGS = "kubeconfigs"
POOLS = "pools"
"""Outputs of every stack that makes clusters, by site."""


@dataclass(frozen=True)
class Referenced:
    """A cluster of another stack: how it is reached, its pools, and the labels of their nodes."""

    kubeconfig: pulumi.Output[str]
    pools: dict[str, PoolSpec]
    selectors: Mapping[str, pulumi.Output[Mapping[str, str]]]


def referenced(loaded: Loaded, key: str, site: Site) -> Referenced:
    """How the cluster is reached, and its pools as this stack describes them.

    That the other stack has the pools, and that they are as described, is compared as soon as its outputs are
    known: whatever is deployed there waits for that.
    """
    if site.cluster is None or site.cluster.stack is None:
        raise AssertionError(key)
    other, there = site.cluster.stack, site.cluster.site or key
    reference = pulumi.StackReference(f"{key}-stack", stack_name=other)
    path: Path = ("sites", key)

    def compared(known: list[Any]) -> str:
        kubeconfigs, facts = (value if isinstance(value, Mapping) else {} for value in known)
        if there not in kubeconfigs:
            having = ", ".join(kubeconfigs) or "none: is it deployed?"
            where: Path = (*path, "cluster", "site" if site.cluster and site.cluster.site else "stack")
            problem = Problem(where, f"is {there!r} of stack {other}", f"one of its clusters: {having}")
            raise SettingsError(loaded.name, [(loaded.layers.where(where), problem)])
        problems = [
            problem
            for name, pool in site.pools.items()
            for problem in _differences((*path, "pools", name), pool, facts.get(there, {}).get(name), other)
        ]
        if problems:
            raise SettingsError(loaded.name, [(loaded.layers.where(one.path), one) for one in problems])
        return str(kubeconfigs[there])

    outputs = pulumi.Output.all(reference.get_output(KUBECONFIGS), reference.get_output(POOLS))
    specs = {name: _spec(f"{there}-{name}", pool) for name, pool in site.pools.items()}
    kubeconfig: pulumi.Output[str] = pulumi.Output.secret(outputs.apply(compared))

    def selector(name: str) -> pulumi.Output[Mapping[str, str]]:
        def of_outputs(known: list[Any]) -> Mapping[str, str]:
            compared(known)
            return dict(known[1][there][name]["nodeSelector"])

        found: pulumi.Output[Mapping[str, str]] = outputs.apply(of_outputs)
        return found

    return Referenced(kubeconfig, specs, {name: selector(name) for name in specs})


def _differences(path: Path, pool: Pool, there: Any, other: str) -> list[Problem]:
    if not isinstance(there, Mapping):
        return [
            Problem(path, f"is no pool of stack {other}", "one of its pools", "remove it, or add it there")
        ]
    described = {
        "accelerator": pool.accelerator,
        "acceleratorsPerNode": pool.accelerators_per_node,
        "max": pool.max,
        "min": pool.min,
        "capacity": pool.capacity,
        "labels": dict(pool.labels) or None,
        "taints": [taint.model_dump(exclude_none=True) for taint in pool.taints],
    }
    return [
        Problem((*path, name), f"is {value!r}", f"{_whole(there.get(name))!r}, as stack {other} has it")
        for name, value in described.items()
        if value is not None and value != there.get(name)
    ]


def _whole(value: Any) -> Any:
    """Numbers of outputs are floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _spec(name: str, pool: Pool) -> PoolSpec:
    """What pods on the pool select and tolerate, as the component that makes it would say."""
    found = accelerator(pool.accelerator)
    tolerations = [
        {"key": taint.key, "effect": taint.effect, "operator": "Equal", "value": taint.value}
        if taint.value
        else {"key": taint.key, "effect": taint.effect, "operator": "Exists"}
        for taint in pool.taints
    ]
    return PoolSpec(
        name=name,
        accelerator=found,
        per_node=pool.accelerators_per_node,
        min_nodes=pool.min or 0,
        max_nodes=pool.max,
        capacity_type=pool.capacity or "on-demand",
        labels=dict(pool.labels),
        taints=[],
        node_selector={POOL_LABEL: name},
        tolerations=[{"key": found.resource, "operator": "Exists", "effect": "NoSchedule"}, *tolerations],
    )
