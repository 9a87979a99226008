"""What every contract's request becomes, and what an answer is written from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from berth_serving.engines.protocol import Finished, TokenEvent
    from berth_serving.errors import RequestError

SEED_LIMIT = 2**32 - 1
VERSION = "0.1.0"
"""Of the model server, as clients are told it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What validation has to know.

    Attributes:
        unsupported: parameters the engine cannot honour, each with the reason.
        engine: its name.
    """

    model_id: str
    max_input_tokens: int
    max_total_tokens: int
    max_stop_sequences: int
    max_best_of: int = 2
    max_top_n_tokens: int = 5
    unsupported: Mapping[str, str] = field(default_factory=dict)
    engine: str = ""


@dataclass(slots=True, kw_only=True)
class Asked:
    """A validated request, the same for every contract.

    Attributes:
        prompt: text or token ids; None where `messages` are to be rendered.
        messages: chat messages, or None.
        max_new_tokens: None is as many as fit.
        max_length: prompt and answer together, in tokens; None unless the contract has it.
        truncate: keep this many tokens from the end of the prompt.
        sampling: False is greedy; then temperature, top_k, top_p and seed mean nothing.
        logprobs: likeliest tokens to report per position, 0 none at all.
        characters: length of the prompt as sent.
    """

    prompt: str | Sequence[int] | None
    messages: Sequence[Mapping[str, Any]] | None = None
    max_new_tokens: int | None
    max_length: int | None = None
    truncate: int | None = None
    sampling: bool
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int
    stop: tuple[str, ...] = ()
    logprobs: int = 0
    json_schema: dict[str, Any] | None = None
    ignore_eos: bool = False
    logit_bias: Mapping[int, float] | None = None
    stream: bool = False
    characters: int = 0


@dataclass(slots=True)
class Timing:
    """When a generation passed each point, in monotonic seconds; 0 is not yet."""

    received: float
    validated: float = 0.0
    started: float = 0.0
    first_token: float = 0.0
    ended: float = 0.0


class Answer(Protocol):
    """Writes one answer in the words of its contract. `events` of a whole answer are all its tokens."""

    def whole(self, events: Sequence[TokenEvent], finished: Finished, timing: Timing) -> bytes:
        """The JSON body."""

    def begin(self) -> bytes:
        """What a stream starts with."""

    def token(self, event: TokenEvent) -> bytes:
        """What a stream says about a token; b"" where it waits for more."""

    def end(self, finished: Finished) -> bytes:
        """What a stream ends with."""

    def failure(self, error: RequestError) -> bytes:
        """What a stream says instead of its end."""


def sse(payload: bytes) -> bytes:
    """One server-sent event."""
    return b"data: " + payload + b"\n\n"


def text_of(events: Sequence[TokenEvent]) -> str:
    """The text that tokens make together; special ones have none."""
    return "".join(event.text for event in events if not event.special)
