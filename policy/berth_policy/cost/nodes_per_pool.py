"""A pool of machines has an end."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from berth_policy.cost._machines import RENTED, Look, rented
from berth_policy.reading import said
from berth_policy.rule import IN_CLOUDS, Finding, Rule
from berth_policy.subject import Resource, Stack, survey


@dataclass(frozen=True)
class NodesPerPool:
    """Most machines of one pool, by environment."""

    most: Mapping[str, int] = field(default_factory=lambda: {"development": 8, "production": 16})


def check(stack: Stack) -> Iterator[Finding]:
    """Look at the most that each pool may have."""
    cap = stack.settings(NodesPerPool).most.get(stack.environment, 0)

    def pool(place: tuple[Resource, Look]) -> Iterator[Finding]:
        for one in place[1](place[0], stack):
            if one.machine and (one.most is None or one.most > cap):
                yield Finding(f"{one.path} is {said(one.most)}", f"{cap} at most", one.resource)
            elif one.most is None:
                yield Finding(f"{one.path} is absent, so without an end", "limits", one.resource)

    yield from survey(rented(stack), pool)


RULE = Rule(
    name="cost-nodes-per-pool",
    group="cost",
    title="A pool of machines has an end, within the environment's.",
    why="A load test, a loop or an attacker with a key rents as many as there may be.",
    fix="Lower the most nodes of the pool, or raise the cap in the pack's configuration on purpose.",
    levels=IN_CLOUDS,
    types=RENTED,
    settings=NodesPerPool,
    check_stack=check,
)
