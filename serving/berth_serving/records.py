"""What is told of one generation: metrics, its trace, and, only where it is switched on, its texts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from berth_serving.contracts.model import Timing
from berth_serving.engines.loopback import OUTGOING
from berth_serving.metrics import perplexity
from berth_serving.tracing import Tracing

if TYPE_CHECKING:
    from berth_serving.call import Call
    from berth_serving.contracts.model import Asked
    from berth_serving.engines.protocol import Finished, TokenEvent
    from berth_serving.metrics import GatewayMetrics
    from berth_serving.settings import GatewaySettings

log = logging.getLogger("berth.content")


class Records:
    """Begins records."""

    def __init__(self, settings: GatewaySettings, metrics: GatewayMetrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.tracing = Tracing(settings)
        if settings.otlp_endpoint:
            metrics.export("berth_spans_dropped_total", lambda: self.tracing.dropped)

    def begin(self, call: Call, asked: Asked) -> Record:
        """The record of a generation that was let in."""
        self.metrics.begun(call)
        return Record(self, call, asked)


class Record:
    """One generation.

    Attributes:
        timing: when it passed each point.
        error: the class of what went wrong, or empty.
        finished: the end of the engine's answer, once it is there.
    """

    def __init__(self, records: Records, call: Call, asked: Asked) -> None:
        self._records = records
        self._asked = asked
        self._trace = records.tracing.begin(call, asked)
        self._said: list[str] | None = [] if records.settings.log_content else None
        self._log_probabilities = 0.0
        self._rated = 0
        self.call = call
        self.timing = Timing(call.received)
        self.error = ""
        self.finished: Finished | None = None
        # What only prepares the prompt belongs to no span of the engine's.
        OUTGOING.set({"x-request-id": call.request_id, **call.trace} if call.request_id else dict(call.trace))

    def engine_begins(self) -> None:
        """From now on the engine works on it."""
        headers = dict(self._trace.headers())
        if self.call.request_id:
            headers["x-request-id"] = self.call.request_id
        OUTGOING.set(headers)

    def said(self, event: TokenEvent) -> None:
        """A token came."""
        if event.logprob is not None:
            self._log_probabilities += event.logprob
            self._rated += 1
        if self._said is not None and not event.special:
            self._said.append(event.text)

    def engine_ended(self, finished: Finished, now: float, max_new_tokens: int) -> None:
        """The engine's answer is whole."""
        self.finished = finished
        self.timing.ended = now
        metrics = self._records.metrics
        metrics.finished(self.call, finished, self.timing, max_new_tokens)
        if self._rated:
            metrics.perplexity.observe(perplexity(self._log_probabilities, self._rated))

    def end(self) -> None:
        """It is over, whole or not."""
        if self.finished is None:
            self._records.metrics.failed(self.call, self.error)
        if self._said is not None:
            self._tell_texts("".join(self._said))
        self._trace.end(self.timing, self.finished, self.error)

    def _tell_texts(self, said: str) -> None:
        # Patterns are compiled only where texts are logged at all.
        from berth_serving.redact import redacted  # noqa: PLC0415

        asked = self._asked
        if asked.messages is not None:
            prompt = "\n".join(f"{one.get('role')}: {one.get('content')}" for one in asked.messages)
        else:
            prompt = asked.prompt if isinstance(asked.prompt, str) else "(token ids)"
        prompt, completion = redacted(prompt), redacted(said)
        log.info(
            "content",
            extra={"request_id": self.call.request_id, "prompt": prompt, "completion": completion},
        )
        self._trace.content(prompt, completion)
