"""Waiting longer after each failure, with jitter, so that several replicas do not ask in step."""

import random


class Backoff:
    """Delays that double from `first` to `last` seconds, each drawn between half and the whole of it."""

    def __init__(self, first: float = 0.2, last: float = 15) -> None:
        self._first, self._last = first, last
        self._next = first

    def reset(self) -> None:
        """Start over: something succeeded."""
        self._next = self._first

    def next(self) -> float:
        """Return how many seconds to wait now."""
        delay, self._next = self._next, min(self._next * 2, self._last)
        return delay * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret
