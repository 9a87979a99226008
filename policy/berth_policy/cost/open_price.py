"""What a stack costs is within its environment's cap; until prices are known, that is open."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from berth_policy.cost._machines import RENTED, Look, rented
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, Stack, survey


@dataclass(frozen=True)
class Price:
    """Most dollars an hour at most scale, by environment; 0 is no cap."""

    most_per_hour: Mapping[str, float] = field(default_factory=dict)


def check(stack: Stack) -> Iterator[Finding]:
    """Say what would have to be priced."""
    cap = stack.settings(Price).most_per_hour.get(stack.environment, 0)
    parts: list[str] = []

    def note(place: tuple[Resource, Look]) -> Iterator[Finding]:
        resource, look = place
        parts.extend(f"{one.most or 0:g} {one.machine}" for one in look(resource, stack) if one.machine)
        yield from ()

    yield from survey(rented(stack), note)
    if parts:
        limit = f"{cap:g} $/h" if cap else "no cap"
        yield Finding(
            f"the price of {', '.join(sorted(parts))} at most scale is not known; {limit} is configured",
            "prices, of the planner",
        )


RULE = Rule(
    name="open-price",
    group="cost",
    title="What a stack costs an hour at most scale is known, and within its environment's cap.",
    why="A cap on a price that nobody knows holds nothing back.",
    fix="Ask the planner; until it knows prices, this stays open.",
    levels={"local": "advisory", "development": "advisory", "production": "advisory"},
    types=RENTED,
    settings=Price,
    check_stack=check,
)
