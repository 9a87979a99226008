"""Production runs on machines that stay, but for pools that are named."""

from collections.abc import Iterator
from dataclasses import dataclass

from berth_policy.cost._machines import NODE_GROUP, NODE_POOL, is_spot
from berth_policy.rule import IN_PRODUCTION, Finding, Rule
from berth_policy.subject import Resource, Stack, survey


@dataclass(frozen=True)
class Spot:
    """Names of pools, as the program names the resources, that may be spot in production."""

    pools: tuple[str, ...] = ()


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each pool's kind of capacity."""
    named = stack.settings(Spot).pools
    yield from survey(
        stack.of(NODE_GROUP, NODE_POOL),
        lambda pool: _kept(pool) if pool.name not in named else [],
    )


def _kept(pool: Resource) -> Iterator[Finding]:
    if is_spot(pool):
        yield Finding("its machines are spot", "on-demand or reserved, or the pool's name in `pools`", pool)


RULE = Rule(
    name="cost-spot-in-production",
    group="cost",
    title="Production runs on spot machines only in pools that are named.",
    why="All spot machines of a kind go at once, two minutes after a notice, when others want them.",
    fix="Set the capacity to on-demand; or name a pool whose work can wait in the pack's configuration.",
    levels=IN_PRODUCTION,
    types=(NODE_GROUP, NODE_POOL),
    settings=Spot,
    check_stack=check,
)
