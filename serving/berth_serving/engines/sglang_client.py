"""SGLang's own server as an engine, over HTTP on loopback.

Shapes read from PyPI sglang 0.5.20 (srt/entrypoints/http_server.py, srt/managers/io_struct.py and
tokenizer_manager.py, srt/sampling/sampling_params.py, srt/managers/schedule_batch.py), 2026-11-23.
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
from berth_serving.engines.stops import HeldText
from berth_serving.engines.vllm_client import raise_refusal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from berth_serving.engines.protocol import EngineEvent, EngineRequest

_PROGRESS = Progress()
_BAD_REQUEST = range(400, 423)

UNSUPPORTED: Mapping[str, str] = MappingProxyType(
    {
        "watermark": "SGLang has no watermarking",
        "decoder_input_details": "log-probabilities of prompt tokens are not served",
        "adapter_id": "no adapter is loaded",
        "grammar.regex": "only JSON schemas are passed to it",
        "best_of": "one sequence is asked of it",
        "n": "one sequence is asked of it",
        "suffix": "the model was not trained to fill in",
        "tokenize": "SGLang's server says what ids a text has, not what each stands for",
        "chat_tokenize": "SGLang renders a chat into token ids, not into text",
        "typical_p": "SGLang has no typical sampling",
        "seed": "SGLang heeds a seed only where it is started for deterministic inference, which costs speed",
    }
)


class _Finish(msgspec.Struct):
    type: str
    matched: int | str | list[int] | None = None
    message: str = ""
    status_code: int | None = None


class _Meta(msgspec.Struct):
    finish_reason: _Finish | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    # Each is [log-probability, id, text].
    output_token_logprobs: list[tuple[float | None, int, str | None]] = []
    output_top_logprobs: list[list[tuple[float | None, int, str | None]] | None] = []


class _Error(msgspec.Struct):
    message: str = ""
    code: int | str | None = None


class _Chunk(msgspec.Struct):
    text: str = ""
    output_ids: list[int] = []
    meta_info: _Meta = msgspec.field(default_factory=_Meta)
    error: _Error | None = None


class _Tokens(msgspec.Struct):
    tokens: list[int]


class _Text(msgspec.Struct):
    text: str


_decode = msgspec.json.Decoder(_Chunk).decode


class SglangEngine:
    """The adapter.

    Args:
        url: base URL of the server, on loopback.
        stall: seconds of silence within a request after which the engine counts as stalled.
        slots: sequences that it was started with; it tells nobody.
    """

    name = "sglang"
    unsupported = UNSUPPORTED
    takes_token_ids = True
    answers_beside = True

    def __init__(self, url: str, *, stall: float, slots: int) -> None:
        self._server = Loopback(url, stall=stall, refuse=raise_refusal)
        self._slots = slots
        self._special: dict[int, str] = {}

    def check_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema as it is: the server refuses what its grammar compiler cannot take."""
        return schema

    async def close(self) -> None:
        """Close every connection."""
        await self._server.close()

    async def health(self) -> None:
        """Return if the server answers. Its own /health generates, and may take longer than a check."""
        await self._server.health("/v1/models")

    async def describe(self) -> EngineDescription:
        """Ask for the context."""
        context = await self._server.context_tokens()
        return EngineDescription(context_tokens=context, slots=self._slots, device="gpu")

    async def tokenize(self, text: str) -> list[int]:
        """Token ids of a prompt, as /generate would make them."""
        asked = {"prompt": text, "add_special_tokens": True}
        return (await self._server.post("/tokenize", asked, _Tokens)).tokens

    async def pieces(self, text: str, *, add_special: bool) -> list[Piece]:
        """Nothing: the gateway refuses what would need it."""
        del text, add_special
        raise EngineRefused(self.unsupported["tokenize"])

    async def render_chat(self, messages: Sequence[Mapping[str, Any]]) -> Sequence[int]:
        """Token ids of the model's chat template: as text, special tokens could not be told from words."""
        return (await self._server.post("/tokenize", {"messages": messages}, _Tokens)).tokens

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineEvent, None]:
        """Stream one completion."""
        held = HeldText(request.stop)
        count, sent = 0, ""
        async with aclosing(self._server.stream("/generate", _payload(request))) as events:
            async for data in events:
                if data == b"[DONE]":
                    break
                chunk = _understood(data)
                meta, finish = chunk.meta_info, chunk.meta_info.finish_reason
                fresh = meta.completion_tokens - count
                # Events say what is new, or everything so far, by how the server was started.
                repeats = count > 0 and len(chunk.output_ids) == meta.completion_tokens
                text = chunk.text[len(sent) :] if repeats else chunk.text
                sent = chunk.text if repeats else sent + text
                count = meta.completion_tokens
                stop = finish.matched if finish and isinstance(finish.matched, str) else ""
                shown = held.add(text)
                if finish is not None:
                    shown += held.end(stop)
                if fresh <= 0 and finish is None:
                    yield _PROGRESS
                async for event in self._tokens(chunk, fresh, shown, request):
                    yield event
                if finish is not None:
                    yield Finished(
                        reason=_reason(finish, stop),
                        stop_text=stop,
                        input_tokens=meta.prompt_tokens,
                        output_tokens=meta.completion_tokens,
                    )
                    return
        raise EngineUnreachable("the engine ended the stream before the generation was finished")

    async def _tokens(
        self, chunk: _Chunk, fresh: int, text: str, request: EngineRequest
    ) -> AsyncGenerator[TokenEvent, None]:
        """The new tokens of an event; several share their text, which the last one carries."""
        ids = chunk.output_ids[-fresh:] if fresh > 0 else []
        finish = chunk.meta_info.finish_reason
        by_token = finish is not None and finish.type == "stop" and not isinstance(finish.matched, str)
        carrier = len(ids) - 1
        if by_token and text and len(ids) > 1:
            carrier -= 1
        logprobs = chunk.meta_info.output_token_logprobs[-fresh:] if fresh > 0 else []
        tops = chunk.meta_info.output_top_logprobs[-fresh:] if fresh > 0 else []
        for position, token in enumerate(ids):
            special = by_token and position == len(ids) - 1 and not (text and position == carrier)
            shown = text if position == carrier and not special else ""
            last = position == len(ids) - 1
            done = finish is not None or chunk.meta_info.completion_tokens >= request.max_new_tokens
            yield TokenEvent(
                id=token,
                text=await self._name(token) if special else shown,
                logprob=_value(logprobs[position]) if position < len(logprobs) else None,
                special=special,
                top=_top(tops[position]) if position < len(tops) else (),
                may_be_last=not shown or (last and done),
            )

    async def _name(self, token: int) -> str:
        if token not in self._special:
            asked = {"tokens": [token], "skip_special_tokens": False}
            self._special[token] = (await self._server.post("/detokenize", asked, _Text)).text
        return self._special[token]


