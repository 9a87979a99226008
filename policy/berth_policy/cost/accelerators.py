"""A stack rents no more accelerators than its environment may."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from berth_policy.cost._machines import RENTED, Look, rented
from berth_policy.rule import IN_CLOUDS, Finding, Rule
from berth_policy.subject import Resource, Stack, survey


@dataclass(frozen=True)
class Accelerators:
    """Most accelerators of one pool and of a whole stack, by environment."""

    per_pool: Mapping[str, int] = field(default_factory=lambda: {"development": 8, "production": 32})
    in_all: Mapping[str, int] = field(default_factory=lambda: {"development": 16, "production": 64})


def check(stack: Stack) -> Iterator[Finding]:
    """Count the accelerators of each pool at its most nodes, and of all."""
    caps = stack.settings(Accelerators)
    pool_cap = caps.per_pool.get(stack.environment, 0)
    cap = caps.in_all.get(stack.environment, 0)
    total = 0.0

    def pool(place: tuple[Resource, Look]) -> Iterator[Finding]:
        nonlocal total
        for one in place[1](place[0], stack):
            if one.each is None:
                yield Finding(
                    f"how many accelerators a {one.machine} has is not known",
                    "a machine of the catalogue, which says so",
                    one.resource,
                )
                continue
            count = one.each * (one.most or 0)
            total += count
            if count > pool_cap:
                yield Finding(
                    f"{one.path} is {one.most:g}, so {count:g} accelerators",
                    f"{pool_cap} at most in one pool",
                    one.resource,
                )

    yield from survey(rented(stack), pool)
    if total > cap:
        yield Finding(f"all pools together have {total:g} accelerators at most", f"{cap} at most")


RULE = Rule(
    name="cost-accelerators",
    group="cost",
    title="At most scale a stack rents no more accelerators than its environment may.",
    why="One accelerator costs as much as a small team's other machines together.",
    fix="Lower the most nodes of a pool, or raise the cap in the pack's configuration on purpose.",
    levels=IN_CLOUDS,
    types=RENTED,
    settings=Accelerators,
    check_stack=check,
)
