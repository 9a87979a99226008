"""The one interface between the gateway and any engine."""

# ruff: noqa: N818 - a name says what happened; its base says that it is an error

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence


class EngineError(Exception):
    """Something between gateway and engine. The tree:

    EngineError
    ├── EngineUnreachable   no connection, or it ended early: the process is gone or going
    ├── EngineStalled       connected, but silent for too long
    ├── EngineGarbled       it answered what its interface does not allow
    └── EngineRefused       it understood and said no; the message is fit for the client
    """  # noqa: D415 - the tree ends the docstring


class EngineUnreachable(EngineError):
    """No connection, or it ended early."""


class EngineStalled(EngineError):
    """Connected, but silent for longer than allowed."""


class EngineGarbled(EngineError):
    """An answer outside the engine's own interface."""


class EngineRefused(EngineError):
    """The engine says that the request cannot be done."""


class TopToken(msgspec.Struct, frozen=True, gc=False):
    """One of the likeliest tokens at a position; logprob is natural."""

    id: int
    text: str
    logprob: float


class TokenEvent(msgspec.Struct, frozen=True):
    """One generated token.

    Attributes:
        id: token id.
        text: what it adds to the text; "" while bytes or a possible stop sequence are held back; for a
            special token its name, which is not part of the text.
        logprob: natural log-probability, None unless asked for.
        special: an end-of-text or other control token.
        top: the likeliest tokens here, best first.
        may_be_last: the engine may end right after it; contracts that decorate the last token hold it.
    """

    id: int
    text: str
    logprob: float | None
    special: bool
    top: tuple[TopToken, ...]
    may_be_last: bool


class Finished(msgspec.Struct, frozen=True, gc=False):
    """The end of a generation.

    Attributes:
        reason: `length`, `eos_token` or `stop_sequence`.
        stop_text: the stop sequence that ended it, which is in no token's text; else "".
        input_tokens: tokens of the prompt.
        output_tokens: tokens generated, the end-of-text token and those of the stop sequence included.
    """

    reason: str
    stop_text: str
    input_tokens: int
    output_tokens: int


class Progress(msgspec.Struct, frozen=True, gc=False):
    """The engine is working on the prompt; carries nothing but the fact."""


class Piece(msgspec.Struct, frozen=True, gc=False):
    """One token of a prompt: its id, and the bytes that it stands for; None where it adds no text."""

    id: int
    text: bytes | None


EngineEvent = TokenEvent | Finished | Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """One generation as an engine sees it; neutral values switch a knob off.

    Attributes:
        prompt: text, or token ids that are taken as they are; text only for an engine that takes no ids.
        truncate: keep this many tokens from the end of a prompt of text; None where that was done already.
        max_new_tokens: at least 1.
        temperature: 0 is greedy.
        top_k: 0 is off.
        logprobs: how many likeliest tokens to report at each position; 0 reports no log-probability at all.
        seed: 0 to 2**32 - 2.
        json_schema: the answer must fit this schema; {} is any JSON.
    """

    prompt: str | Sequence[int]
    max_new_tokens: int
    truncate: int | None = None
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    logprobs: int = 0
    json_schema: Mapping[str, Any] | None = None
    ignore_eos: bool = False
    logit_bias: Mapping[int, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDescription:
    """What a running engine says about itself.

    Attributes:
        context_tokens: prompt and answer together, per slot.
        slots: sequences it runs at once.
        device: `cpu`, `gpu`, `neuron` or `tpu`.
    """

    context_tokens: int
    slots: int
    device: str


class Engine(Protocol):
    """An engine process behind HTTP on loopback. Every method raises `EngineError` and nothing else."""

    @property
    def name(self) -> str:
        """As in BERTH_ENGINE."""

    @property
    def unsupported(self) -> Mapping[str, str]:
        """Request parameters that this engine cannot honour, each with the reason."""

    @property
    def takes_token_ids(self) -> bool:
        """Whether a prompt may be token ids."""

    @property
    def answers_beside(self) -> bool:
        """Whether a short prompt is answered in seconds beside long ones, which are read in pieces."""

    def check_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema as `generate` wants it; raises `EngineRefused` for one that cannot be followed."""

    async def close(self) -> None:
        """Close every connection."""

    async def health(self) -> None:
        """Return if the process answers; says nothing about the model."""

    async def describe(self) -> EngineDescription:
        """Ask the engine about itself."""

    async def tokenize(self, text: str) -> list[int]:
        """Token ids of a prompt, special tokens added, as `generate` would make them."""

    async def pieces(self, text: str, *, add_special: bool) -> Sequence[Piece]:
        """The tokens of a text with what each stands for; `add_special`: with what prompts begin with."""

    async def render_chat(self, messages: Sequence[Mapping[str, Any]]) -> str | Sequence[int]:
        """The prompt that the model's chat template makes of the messages; ids where it takes ids."""

    def generate(self, request: EngineRequest) -> AsyncGenerator[EngineEvent, None]:
        """Generate; the last event is `Finished`. Closing the generator cancels the engine's work."""