def _payload(request: EngineRequest) -> dict[str, Any]:
    sampling: dict[str, Any] = {
        "max_new_tokens": request.max_new_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "min_p": request.min_p,
        "repetition_penalty": request.repetition_penalty,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "stop": list(request.stop),
        "ignore_eos": request.ignore_eos,
    }
    if request.top_k:
        sampling["top_k"] = request.top_k
    if request.logit_bias:
        sampling["logit_bias"] = {str(token): bias for token, bias in request.logit_bias.items()}
    if request.json_schema is not None:
        sampling["json_schema"] = msgspec.json.encode(request.json_schema or {"type": "object"}).decode()
    prompt = (
        {"text": request.prompt} if isinstance(request.prompt, str) else {"input_ids": list(request.prompt)}
    )
    payload: dict[str, Any] = {**prompt, "sampling_params": sampling, "stream": True}
    if request.logprobs:
        payload |= {
            "return_logprob": True,
            "top_logprobs_num": request.logprobs,
            "return_text_in_logprobs": True,
        }
    return payload


def _understood(data: bytes) -> _Chunk:
    try:
        chunk = _decode(data)
    except msgspec.MsgspecError as error:
        raise EngineGarbled(f"/generate sent an event that is not understood: {error}") from None
    if chunk.error is not None:
        _fail(chunk.error.message, chunk.error.code)
    finish = chunk.meta_info.finish_reason
    if finish is not None and finish.type == "abort":
        _fail(finish.message, finish.status_code)
    return chunk


def _fail(message: str, code: int | str | None) -> None:
    text = message[:300] or "an error"
    if isinstance(code, int) and code in _BAD_REQUEST:
        raise EngineRefused(text)
    raise EngineGarbled(f"/generate ended with {text}")


def _reason(finish: _Finish, stop: str) -> str:
    if finish.type == "stop":
        return "stop_sequence" if stop else "eos_token"
    if finish.type == "length":
        return "length"
    raise EngineGarbled(f"/generate ended by {finish.type}")


def _value(entry: tuple[float | None, int, str | None]) -> float | None:
    return None if entry[0] is None else finite(entry[0])


def _top(entries: list[tuple[float | None, int, str | None]] | None) -> tuple[TopToken, ...]:
    return tuple(TopToken(token, text or "", finite(value or 0.0)) for value, token, text in entries or [])
