"""The lesson's own contract: `{"prompt", "max_length", "temperature", "top_p"}` on `/generate`.

As there: `max_length` counts prompt and answer together, `text` starts with
the prompt, and a temperature of 0 is greedy.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec

from berth_serving.contracts.model import SEED_LIMIT, Asked, text_of
from berth_serving.contracts.tgi import failure_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from berth_serving.contracts.fields import Fields
    from berth_serving.contracts.model import Limits, Timing
    from berth_serving.engines.protocol import Finished, TokenEvent
    from berth_serving.errors import RequestError

DEFAULT_MAX_LENGTH = 512
DEFAULT_TEMPERATURE = 0.7
DEFAULT_TOP_P = 0.9
_HOTTEST = 100.0


class PlainAnswer(msgspec.Struct):
    """The lesson's answer. Times are seconds; throughput is output tokens per second of generation."""

    text: str
    generation_time: float
    total_time: float
    input_tokens: int
    output_tokens: int
    token_throughput: float


def parse(read: Fields, limits: Limits) -> tuple[Asked, str]:
    """Read and check a request; also returns the prompt.

    Raises:
        ValidationError: naming field, value and what is allowed.
    """
    prompt = read.required("prompt")
    temperature = read.number("temperature", DEFAULT_TEMPERATURE, low=0, high=_HOTTEST)
    default_length = min(DEFAULT_MAX_LENGTH, limits.max_total_tokens)
    asked = Asked(
        prompt=prompt,
        max_new_tokens=None,
        max_length=read.integer("max_length", default_length, low=2, high=limits.max_total_tokens),
        sampling=temperature > 0,
        temperature=temperature,
        top_p=read.number("top_p", DEFAULT_TOP_P, above=0, high=1),
        seed=secrets.randbelow(SEED_LIMIT),
        characters=len(prompt),
    )
    read.finish()
    return asked, prompt


class PlainWriter:
    """Writes the lesson's answers, which are never streams."""

    def __init__(self, prompt: str) -> None:
        self._prompt = prompt

    def whole(self, events: Sequence[TokenEvent], finished: Finished, timing: Timing) -> bytes:
        """All six fields."""
        seconds = timing.ended - timing.started
        answer = PlainAnswer(
            text=self._prompt + text_of(events) + finished.stop_text,
            generation_time=seconds,
            total_time=timing.ended - timing.received,
            input_tokens=finished.input_tokens,
            output_tokens=finished.output_tokens,
            token_throughput=finished.output_tokens / seconds if seconds > 0 else 0.0,
        )
        return msgspec.json.encode(answer)

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def token(self, event: TokenEvent) -> bytes:
        """Nothing."""
        del event
        return b""

    def end(self, finished: Finished) -> bytes:
        """Nothing."""
        del finished
        return b""

    def failure(self, error: RequestError) -> bytes:
        """The body of an error."""
        return failure_body(error)
