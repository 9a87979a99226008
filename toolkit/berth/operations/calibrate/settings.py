"""What is measured: settings, checked, and prompts of a length."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from berth.operations.errors import LoadSettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_LEVEL, _MOST_REPEATS, _MOST_SECONDS, _MOST_TOKENS = 1024, 100, 3600.0, 1_000_000


@dataclass(frozen=True, kw_only=True)
class CalibrationSettings:
    """One calibration.

    Attributes:
        endpoint: base address, e.g. `http://198.18.0.11:30080`.
        key: API key, or `None`. Never shown and never reported.
        levels: requests at once for each replica, rising.
        replicas: that share the requests; the figures are of one of them.
        repeats: how often each level is measured; its range is that of the repeats.
        seconds: how long each of them lasts at least.
        output_tokens: asked of each request.
        input_tokens: what prompts are lengthened or cut to, about; `None` leaves them.
        prompts: what is asked; empty takes those of `berth load`.
        request_seconds: after this a request is given up.
    """

    endpoint: str
    key: str | None = field(default=None, repr=False)
    levels: tuple[int, ...]
    replicas: int = 1
    repeats: int = 3
    seconds: float = 10.0
    output_tokens: int = 48
    input_tokens: int | None = None
    prompts: tuple[str, ...] = ()
    request_seconds: float = 120.0

    def __post_init__(self) -> None:
        """Refuse what measures nothing.

        Raises:
            LoadSettingsError: a value is not allowed.
        """
        rising = list(self.levels) == sorted(set(self.levels))
        if not self.levels or not rising or self.levels[0] < 1 or self.levels[-1] > _MOST_LEVEL:
            shown = ",".join(map(str, self.levels))
            raise LoadSettingsError(f"levels are {shown!r}; they must rise, from 1 to {_MOST_LEVEL}")
        _within("repeats", self.repeats, 1, _MOST_REPEATS)
        _within("seconds", self.seconds, 0.01, _MOST_SECONDS)
        _within("output_tokens", self.output_tokens, 1, _MOST_TOKENS)
        if self.input_tokens is not None:
            _within("input_tokens", self.input_tokens, 1, _MOST_TOKENS)


def lengthened(prompts: Sequence[str], words: int) -> tuple[str, ...]:
    """As many prompts, each of so many words: one after another is joined, and the last is cut."""
    made = []
    for start in range(len(prompts)):
        found: list[str] = []
        at = start
        while len(found) < words:
            found += prompts[at % len(prompts)].split()
            at += 1
        made.append(" ".join(found[:words]))
    return tuple(made)


def _within(name: str, value: float, lowest: float, highest: float) -> None:
    if not lowest <= value <= highest:
        raise LoadSettingsError(f"{name} is {value:g}; it must be {lowest:g} to {highest:g}")
