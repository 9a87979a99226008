"""What kinds of load there are: how the rate goes over the run, what is asked, and how clients read.

Rates are multiples of one base rate: what `--rate` says, or a share of the measured capacity. The shapes
are ours, made to show one thing each; they are no recording of anybody's traffic.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

HOURS, PEAK_HOUR, SWING = 24, 15, 0.8
"""A day passes in one run: fullest at three in the afternoon, from 0.2 to 1.8 times its mean."""
_STEPS_PER_HOUR = 4
_CYCLE_SECONDS = 60.0
_QUIET_BEFORE, _BURST_UNTIL, BURST = 0.5, 0.75, 8.0


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of one rate.

    Attributes:
        seconds: how long.
        multiple: of the base rate.
    """

    seconds: float
    multiple: float


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of load.

    Attributes:
        name: what `--profile` calls it.
        text: what it is for, one line.
        share: the base rate in multiples of the measured capacity, where no rate is given.
        shape: from the run's seconds to its stretches.
        long_prompts: whether prompts nearly fill the model's input limit.
        stalling: share of the clients that stop reading in the middle of an answer.
    """

    name: str
    text: str
    share: float
    shape: Callable[[float], tuple[Step, ...]]
    long_prompts: bool = False
    stalling: float = 0.0


def _flat(seconds: float) -> tuple[Step, ...]:
    return (Step(seconds, 1.0),)


def _bursts(seconds: float) -> tuple[Step, ...]:
    """A burst a minute, and at least one: half a cycle quiet, a quarter of it full, a quarter quiet again."""
    cycles = max(1, round(seconds / _CYCLE_SECONDS))
    cycle = seconds / cycles
    ends = (0.0, _QUIET_BEFORE, _BURST_UNTIL, 1.0)
    one = tuple(
        Step(cycle * (after - before), multiple)
        for (before, after), multiple in zip(pairwise(ends), (1.0, BURST, 1.0), strict=True)
    )
    return one * cycles


def _day(seconds: float) -> tuple[Step, ...]:
    steps = HOURS * _STEPS_PER_HOUR

    def multiple(step: int) -> float:
        hour = (step + 0.5) / _STEPS_PER_HOUR
        return 1.0 + SWING * math.cos(2 * math.pi * (hour - PEAK_HOUR) / HOURS)

    return tuple(Step(seconds / steps, multiple(step)) for step in range(steps))


PROFILES = {
    one.name: one
    for one in (
        Profile("steady", "what a sized server gets all day", 0.7, _flat),
        Profile("burst", "quiet, then eight times as much at once, every minute", 0.3, _bursts),
        Profile("diurnal", "a whole day within the run: night, morning, a peak at three", 0.6, _day),
        Profile("overload", "more than it can do, all the time", 2.0, _flat),
        Profile("long-context", "prompts that nearly fill the input limit", 0.7, _flat, long_prompts=True),
        Profile("stalling", "a quarter of the clients stop reading in the middle", 0.5, _flat, stalling=0.25),
    )
}
