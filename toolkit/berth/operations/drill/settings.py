"""How a drill goes: its settings, checked."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from berth.operations.drill.faults import FAULTS, Fault
from berth.operations.errors import LoadSettingsError


def _silent(_phase: str, _text: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, kw_only=True)
class DrillSettings:
    """How a drill goes.

    Attributes:
        fault: one of `FAULTS`.
        site: whom it befalls.
        seconds: how long the fault lasts; the other phases follow from it.
        rate: requests per second of the overload; `None` measures what the preferred site can do and asks
            for `overload` times that. Before it and after the fault it is a quarter of that.
        overload: see `rate`.
        max_new_tokens: asked of each request.
        request_seconds: after this a request is given up.
        move_seconds: how long load may take to move to another site, at most, before the fault comes anyway.
        back_seconds: how long everything may take to be as before.
        seed: of the arrivals: the same seed sends the same load.
        say: told what happens: a phase and a text.
    """

    fault: str
    site: str
    seconds: float = 30.0
    rate: float | None = None
    overload: float = 1.5
    max_new_tokens: int = 32
    request_seconds: float = 60.0
    move_seconds: float = 90.0
    back_seconds: float = 240.0
    seed: int = 0
    say: Callable[[str, str], None] = field(default=_silent, repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be a drill.

        Raises:
            LoadSettingsError: a value is not allowed.
        """
        if self.fault not in FAULTS:
            raise LoadSettingsError(f"the fault is {self.fault!r}; there are {', '.join(FAULTS)}")
        _within("seconds", self.seconds, 1, 3600, "seconds of the fault")
        _within("overload", self.overload, 1, 100, "times what the preferred site can do")
        if self.rate is not None:
            _within("rate", self.rate, 0.1, 10_000, "requests per second")

    @property
    def kind(self) -> Fault:
        """The fault itself."""
        return FAULTS[self.fault]


def _within(name: str, value: float, lowest: float, highest: float, unit: str) -> None:
    if not math.isfinite(value) or not lowest <= value <= highest:
        raise LoadSettingsError(f"{name} is {value:g}; it must be {lowest:g} to {highest:g} ({unit})")
