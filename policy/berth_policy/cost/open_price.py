"""What a stack costs is known; until its prices are, that is open."""

from collections.abc import Iterator

from berth_policy.cost._machines import RENTED, Look, rented
from berth_policy.cost._told import MOST, told
from berth_policy.environment import TYPE
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, Stack, survey


def check(stack: Stack) -> Iterator[Finding]:
    """Say what would have to be priced."""
    if MOST in [*told(stack)]:
        return
    parts: list[str] = []

    def note(place: tuple[Resource, Look]) -> Iterator[Finding]:
        resource, look = place
        parts.extend(f"{one.most or 0:g} {one.machine}" for one in look(resource, stack) if one.machine)
        yield from ()

    yield from survey(rented(stack), note)
    if parts:
        yield Finding(
            f"the price of {', '.join(sorted(parts))} at most scale is not known",
            "prices in stacks/prices.yaml, or from ./berth plan --ask",
        )


RULE = Rule(
    name="open-price",
    group="cost",
    title="What a stack costs an hour at most scale is known.",
    why="A cap on a price that nobody knows holds nothing back.",
    fix="`./berth plan` says which prices are missing and where to give them.",
    levels={"local": "advisory", "development": "advisory", "production": "advisory"},
    types=(*RENTED, TYPE),
    check_stack=check,
)
