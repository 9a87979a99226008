"""vLLM's OpenAI server as an engine, over HTTP on loopback.

Shapes read from PyPI vllm 0.30.0 (entrypoints/openai/completion/protocol.py, entrypoints/serve/tokenize/
protocol.py, entrypoints/serve/engine/protocol.py), 2026-11-23. The builds for Neuron and TPU speak the same.
"""

from __future__ import annotations

from contextlib import aclosing
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from berth_serving.engines.loopback import Loopback, finite
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
from berth_serving.engines.vocabulary import bytes_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from berth_serving.engines.protocol import EngineEvent, EngineRequest

_PROBE_ANSWER = Progress()
_BAD_REQUEST = range(400, 423)
_NOT_READY = 503

_EVERYWHERE: dict[str, str] = {
    "watermark": "vLLM's server has no watermarking that clients can ask for",
    "decoder_input_details": "log-probabilities of prompt tokens are not served",
    "adapter_id": "no adapter is loaded",
    "grammar.regex": "only JSON schemas are passed to it",
    "best_of": "one sequence is asked of it",
    "n": "one sequence is asked of it",
    "suffix": "the model was not trained to fill in",
    "chat_tokenize": "vLLM renders a chat into token ids, not into text",
    "typical_p": "vLLM has no typical sampling",
    "top_n_tokens": "vLLM names likely tokens by their text only, TGI's contract by their ids",
}
_UNVERIFIED = (
    "not documented for vLLM over NxD Inference, which samples on the chip by temperature, top_k and top_p"
)
_BY_DEVICE: dict[str, dict[str, str]] = {
    "gpu": {},
    "tpu": {"seed": "vLLM on TPUs refuses a seed of a single request"},
    "neuron": dict.fromkeys(
        (
            *("seed", "repetition_penalty", "frequency_penalty", "presence_penalty", "min_p", "logit_bias"),
            *("logprobs", "grammar.json", "grammar.json_schema", "response_format", "tools"),
        ),
        _UNVERIFIED,
    ),
}
DEVICES = tuple(_BY_DEVICE)


class _LogProbs(msgspec.Struct):
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None


class _Choice(msgspec.Struct):
    text: str = ""
    token_ids: list[int] | None = None
    logprobs: _LogProbs | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0


class _Error(msgspec.Struct):
    message: str = ""
    code: int | str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: _Error | None = None


class _Tokens(msgspec.Struct):
    tokens: list[int]
    token_strs: list[str] | None = None


class _Text(msgspec.Struct):
    prompt: str


class _Failure(msgspec.Struct):
    error: _Error | None = None
    message: str = ""


_decode = msgspec.json.Decoder(_Chunk).decode


