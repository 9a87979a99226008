"""`POST /feedback`: what users did with answers, for the business and safety metrics.

    {"request_id": "…", "event": "liked"}
    {"request_id": "…", "event": "converted", "value": 12.5}
    {"request_id": "…", "event": "reported", "category": "harmful"}

`request_id` is the answer's `x-request-id`. The same event for the same request counts once on this server.
Nothing that a user wrote is taken: there is no field for it.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from berth_serving.errors import Overloaded, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from berth_serving.contracts.fields import Fields
    from berth_serving.metrics import GatewayMetrics

CONVERTED, REPORTED = "converted", "reported"
EVENTS = ("liked", "disliked", "copied", "regenerated", CONVERTED, REPORTED)
CATEGORIES = ("harmful", "hateful", "sexual", "privacy", "copyright", "incorrect", "other")
MOST_BODY = 4096
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_NO_CATEGORY, _NO_VALUE = {"enum": ["", None]}, {"enum": [0, None]}
_KINDS: tuple[dict[str, Any], ...] = (
    {"properties": {"event": {"const": CONVERTED}, "category": _NO_CATEGORY}},
    {
        "properties": {"event": {"const": REPORTED}, "category": {"enum": CATEGORIES}, "value": _NO_VALUE},
        "required": ["category"],
    },
    {
        "properties": {
            "event": {"enum": [one for one in EVENTS if one not in (CONVERTED, REPORTED)]},
            "category": _NO_CATEGORY,
            "value": _NO_VALUE,
        }
    },
)
_REMEMBERED = 50_000
_PER_SECOND = 200.0
_MOST_VALUE = 1e9


@dataclass(frozen=True, slots=True)
class Said:
    """One event; "" and 0 where nothing is said."""

    request_id: str
    event: str
    category: str
    value: float
    variant: str


def parse(read: Fields) -> Said:
    """Read and check an event.

    Raises:
        ValidationError: naming field, value and what is allowed.
    """
    request_id = read.required("request_id", pattern=_REQUEST_ID.pattern)
    event = read.choice("event", EVENTS)
    category = read.raw("category", {"enum": [*CATEGORIES, "", None]})
    if category not in (CATEGORIES if event == REPORTED else ("", None)):
        allowed = "one of " + ", ".join(CATEGORIES) if event == REPORTED else f"absent but for {REPORTED}"
        raise read.wrong("category", allowed)
    value = read.number("value", 0.0, low=0, high=_MOST_VALUE)
    read.variants(*_KINDS)
    if value and event != CONVERTED:
        raise ValidationError(f"`value` is only for event {CONVERTED}", param="value")
    variant = read.text("variant")
    read.finish()
    return Said(request_id, event, category or "", value, variant)


class Feedback:
    """Counts feedback, bounded in rate and memory.

    Args:
        metrics: where it is counted.
        variant: of this server; feedback that names another is counted as `other`.
        clock: monotonic seconds.
    """

    def __init__(
        self, metrics: GatewayMetrics, variant: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._variant = variant
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._left = _PER_SECOND
        self._at = clock()

    def take(self, read: Fields) -> bool:
        """Count one event; False where it was counted before.

        Raises:
            ValidationError: naming field, value and what is allowed.
            Overloaded: more than 200 per second come.
        """
        self._charge()
        said = parse(read)
        if not self._is_new(said.request_id, said.event):
            return False
        variant = self._variant if said.variant in ("", self._variant) else "other"
        self._count(said.event, said.category, said.value, variant)
        return True

    def _count(self, event: str, category: str, value: float, variant: str) -> None:
        if event == REPORTED:
            self._metrics.user_reports.labels(category, variant).inc()
            return
        self._metrics.feedback.labels(event, variant).inc()
        if event == CONVERTED:
            self._metrics.conversion_value.labels(variant).inc(value)

    def _is_new(self, request_id: str, event: str) -> bool:
        known = (request_id, event)
        if known in self._seen:
            return False
        self._seen[known] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return True

    def _charge(self) -> None:
        now = self._clock()
        self._left = min(_PER_SECOND, self._left + (now - self._at) * _PER_SECOND)
        self._at = now
        if self._left < 1:
            raise Overloaded(f"more than {_PER_SECOND:g} feedbacks per second", retry_after=1)
        self._left -= 1
