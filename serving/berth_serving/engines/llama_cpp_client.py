"""llama.cpp's server as an engine, over its own HTTP interface on loopback.

Shapes read from the server itself (xllamacpp 2026.10.11549, 2026-11-22).
"""

from __future__ import annotations

import asyncio
import math
from contextlib import aclosing
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from berth_serving.engines import json_schema
from berth_serving.engines.loopback import Loopback, failure_text, finite
from berth_serving.engines.protocol import (
    EngineDescription,
    EngineGarbled,
    EngineRefused,
    EngineUnreachable,
    Finished,
    Piece,
    Progress,
    TokenEvent,
    TopToken,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from berth_serving.engines.protocol import EngineEvent, EngineRequest

# Calls at once that only prepare a prompt. The engine has 16 threads for HTTP beside two for each slot, and a
# burst of long prompts must leave some for completions and health.
_PREPARING = 8
# Prompts up to this long are prefilled within a batch or two; longer ones report progress meanwhile.
_LONG_PROMPT = 1024
# temperature first, as Hugging Face's sampling does; the order decides what top_p sees.
# Without a temperature the likeliest token is taken: found at once, not weighed against a whole vocabulary.
_GREEDY = ["penalties", "top_k"]
_SAMPLERS = ["penalties", "temperature", "top_k", "top_p", "typ_p", "min_p"]

_REASONS = MappingProxyType({"limit": "length", "eos": "eos_token", "word": "stop_sequence"})

UNSUPPORTED: Mapping[str, str] = MappingProxyType(
    {
        "watermark": "llama.cpp has no watermarking",
        "decoder_input_details": "llama.cpp's server gives no log-probabilities of prompt tokens",
        "adapter_id": "no adapter is loaded",
        "grammar.regex": "only JSON schemas are passed to it",
        "best_of": "llama.cpp's server returns one sequence",
        "n": "llama.cpp's server returns one sequence",
        "suffix": "the model was not trained to fill in",
    }
)


class _Top(msgspec.Struct):
    id: int = -1
    token: str = ""
    logprob: float = -math.inf
    top_logprobs: list[_Top] = []


class _Chunk(msgspec.Struct):
    content: str = ""
    tokens: list[int] = []
    stop: bool = False
    tokens_predicted: int = 0
    tokens_evaluated: int = 0
    stop_type: str = ""
    stopping_word: str = ""
    completion_probabilities: list[_Top] = []
    timings: msgspec.Raw = msgspec.Raw()
    prompt_progress: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Settings(msgspec.Struct):
    n_ctx: int


class _Props(msgspec.Struct):
    default_generation_settings: _Settings
    total_slots: int
    bos_token: str = ""
    eos_token: str = ""


class _Tokens(msgspec.Struct):
    tokens: list[int]


class _Piece(msgspec.Struct):
    id: int
    # Bytes where they are no text by themselves.
    piece: str | list[int]


class _Pieces(msgspec.Struct):
    tokens: list[_Piece]


class _Prompt(msgspec.Struct):
    prompt: str


class _Message(msgspec.Struct):
    message: str = ""


class _Failure(msgspec.Struct):
    error: _Message


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_PROGRESS = Progress()


class LlamaCppEngine:
    """The adapter.

    Args:
        url: base URL of the server, on loopback.
        stall: seconds of silence within a request after which the engine counts as stalled.
    """

    name = "llama.cpp"
    unsupported = UNSUPPORTED
    takes_token_ids = True
    # On few CPUs a batch may take longer; its liveness probe looks at progress instead.
    answers_beside = False

    def __init__(self, url: str, *, stall: float) -> None:
        self._server = Loopback(url, stall=stall, refuse=_raise_refusal)
        self._special: dict[int, str] = {}
        self._context = 0
        self._preparing = asyncio.Semaphore(_PREPARING)

    def check_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Refuse what its grammar compiler would silently ignore."""
        return json_schema.prepare(schema)

    async def close(self) -> None:
        """Close every connection."""
        await self._server.close()

    async def health(self) -> None:
        """Return if the server answers 200 on /health, which it does once the model is loaded."""
        await self._server.health("/health")

    async def describe(self) -> EngineDescription:
        """Ask for context, slots and the control tokens' ids."""
        props = await self._server.get("/props", _Props)
        special: dict[int, str] = {}
        for name in {props.bos_token, props.eos_token} - {""}:
            ids = await self._tokenize(name, add_special=False)
            if len(ids) == 1:
                special[ids[0]] = name
        self._special = special
        self._context = props.default_generation_settings.n_ctx
        return EngineDescription(context_tokens=self._context, slots=props.total_slots, device="cpu")

    async def tokenize(self, text: str) -> list[int]:
        """Token ids of a prompt, as /completion would make them."""
        async with self._preparing:
            return await self._tokenize(text, add_special=True)

    async def pieces(self, text: str, *, add_special: bool) -> list[Piece]:
        """The tokens of a text with what each stands for."""
        asked = {"content": text, "add_special": add_special, "parse_special": True, "with_pieces": True}
        async with self._preparing:
            found = (await self._server.post("/tokenize", asked, _Pieces)).tokens
        return [
            Piece(one.id, one.piece.encode() if isinstance(one.piece, str) else bytes(one.piece))
            for one in found
        ]

    async def render_chat(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """Apply the chat template that the weights carry."""
        async with self._preparing:
            answer = await self._server.post("/apply-template", {"messages": messages}, _Prompt)
        return answer.prompt

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineEvent, None]:
        """Stream one completion."""
        limit = request.max_new_tokens
        payload = _payload(request, self._context)
        async with aclosing(self._server.stream("/completion", payload)) as events:
            async for data in events:
                try:
                    chunk = _decode_chunk(data)
                except msgspec.MsgspecError as error:
                    raise EngineGarbled(
                        f"/completion sent an event that is not understood: {error}"
                    ) from None
                if chunk.error:
                    raise EngineGarbled(f"/completion ended with {failure_text(bytes(chunk.error))}")
                if chunk.stop:
                    yield _finished(chunk)
                    return
                if chunk.prompt_progress or not chunk.tokens:
                    yield _PROGRESS
                    continue
                yield self._token(chunk, limit)
        raise EngineUnreachable("the engine ended the stream before the generation was finished")

    def _token(self, chunk: _Chunk, limit: int) -> TokenEvent:
        token_id = chunk.tokens[-1]
        logprob: float | None = None
        top: tuple[TopToken, ...] = ()
        if chunk.completion_probabilities:
            chosen = chunk.completion_probabilities[-1]
            logprob = finite(chosen.logprob)
            top = tuple(TopToken(one.id, one.token, finite(one.logprob)) for one in chosen.top_logprobs)
        special = token_id in self._special and not chunk.content
        return TokenEvent(
            id=token_id,
            text=self._special[token_id] if special else chunk.content,
            logprob=logprob,
            special=special,
            top=top,
            # Timings come once a stop sequence matched; an end-of-text token has no text.
            may_be_last=not chunk.content or chunk.tokens_predicted >= limit or bool(chunk.timings),
        )

    async def _tokenize(self, text: str, *, add_special: bool) -> list[int]:
        asked = {"content": text, "add_special": add_special, "parse_special": True}
        return (await self._server.post("/tokenize", asked, _Tokens)).tokens


def _payload(request: EngineRequest, context: int) -> dict[str, Any]:
    prompt = request.prompt if isinstance(request.prompt, str) else list(request.prompt)
    samplers, top_k = (_SAMPLERS, request.top_k) if request.temperature else (_GREEDY, 1)
    payload: dict[str, Any] = {
        "prompt": prompt,
        "n_predict": request.max_new_tokens,
        "stream": True,
        "samplers": samplers,
        "temperature": request.temperature,
        "top_k": top_k,
        "top_p": request.top_p,
        "min_p": request.min_p,
        "typical_p": request.typical_p,
        "repeat_penalty": request.repetition_penalty,
        # Penalties look at the whole context, as TGI's do; the server's own default is the last 64 tokens.
        "repeat_last_n": context,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "seed": request.seed,
        "stop": request.stop,
        "n_probs": request.logprobs,
        "ignore_eos": request.ignore_eos,
        "return_progress": len(prompt) > _LONG_PROMPT,
    }
    if request.json_schema is not None:
        payload["json_schema"] = request.json_schema
    if request.logit_bias:
        payload["logit_bias"] = list(request.logit_bias.items())
    return payload


def _finished(chunk: _Chunk) -> Finished:
    return Finished(
        reason=_REASONS.get(chunk.stop_type, "length"),
        stop_text=chunk.stopping_word,
        input_tokens=chunk.tokens_evaluated,
        output_tokens=chunk.tokens_predicted,
    )


def _raise_refusal(path: str, status: int, body: bytes) -> None:
    try:
        text = msgspec.json.decode(body, type=_Failure).error.message[:300]
    except msgspec.MsgspecError:
        text = ""
    if status == 503:  # noqa: PLR2004 - what the server says while it loads
        raise EngineUnreachable(f"{path}: {text or 'not ready'}")
    if 400 <= status < 500 and text:  # noqa: PLR2004 - the client's fault, says the engine
        raise EngineRefused(text)
    raise EngineGarbled(f"{path}: status {status}")
