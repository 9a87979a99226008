"""OpenAI's contract: `/v1/chat/completions` and `/v1/completions`.

Beyond OpenAI's own fields, four that vLLM's and SGLang's clients send are
honoured: top_k, min_p, repetition_penalty, ignore_eos.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

from berth_serving.contracts import tools
from berth_serving.contracts.fields import Fields, show, whole
from berth_serving.contracts.model import SEED_LIMIT, VERSION, Asked
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
_ROLES = ("system", "developer", "user", "assistant", "tool")
_MOST_MESSAGES = 2048
_CONTENT = {
    "type": ["string", "array"],
    "items": {
        "type": "object",
        "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
        "required": ["type", "text"],
        "additionalProperties": False,
    },
}
_BIASES = {
    "type": ["object", "null"],
    "propertyNames": {"pattern": "^[0-9]{1,9}$"},
    "additionalProperties": {"type": ["number", "null"], "minimum": -100, "maximum": 100},
    "maxProperties": _MOST_BIASES,
}
_SOME_TEXT = {"type": "string", "minLength": 1}
_TOKENS = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}, "minItems": 1}
_PROMPT = {
    "anyOf": [
        _SOME_TEXT,
        {"type": "array", "items": _SOME_TEXT, "minItems": 1, "maxItems": 1},
        _TOKENS,
        {"type": "array", "items": _TOKENS, "minItems": 1, "maxItems": 1},
    ]
}
# Accepted without effect on the text, by OpenAI's own description: bookkeeping of the caller's.
_BOOKKEEPING = ("user", "metadata", "safety_identifier", "prompt_cache_key")


def parse_chat(read: Fields, limits: Limits) -> tuple[Asked, OpenAiOptions]:
    """Read and check a chat request.

    Raises:
        ValidationError: naming field, value and what is allowed.
    """
    _check_model(read, limits)
    messages = read.items("messages", _message, most=_MOST_MESSAGES)
    offered = tools.parse(read, limits)
    read.fixed("modalities", [["text"]], '["text"]')
    logprobs = read.boolean("logprobs")
    top = read.integer("top_logprobs", 0, low=0, high=_MOST_TOP_LOGPROBS)
    if top and not logprobs:
        raise ValidationError("`top_logprobs` needs `logprobs` to be true", param="top_logprobs")
    most = limits.max_total_tokens - 1
    new = read.optional_integer("max_completion_tokens", low=1, high=most)
    old = read.optional_integer("max_tokens", low=1, high=most)
    asked, options = _common(read, limits, kind="chat")
    asked.messages = messages if offered is None else tools.with_prompt(messages, offered)
    asked.max_new_tokens = new if new is not None else old
    asked.json_schema = _response_format(read)
    if asked.json_schema is not None and "response_format" in limits.unsupported:
        raise unsupported("response_format", "response_format", limits)
    if offered is not None:
        if asked.json_schema is not None:
            raise ValidationError(
                "`response_format` cannot be used with `tools` that may be called; set `tool_choice` to none",
                param="response_format",
            )
        asked.json_schema = offered.schema
    options.tools = offered
    if logprobs and "logprobs" in limits.unsupported:
        raise unsupported("logprobs", "logprobs", limits)
    asked.logprobs = max(top, 1) if logprobs else 0
    asked.characters = sum(len(message["content"]) for message in asked.messages)
    options.logprobs = logprobs
    options.top_logprobs = top
    read.finish()
    return asked, options


def parse_completion(read: Fields, limits: Limits) -> tuple[Asked, OpenAiOptions]:
    """Read and check a text completion request.

    Raises:
        ValidationError: naming field, value and what is allowed.
    """
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
        "max_tokens",
        min(DEFAULT_COMPLETION_TOKENS, limits.max_total_tokens - 1),
        low=1,
        high=limits.max_total_tokens - 1,
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
        read.raw(name, {})
    read.fixed("store", [False], "false: nothing is kept here")
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
        fingerprint=f"berth-{VERSION}-{limits.engine}",
        include_usage=_include_usage(read, stream=stream),
    )
    return asked, options


def _check_model(read: Fields, limits: Limits) -> None:
    model = read.text("model")
    if model not in _ANY_MODEL and model != limits.model_id:
        raise ModelNotFound(
            f"`model` {show(model)} is not served here; served: {limits.model_id}", param="model"
        )


def _message(read: Fields) -> dict[str, str]:
    role = read.choice("role", _ROLES)
    calls = tools.parse_calls(read)
    content = _content(read, optional=bool(calls))
    called = read.text("tool_call_id")
    name = read.text("name")
    # What an assistant's earlier answer carries when it is sent back; empty ones mean nothing.
    for empty in ("refusal", "function_call", "audio", "annotations", "reasoning_content"):
        read.fixed(empty, ["", [], {}], "absent: only text is served")
    read.variants(
        {"properties": {"tool_calls": {"enum": [[], None]}}, "required": ["content"]},
        {
            "properties": {
                "role": {"const": "assistant"},
                "content": {**_CONTENT, "type": ["string", "array", "null"]},
                "tool_calls": tools.calls_schema(),
            },
            "required": ["tool_calls"],
        },
    )
    read.finish()
    if calls and role != "assistant":
        raise read.wrong("tool_calls", "absent where role is not assistant")
    if role == "tool":
        return tools.result_message(called, content)
    message = {"role": "system" if role == "developer" else role, "content": content}
    if calls:
        message["content"] = tools.calls_text(content, calls)
    elif name:
        message["name"] = name
    return message


def _content(read: Fields, *, optional: bool) -> str:
    value = read.raw("content", _CONTENT, example="a")
    if isinstance(value, str):
        return value
    if value is None and optional:
        return ""
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
    value = read.raw("prompt", _PROMPT, example="a", needed=True)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], (str, list)):
        value = value[0]
    if isinstance(value, str) and value:
        return value
    ids = [whole(one) for one in value] if isinstance(value, list) else []
    if ids and all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**31 for one in ids):
        return ids
    raise read.wrong("prompt", "one string that is not empty, or one array of token ids")


def _stop(read: Fields, limits: Limits) -> tuple[str, ...]:
    several = {"type": "array", "items": {"type": "string", "minLength": 1}}
    value = read.raw(
        "stop",
        {"anyOf": [_SOME_TEXT, {**several, "maxItems": limits.max_stop_sequences}, {"type": "null"}]},
    )
    if isinstance(value, str) and value:
        return (value,)
    return read.strings("stop", limits.max_stop_sequences)


def _logit_bias(read: Fields) -> dict[int, float] | None:
    value = read.raw("logit_bias", _BIASES)
    if value is not None and not isinstance(value, dict):
        raise read.wrong("logit_bias", "an object")
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
    inner = read.inner("stream_options")
    if inner is None:
        return False
    include = inner.boolean("include_usage")
    inner.boolean("include_obfuscation")
    inner.finish()
    if include and not stream:
        raise ValidationError("`stream_options` needs `stream` to be true", param="stream_options")
    return include


def _response_format(read: Fields) -> dict[str, Any] | None:
    inner = read.inner("response_format")
    if inner is None:
        return None
    sort = inner.choice("type", ("text", "json_object", "json_schema"))
    named = inner.inner("json_schema")
    schema: dict[str, Any] | None = {} if sort == "json_object" else None
    if named is not None:
        given = named.raw("schema", {"type": "object"}, example={}, needed=True)
        named.text("name")
        named.text("description")
        named.boolean("strict")
        named.finish()
        if sort == "json_schema":
            if not isinstance(given, dict):
                raise named.wrong("schema", "a JSON schema")
            schema = given
    elif sort == "json_schema":
        raise inner.wrong("json_schema", 'an object with a "schema"')
    inner.finish()
    return schema