class VllmEngine:
    """The adapter.

    Args:
        url: base URL of the server, on loopback.
        stall: seconds of silence within a request after which the engine counts as stalled.
        slots: sequences that it was started with; it tells nobody.
        device: gpu, neuron or tpu.
    """

    name = "vllm"
    takes_token_ids = True

    def __init__(self, url: str, *, stall: float, slots: int, device: str = "gpu") -> None:
        self._server = Loopback(url, stall=stall, refuse=raise_refusal)
        self._slots = slots
        self._device = device
        # NxD Inference reads a prompt whole.
        self.answers_beside = device != "neuron"
        self._special: dict[int, str] = {}
        self.unsupported: Mapping[str, str] = MappingProxyType({**_EVERYWHERE, **_BY_DEVICE[device]})

    def check_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema as it is: the server refuses what its grammar compiler cannot take."""
        return schema

    async def close(self) -> None:
        """Close every connection."""
        await self._server.close()

    async def health(self) -> None:
        """Return if /health answers 200, which it does unless the engine's core is dead."""
        await self._server.health("/health")

    async def describe(self) -> EngineDescription:
        """Ask for the context."""
        context = await self._server.context_tokens()
        return EngineDescription(context_tokens=context, slots=self._slots, device=self._device)

    async def tokenize(self, text: str) -> list[int]:
        """Token ids of a prompt, as /v1/completions would make them."""
        asked = {"prompt": text, "add_special_tokens": True}
        return (await self._server.post("/tokenize", asked, _Tokens)).tokens

    async def pieces(self, text: str, *, add_special: bool) -> list[Piece]:
        """The tokens of a text with what each stands for."""
        asked = {"prompt": text, "add_special_tokens": add_special, "return_token_strs": True}
        found = await self._server.post("/tokenize", asked, _Tokens)
        if found.token_strs is None or len(found.token_strs) != len(found.tokens):
            raise EngineGarbled("/tokenize names no strings of its tokens")
        stand_for = bytes_of(found.token_strs, text)
        return [Piece(token, data) for token, data in zip(found.tokens, stand_for, strict=True)]

    async def render_chat(self, messages: Sequence[Mapping[str, Any]]) -> Sequence[int]:
        """Token ids of the model's chat template: as text, special tokens could not be told from words."""
        asked = {"messages": messages, "add_generation_prompt": True}
        return (await self._server.post("/tokenize", asked, _Tokens)).tokens

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineEvent, None]:
        """Stream one completion."""
        ended: _Choice | None = None
        count = 0
        async with aclosing(self._server.stream("/v1/completions", self._payload(request))) as events:
            async for data in events:
                if data == b"[DONE]":
                    break
                chunk = _understood(data)
                for choice in chunk.choices:
                    ids = choice.token_ids or []
                    count += len(ids)
                    if choice.finish_reason is not None:
                        ended = choice
                    last = count >= request.max_new_tokens or choice.finish_reason is not None
                    async for event in self._tokens(choice, ids, may_be_last=last):
                        yield event
                    if not ids:
                        yield _PROBE_ANSWER
                if chunk.usage is not None and ended is not None:
                    stop = ended.stop_reason if isinstance(ended.stop_reason, str) else ""
                    yield Finished(
                        reason=_reason(ended, stop),
                        stop_text=stop,
                        input_tokens=chunk.usage.prompt_tokens,
                        output_tokens=chunk.usage.completion_tokens or 0,
                    )
                    return
        raise EngineUnreachable("the engine ended the stream before the generation was finished")

    async def _tokens(
        self, choice: _Choice, ids: list[int], *, may_be_last: bool
    ) -> AsyncGenerator[TokenEvent, None]:
        """The tokens of a chunk. Several come with their text together, which goes to the last of them."""
        ended_by_token = choice.finish_reason == "stop" and not isinstance(choice.stop_reason, str)
        carrier = len(ids) - (2 if ended_by_token and choice.text and len(ids) > 1 else 1)
        for position, token in enumerate(ids):
            special = (
                ended_by_token and position == len(ids) - 1 and not (choice.text and position == carrier)
            )
            text = choice.text if position == carrier and not special else ""
            yield TokenEvent(
                id=token,
                text=await self._name(token) if special else text,
                logprob=_logprob(choice.logprobs, position),
                special=special,
                top=_top(choice.logprobs, position),
                may_be_last=not text or (may_be_last and position == len(ids) - 1),
            )

    async def _name(self, token: int) -> str:
        """What a control token is called, such as </s>; each is asked for once."""
        if token not in self._special:
            self._special[token] = (await self._server.post("/detokenize", {"tokens": [token]}, _Text)).prompt
        return self._special[token]

    def _payload(self, request: EngineRequest) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "prompt": request.prompt if isinstance(request.prompt, str) else list(request.prompt),
            "max_tokens": request.max_new_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
            "temperature": request.temperature,
            "top_k": request.top_k,
            "top_p": request.top_p,
            "min_p": request.min_p,
            "repetition_penalty": request.repetition_penalty,
            "frequency_penalty": request.frequency_penalty,
            "presence_penalty": request.presence_penalty,
            "stop": list(request.stop),
            "ignore_eos": request.ignore_eos,
        }
        if "seed" not in self.unsupported:
            payload["seed"] = request.seed
        if request.logprobs:
            payload["logprobs"] = request.logprobs
        if request.logit_bias:
            payload["logit_bias"] = {str(token): bias for token, bias in request.logit_bias.items()}
        if request.json_schema is not None:
            payload["response_format"] = (
                {"type": "json_schema", "json_schema": {"name": "answer", "schema": request.json_schema}}
                if request.json_schema
                else {"type": "json_object"}
            )
        return payload


def _understood(data: bytes) -> _Chunk:
    try:
        chunk = _decode(data)
    except msgspec.MsgspecError as error:
        raise EngineGarbled(f"/v1/completions sent an event that is not understood: {error}") from None
    if chunk.error is not None:
        text = chunk.error.message[:300] or "an error"
        if isinstance(chunk.error.code, int) and chunk.error.code in _BAD_REQUEST:
            raise EngineRefused(text)
        raise EngineGarbled(f"/v1/completions ended with {text}")
    return chunk


def _reason(ended: _Choice, stop: str) -> str:
    if ended.finish_reason == "stop":
        return "stop_sequence" if stop else "eos_token"
    if ended.finish_reason == "length":
        return "length"
    raise EngineGarbled(f"/v1/completions ended by {ended.finish_reason}")


def _logprob(found: _LogProbs | None, position: int) -> float | None:
    if found is None or position >= len(found.token_logprobs):
        return None
    value = found.token_logprobs[position]
    return None if value is None else finite(value)


def _top(found: _LogProbs | None, position: int) -> tuple[TopToken, ...]:
    if found is None or not found.top_logprobs or position >= len(found.top_logprobs):
        return ()
    likely = found.top_logprobs[position] or {}
    ranked = sorted(likely.items(), key=lambda one: -one[1])
    return tuple(TopToken(-1, text, finite(value)) for text, value in ranked)


def raise_refusal(path: str, status: int, body: bytes) -> None:
    """The `EngineError` for an answer other than success, as vLLM and SGLang word it."""
    try:
        failure = msgspec.json.decode(body, type=_Failure)
    except msgspec.MsgspecError:
        failure = _Failure()
    text = (failure.error.message if failure.error else failure.message)[:300]
    if status == _NOT_READY:
        raise EngineUnreachable(f"{path}: {text or 'not ready'}")
    if status in _BAD_REQUEST and text:
        raise EngineRefused(text)
    raise EngineGarbled(f"{path}: status {status}")
