"""Hugging Face's text-generation-inference as an engine, over HTTP on loopback.

Shapes read from its router's sources and the facts of its contract, 2026-11-23.
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
    TokenEvent,
    TopToken,
)
from berth_serving.engines.stops import HeldText

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from berth_serving.engines.protocol import EngineEvent, EngineRequest

_VALIDATION = 422
_NOT_READY = 503

UNSUPPORTED: Mapping[str, str] = MappingProxyType(
    {
        "watermark": "not passed on",
        "decoder_input_details": "log-probabilities of prompt tokens are not served",
        "adapter_id": "no adapter is loaded",
        "grammar.regex": "only JSON schemas are passed to it",
        "best_of": "one sequence is asked of it",
        "n": "one sequence is asked of it",
        "suffix": "the model was not trained to fill in",
        "min_p": "TGI has no min_p",
        "presence_penalty": "TGI has no presence penalty",
        "logit_bias": "TGI takes no biases of tokens",
        "ignore_eos": "TGI always ends at the end-of-text token",
        "token_ids": "TGI takes prompts of text only",
    }
)


class _Token(msgspec.Struct):
    id: int
    text: str
    logprob: float | None = None
    special: bool = False


class _Details(msgspec.Struct):
    finish_reason: str
    generated_tokens: int = 0
    input_length: int = 0


class _Event(msgspec.Struct):
    token: _Token | None = None
    top_tokens: list[_Token] | None = None
    generated_text: str | None = None
    details: _Details | None = None
    error: str = ""
    error_type: str = ""


class _Info(msgspec.Struct):
    max_total_tokens: int
    max_concurrent_requests: int


class _Piece(msgspec.Struct):
    id: int
    text: str
    start: int
    stop: int


class _Chat(msgspec.Struct):
    tokenize_response: list[_Piece]
    templated_text: str


class _Failure(msgspec.Struct):
    error: str = ""


_decode = msgspec.json.Decoder(_Event).decode


class TgiEngine:
    """The adapter.

    Args:
        url: base URL of the server, on loopback.
        stall: seconds of silence within a request after which the engine counts as stalled.
    """

    name = "tgi"
    unsupported = UNSUPPORTED
    takes_token_ids = False
    answers_beside = True

    def __init__(self, url: str, *, stall: float) -> None:
        self._server = Loopback(url, stall=stall, refuse=_raise_refusal)
        self._doubled = 0

    def check_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema as it is: the server refuses what its grammar compiler cannot take."""
        return schema

    async def close(self) -> None:
        """Close every connection."""
        await self._server.close()

    async def health(self) -> None:
        """Return if /health answers 200."""
        await self._server.health("/health")

    async def describe(self) -> EngineDescription:
        """Ask for context and places, and whether the chat template says what the tokenizer adds anyway."""
        info = await self._server.get("/info", _Info)
        self._doubled = await self._characters_said_twice()
        return EngineDescription(
            context_tokens=info.max_total_tokens, slots=info.max_concurrent_requests, device="gpu"
        )

    async def tokenize(self, text: str) -> list[int]:
        """Token ids of a prompt, as /generate_stream would make them."""
        return [one.id for one in await self._server.post("/tokenize", {"inputs": text}, list[_Piece])]

    async def pieces(self, text: str, *, add_special: bool) -> list[Piece]:
        """The tokens of a text with what each stands for."""
        asked = {"inputs": text, "add_special_tokens": add_special}
        found = await self._server.post("/tokenize", asked, list[_Piece])
        return [Piece(one.id, one.text.encode() if one.stop > one.start else None) for one in found]

    async def render_chat(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The text of the model's chat template, without a first token that would be there twice."""
        return (await self._chat(messages)).templated_text[self._doubled :]

    async def generate(self, request: EngineRequest) -> AsyncGenerator[EngineEvent, None]:
        """Stream one generation."""
        held = HeldText(request.stop)
        count = 0
        async with aclosing(self._server.stream("/generate_stream", _payload(request))) as events:
            async for data in events:
                event = _understood(data)
                token, details = event.token, event.details
                count += 1
                stop = _stop(request, event)
                text = "" if token.special else held.add(token.text)
                if details is not None:
                    text += held.end(stop)
                yield TokenEvent(
                    id=token.id,
                    text=token.text if token.special else text,
                    logprob=None if token.logprob is None else finite(token.logprob),
                    special=token.special,
                    top=tuple(
                        TopToken(one.id, one.text, finite(one.logprob or 0.0))
                        for one in event.top_tokens or []
                    ),
                    may_be_last=details is not None or not text or count >= request.max_new_tokens,
                )
                if details is not None:
                    yield Finished(
                        reason=details.finish_reason,
                        stop_text=stop,
                        input_tokens=details.input_length,
                        output_tokens=details.generated_tokens,
                    )
                    return
        raise EngineUnreachable("the engine ended the stream before the generation was finished")

    async def _chat(self, messages: Sequence[Mapping[str, Any]]) -> _Chat:
        asked = {"model": "tgi", "messages": messages}
        return await self._server.post("/chat_tokenize", asked, _Chat)

    async def _characters_said_twice(self) -> int:
        """How much of a rendered chat the tokenizer adds anyway: a first token such as <s>, or nothing."""
        try:
            chat = await self._chat([{"role": "user", "content": "Hello"}])
        except EngineRefused:
            return 0  # no chat template; clients are told so when they ask
        ids = [one.id for one in chat.tokenize_response]
        again = await self.tokenize(chat.templated_text)
        if again == ids:
            return 0
        if ids and again == [ids[0], *ids]:
            return chat.tokenize_response[0].stop
        raise EngineGarbled("/tokenize and /chat_tokenize disagree on a rendered chat")


class _Told(msgspec.Struct):
    """An event that carries a token."""

    token: _Token
    top_tokens: list[_Token] | None
    generated_text: str | None
    details: _Details | None


def _understood(data: bytes) -> _Told:
    try:
        event = _decode(data)
    except msgspec.MsgspecError as error:
        raise EngineGarbled(f"/generate_stream sent an event that is not understood: {error}") from None
    if event.error:
        if event.error_type == "validation":
            raise EngineRefused(_plain(event.error))
        raise EngineGarbled(f"/generate_stream ended with {event.error[:300]}")
    if event.token is None:
        raise EngineGarbled("/generate_stream sent an event without a token")
    return _Told(event.token, event.top_tokens, event.generated_text, event.details)


def _stop(request: EngineRequest, event: _Told) -> str:
    """The stop sequence that ended a generation; TGI leaves it in the text."""
    if event.details is None or event.details.finish_reason != "stop_sequence":
        return ""
    text = event.generated_text or ""
    return max((stop for stop in request.stop if text.endswith(stop)), key=len, default="")


def _payload(request: EngineRequest) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "max_new_tokens": request.max_new_tokens,
        "details": True,
        "return_full_text": False,
        "stop": list(request.stop),
        "do_sample": request.temperature > 0,
    }
    if request.temperature > 0:
        parameters |= {"temperature": request.temperature, "seed": request.seed}
        parameters |= {"top_k": request.top_k} if request.top_k else {}
        parameters |= {"top_p": request.top_p} if request.top_p < 1 else {}
        parameters |= {"typical_p": request.typical_p} if request.typical_p < 1 else {}
    if request.repetition_penalty != 1:
        parameters["repetition_penalty"] = request.repetition_penalty
    if request.frequency_penalty:
        parameters["frequency_penalty"] = request.frequency_penalty
    if request.logprobs:
        parameters["top_n_tokens"] = request.logprobs
    if request.truncate is not None:
        parameters["truncate"] = request.truncate
    if request.json_schema is not None:
        parameters["grammar"] = {"type": "json", "value": request.json_schema or {"type": "object"}}
    return {"inputs": request.prompt, "parameters": parameters}


def _plain(message: str) -> str:
    return message.removeprefix("Input validation error: ")[:300]


def _raise_refusal(path: str, status: int, body: bytes) -> None:
    try:
        text = msgspec.json.decode(body, type=_Failure).error
    except msgspec.MsgspecError:
        text = ""
    if status == _NOT_READY:
        raise EngineUnreachable(f"{path}: {text[:300] or 'not ready'}")
    if status == _VALIDATION and text:
        raise EngineRefused(_plain(text))
    raise EngineGarbled(f"{path}: status {status}")
