"""OpenAI's contract: `/v1/chat/completions` and `/v1/completions`.

Beyond OpenAI's own fields, four that vLLM's and SGLang's clients send are
honoured: top_k, min_p, repetition_penalty, ignore_eos.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

from berth_serving.contracts.fields import Fields, show
from berth_serving.contracts.model import SEED_LIMIT, Asked
from berth_serving.contracts.openai_answers import OpenAiOptions
from berth_serving.contracts.tgi import LARGEST, SMALLEST, fold_seed, refuse_unsupported, unsupported
from berth_serving.errors import ModelNotFound, ValidationError

if TYPE_CHECKING:
    from berth_serving.contracts.model import Limits

# OpenAI's own for /v1/completions; a chat without a limit may use the whole context.
DEFAULT_COMPLETION_TOKENS = 16
_MOST_TOP_LOGPROBS = 20
_MOST_LOGPROBS = 5
_MOST_BIASES = 300
_HOTTEST = 2.0
# What TGI's and Hugging Face's clients send where they know no name.
_ANY_MODEL = frozenset({"tgi", "dummy", ""})
_ROLES = ("system", "developer", "user", "assistant")
# Accepted without effect on the text, by OpenAI's own description: bookkeeping of the caller's.
_BOOKKEEPING = ("user", "metadata", "safety_identifier", "prompt_cache_key")


def parse_chat(data: dict[str, Any], limits: Limits) -> tuple[Asked, OpenAiOptions]:
    """Read and check a chat request.

    Raises:
        ValidationError: naming field, value and what is allowed.
    """
    read = Fields(data)
    _check_model(read, limits)
    messages = _messages(read)
    _refuse_tools(read, limits)
    logprobs = read.boolean("logprobs")
    top = read.integer("top_logprobs", 0, low=0, high=_MOST_TOP_LOGPROBS)
    if top and not logprobs:
        raise ValidationError("`top_logprobs` needs `logprobs` to be true", param="top_logprobs")
    most = limits.max_total_tokens
    new = read.optional_integer("max_completion_tokens", low=1, high=most)
    old = read.optional_integer("max_tokens", low=1, high=most)
    asked, options = _common(read, limits, kind="chat")
    asked.messages = messages
    asked.max_new_tokens = new if new is not None else old
    asked.json_schema = _response_format(read)
    if asked.json_schema is not None and "response_format" in limits.unsupported:
        raise unsupported("response_format", "response_format", limits)
    if logprobs and "logprobs" in limits.unsupported:
        raise unsupported("logprobs", "logprobs", limits)
    asked.logprobs = max(top, 1) if logprobs else 0
    asked.characters = sum(len(message["content"]) for message in messages)
    options.logprobs = logprobs
    options.top_logprobs = top
    read.finish()
    return asked, options


def parse_completion(data: dict[str, Any], limits: Limits) -> tuple[Asked, OpenAiOptions]:
    """Read and check a text completion request.

    Raises:
        ValidationError: naming field, value and what is allowed.
    """
    read = Fields(data)
    _check_model(read, limits)
    prompt = _prompt(read)
    if read.text("suffix"):
        raise unsupported("suffix", "suffix", limits)
    if read.integer("best_of", 1, low=1, high=20) > 1:
        raise unsupported("best_of", "best_of", limits)
    if not isinstance(prompt, str) and "token_ids" in limits.unsupported:
        raise unsupported("prompt", "token_ids", limits)
    logprobs = read.optional_integer("logprobs", low=0, high=_MOST_LOGPROBS)
    if logprobs is not None and "logprobs" in limits.unsupported:
        raise unsupported("logprobs", "logprobs", limits)
    echo = read.boolean("echo")
    if echo and not isinstance(prompt, str):
        raise ValidationError("`echo` needs a `prompt` of text, got token ids", param="echo")
    if echo and logprobs is not None:
        reason = "log-probabilities of the prompt are not available; leave `logprobs` or `echo` out"
        raise ValidationError(f"`echo` with `logprobs`: {reason}", param="echo")
    asked, options = _common(read, limits, kind="completion")
    asked.prompt = prompt
    asked.max_new_tokens = read.integer(
        "max_tokens", DEFAULT_COMPLETION_TOKENS, low=1, high=limits.max_total_tokens
    )
    asked.logprobs = 0 if logprobs is None else max(logprobs, 1)
    asked.characters = len(prompt)
    options.logprobs = logprobs is not None
    options.top_logprobs = logprobs or 0
    options.echo = prompt if echo and isinstance(prompt, str) else ""
    read.finish()
    return asked, options


def _common(read: Fields, limits: Limits, *, kind: str) -> tuple[Asked, OpenAiOptions]:
    if read.integer("n", 1, low=1, high=128) > 1:
        raise unsupported("n", "n", limits)
    for name in _BOOKKEEPING:
        read.raw(name)
    if read.boolean("store"):
        raise ValidationError("`store` must be false: nothing is kept here", param="store")
    stream = read.boolean("stream")
    temperature = read.number("temperature", 1.0, low=0, high=_HOTTEST)
    seed = read.optional_integer("seed", low=-(2**63), high=2**63 - 1)
    asked = Asked(
        prompt=None,
        max_new_tokens=None,
        # As TGI and vLLM have it: only 0 is greedy.
        sampling=temperature >= SMALLEST,
        temperature=temperature,
        top_p=read.number("top_p", 1.0, above=0, high=1),
        top_k=read.integer("top_k", 0, low=-1, high=2**31 - 1),
        min_p=read.number("min_p", 0.0, low=0, high=1),
        repetition_penalty=read.number("repetition_penalty", 1.0, low=SMALLEST, high=LARGEST),
        frequency_penalty=read.number("frequency_penalty", 0.0, low=-2, high=2),
        presence_penalty=read.number("presence_penalty", 0.0, low=-2, high=2),
        seed=secrets.randbelow(SEED_LIMIT) if seed is None else fold_seed(seed % 2**64),
        stop=_stop(read, limits),
        ignore_eos=read.boolean("ignore_eos"),
        logit_bias=_logit_bias(read),
        stream=stream,
    )
    refuse_unsupported(asked, limits, "", seeded=seed is not None and asked.sampling)
    prefix, sort = ("chatcmpl-", "chat.completion") if kind == "chat" else ("cmpl-", "text_completion")
    options = OpenAiOptions(
        id=prefix + secrets.token_hex(16),
        object=sort,
        created=int(time.time()),
        model=limits.model_id,
        include_usage=_include_usage(read, stream=stream),
    )
    return asked, options


def _check_model(read: Fields, limits: Limits) -> None:
    model = read.text("model")
    if model not in _ANY_MODEL and model != limits.model_id:
        raise ModelNotFound(
            f"`model` {show(model)} is not served here; served: {limits.model_id}", param="model"
        )


def _messages(read: Fields) -> list[dict[str, str]]:
    value = read.raw("messages")
    if not isinstance(value, list) or not value:
        raise read.wrong("messages", "an array of at least one message")
    return [_message(one, f"messages[{index}]") for index, one in enumerate(value)]


def _message(value: Any, path: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValidationError(f"`{path}` must be an object, got {show(value)}", param=path)
    read = Fields(value, path + ".")
    role = read.text("role")
    if role not in _ROLES:
        raise read.wrong("role", "one of " + ", ".join(_ROLES))
    content = _content(read)
    message = {"role": "system" if role == "developer" else role, "content": content}
    name = read.text("name")
    if name:
        message["name"] = name
    # What an assistant's earlier answer carries when it is sent back; empty ones mean nothing.
    for empty in ("refusal", "tool_calls", "function_call", "audio", "annotations", "reasoning_content"):
        if role == "assistant" and read.raw(empty):
            raise read.wrong(empty, "absent: only text is served")
    read.finish()
    return message


def _content(read: Fields) -> str:
    value = read.raw("content")
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise read.wrong("content", "a string or an array of text parts")
    parts = []
    for part in value:
        text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        if not isinstance(text, str):
            raise read.wrong(
                "content", 'a string or an array of {"type": "text", "text": …}: the model takes text'
            )
        parts.append(text)
    return "".join(parts)


def _prompt(read: Fields) -> str | list[int]:
    value = read.raw("prompt")
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], (str, list)):
        value = value[0]
    if isinstance(value, str) and value:
        return value
    ids = isinstance(value, list) and bool(value)
    if ids and all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**31 for one in value):
        return value  # type: ignore[no-any-return]
    raise read.wrong("prompt", "one string that is not empty, or one array of token ids")


def _stop(read: Fields, limits: Limits) -> tuple[str, ...]:
    value = read.raw("stop")
    if isinstance(value, str) and value:
        return (value,)
    return read.strings("stop", limits.max_stop_sequences)


def _logit_bias(read: Fields) -> dict[int, float] | None:
    value = read.mapping("logit_bias")
    if not value:
        return None
    if len(value) > _MOST_BIASES:
        raise ValidationError(f"`logit_bias` must name at most {_MOST_BIASES} tokens", param="logit_bias")
    inner = Fields(value, "logit_bias.")
    biases = {}
    for token in value:
        if not (token.isascii() and token.isdigit() and int(token) < 2**31):
            raise ValidationError(f"`logit_bias` must map token ids, got {show(token)}", param="logit_bias")
        biases[int(token)] = inner.number(token, 0.0, low=-100, high=100)
    return biases


def _include_usage(read: Fields, *, stream: bool) -> bool:
    value = read.mapping("stream_options")
    if value is None:
        return False
    if not stream:
        raise ValidationError("`stream_options` needs `stream` to be true", param="stream_options")
    inner = Fields(value, "stream_options.")
    include = inner.boolean("include_usage")
    inner.boolean("include_obfuscation")
    inner.finish()
    return include


def _response_format(read: Fields) -> dict[str, Any] | None:
    value = read.mapping("response_format")
    if value is None:
        return None
    inner = Fields(value, "response_format.")
    sort = inner.raw("type")
    schema: dict[str, Any] | None = None
    if sort == "json_object":
        schema = {}
    elif sort == "json_schema":
        named = inner.mapping("json_schema") or {}
        given = named.get("schema")
        if not isinstance(given, dict):
            raise ValidationError(
                f"`response_format.json_schema.schema` must be a JSON schema, got {show(given)}",
                param="response_format",
            )
        schema = given
    elif sort != "text":
        raise inner.wrong("type", "text, json_object or json_schema")
    inner.finish()
    return schema


def _refuse_tools(read: Fields, limits: Limits) -> None:
    for name in ("tools", "functions"):
        if read.raw(name):
            raise unsupported(name, "tools", limits)
    choice = read.raw("tool_choice")
    if choice not in (None, "none", "auto"):
        raise unsupported("tool_choice", "tools", limits)
    read.boolean("parallel_tool_calls")
    if read.raw("modalities") not in (None, ["text"]):
        raise read.wrong("modalities", '["text"]')
