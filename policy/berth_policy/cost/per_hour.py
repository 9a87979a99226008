"""A stack costs no more an hour than its environment may."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from berth_policy.cost._machines import RENTED, Look, rented
from berth_policy.cost._told import MOST, told
from berth_policy.environment import TYPE
from berth_policy.rule import IN_CLOUDS, Finding, Rule
from berth_policy.subject import Resource, Stack, survey


@dataclass(frozen=True)
class PerHour:
    """Most US dollars an hour at most scale, by environment; 0 is no cap."""

    most: Mapping[str, float] = field(default_factory=lambda: {"development": 0, "production": 0})


def check(stack: Stack) -> Iterator[Finding]:
    """Compare what the planner says with the cap; what is not known is not within it."""
    cap = stack.settings(PerHour).most.get(stack.environment, 0)
    if not cap:
        return
    figures = told(stack)
    if MOST in [*figures]:
        most = figures[MOST]
        if not isinstance(most, int | float) or isinstance(most, bool) or most > cap:
            yield Finding(f"at most scale it costs {most} USD/h", f"{cap:g} at most")
        return
    machines: list[str] = []

    def note(place: tuple[Resource, Look]) -> Iterator[Finding]:
        machines.extend(one.machine for one in place[1](place[0], stack) if one.machine)
        yield from ()

    yield from survey(rented(stack), note)
    if machines:
        yield Finding("what it costs is not known", f"{cap:g} USD/h at most")


RULE = Rule(
    name="cost-per-hour",
    group="cost",
    title="At most scale a stack costs no more an hour than its environment may.",
    why="Autoscaling spends what it may, at night as well.",
    fix="Lower the most replicas or nodes, take cheaper machines, or raise the cap on purpose.",
    levels=IN_CLOUDS,
    types=(*RENTED, TYPE),
    settings=PerHour,
    check_stack=check,
)
