"""Accelerators are kept for what needs them."""

from collections.abc import Iterator

from berth_policy.accelerators._pools import EKS, GKE, KARPENTER, Pool, pools
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, survey


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each pool whose nodes have accelerators."""
    yield from survey([pool for pool in pools(stack) if pool.accelerator], _look)


def _look(pool: Pool) -> Iterator[Finding]:
    if not any(effect in {"NoSchedule", "NoExecute"} for _, _, effect in pool.taints):
        found = f"its nodes have {pool.accelerator} and no taint that keeps other pods off"
        yield Finding(found, f"a taint {pool.accelerator} with NO_SCHEDULE", pool.resource)
    if pool.ground == "aws" and not pool.labels:
        yield Finding("its nodes have no label of the pool's own", "one that pods select", pool.resource)


RULE = Rule(
    name="accelerators-tainted",
    group="accelerators",
    title="Nodes with accelerators are tainted.",
    why="Any pod lands there otherwise, and holds the most expensive nodes when nothing computes.",
    fix="Give the pool a taint such as nvidia.com/gpu with effect NO_SCHEDULE.",
    types=(EKS, GKE, *KARPENTER, "aws:ec2/launchTemplate:"),
    check_stack=check,
)
