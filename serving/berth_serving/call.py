"""Who asked for a generation, by which way, and under which names it is told of."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from berth_serving.keys import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth_serving.keys import Key

# https://www.w3.org/TR/trace-context/: version 00, and what later versions may append.
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[ -~]{0,64})?"
)
_TRACESTATE = re.compile(r"[ -~\t]{1,512}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request for a generation.

    Attributes:
        route: as metrics name it.
        operation: `chat` or `text_completion`, as OpenTelemetry names it.
        received: monotonic seconds.
        key: whose it is.
        request_id: the client's or ours.
        trace: valid `traceparent` and `tracestate` from outside; see `trace_headers`.
    """

    route: str
    received: float
    operation: str = "text_completion"
    key: Key = ANONYMOUS
    request_id: str = ""
    trace: Mapping[str, str] = field(default_factory=dict)


def trace_headers(traceparent: str | None, tracestate: str | None) -> dict[str, str]:
    """W3C trace context, where it is valid; nothing else of what a client sends is passed on."""
    if not traceparent or not _TRACEPARENT.fullmatch(traceparent):
        return {}
    if not tracestate or not _TRACESTATE.fullmatch(tracestate):
        return {"traceparent": traceparent}
    return {"traceparent": traceparent, "tracestate": tracestate}
