"""TGI's contract: `{"inputs", "parameters"}` on `/`, `/generate` and `/generate_stream`."""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from berth_serving.contracts.fields import Fields
from berth_serving.contracts.model import SEED_LIMIT, Asked, sse, text_of
from berth_serving.errors import RequestError, UnsupportedParameter, ValidationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from berth_serving.contracts.model import Limits, Timing
    from berth_serving.engines.protocol import Finished, TokenEvent

# TGI's own, where the client says nothing.
DEFAULT_NEW_TOKENS = 100
# TGI says "strictly positive". What lies beyond these is 0 or infinite in an engine's 32 bits, and dividing
# by it makes no probabilities.
SMALLEST, LARGEST = 1e-4, 1e4
_SEED_HIGH = 2**64 - 1
_encode = msgspec.json.Encoder().encode


class Token(msgspec.Struct, gc=False):
    """TGI's token. `logprob` is that of the model's own distribution, before temperature and penalties."""

    id: int
    text: str
    logprob: float | None
    special: bool


class Details(msgspec.Struct):
    """TGI's details of a whole answer."""

    finish_reason: str
    generated_tokens: int
    seed: int | None
    prefill: list[Token]
    tokens: list[Token]
    top_tokens: list[list[Token]] | msgspec.UnsetType = msgspec.UNSET


class StreamDetails(msgspec.Struct):
    """TGI's details of a streamed answer."""

    finish_reason: str
    generated_tokens: int
    seed: int | None
    input_length: int


class Generated(msgspec.Struct):
    """TGI's answer."""

    generated_text: str
    details: Details | msgspec.UnsetType = msgspec.UNSET


class StreamEvent(msgspec.Struct):
    """One event of TGI's stream; the last carries text and details."""

    index: int
    token: Token
    generated_text: str | None
    details: StreamDetails | None
    top_tokens: list[Token] | msgspec.UnsetType = msgspec.UNSET


class TgiOptions(msgspec.Struct):
    """What shapes the answer, apart from what is generated."""

    details: bool
    full_text: bool
    top_n_tokens: int
    seed: int | None
    inputs: str
    as_list: bool


def failure_body(error: RequestError) -> bytes:
    """TGI's error body."""
    text = error.message
    if isinstance(error, ValidationError):
        text = f"Input validation error: {text}"
    return _encode({"error": text, "error_type": error.error_type})


def fold_seed(seed: int) -> int:
    """A seed of any size, brought into the engines' range."""
    return seed if seed < SEED_LIMIT else (seed ^ (seed >> 32)) % SEED_LIMIT


def parse(top: Fields, limits: Limits, *, compat: bool, stream: bool) -> tuple[Asked, TgiOptions]:
    """Read and check a request.

    Args:
        top: the JSON body.
        limits: this server's.
        compat: on `/`, where `stream` decides and whole answers are a list of one.
        stream: on `/generate_stream`.

    Raises:
        ValidationError: naming field, value and what is allowed.
    """
    inputs = top.required("inputs")
    given = top.inner("parameters")
    if compat:
        stream = top.boolean("stream")
    else:
        top.fixed("stream", [stream], f"{str(stream).lower()}: the route decides; use /generate_stream or /")
    top.finish()

    read = Fields({}, "parameters.") if given is None else given
    _refuse_unsupported(read, limits, stream=stream)
    temperature = read.number("temperature", math.nan, low=SMALLEST, high=LARGEST)
    top_k = read.integer("top_k", 0, low=1, high=2**31 - 1)
    top_p = read.number("top_p", math.nan, above=0, below=1)
    typical_p = read.number("typical_p", math.nan, above=0, below=1)
    # TGI samples where `parameters` is missing, and decodes greedily where it is there without saying so.
    sampling = read.boolean("do_sample", default=given is None) or not (
        math.isnan(temperature) and top_k == 0 and math.isnan(top_p) and math.isnan(typical_p)
    )
    seed = read.optional_integer("seed", low=0, high=_SEED_HIGH)
    top_n = read.integer("top_n_tokens", 0, low=0, high=limits.max_top_n_tokens)
    details = read.boolean("details")
    max_new = _max_new_tokens(read, limits)
    options = TgiOptions(
        details=details,
        full_text=read.boolean("return_full_text"),
        top_n_tokens=top_n,
        seed=None,
        inputs=inputs,
        as_list=compat,
    )
    chosen = secrets.randbelow(SEED_LIMIT) if seed is None else seed
    options.seed = chosen if sampling else None
    logprobs = max(top_n, 1) if stream or details else 0
    if "logprobs" in limits.unsupported:
        # A token's log-probability is then null; who asks for details wants to know it.
        if details or top_n:
            raise unsupported("parameters.details", "logprobs", limits)
        logprobs = 0
    asked = Asked(
        prompt=inputs,
        max_new_tokens=max_new,
        truncate=read.optional_integer("truncate", low=1, high=limits.max_input_tokens),
        sampling=sampling,
        temperature=1.0 if math.isnan(temperature) else temperature,
        top_k=top_k,
        top_p=1.0 if math.isnan(top_p) else top_p,
        typical_p=1.0 if math.isnan(typical_p) else typical_p,
        repetition_penalty=read.number("repetition_penalty", 1.0, low=SMALLEST, high=LARGEST),
        frequency_penalty=read.number("frequency_penalty", 0.0, low=-2, high=2),
        seed=fold_seed(chosen),
        stop=read.strings("stop", limits.max_stop_sequences),
        # A stream's tokens always carry their log-probability, a whole answer's only with details.
        logprobs=logprobs,
        json_schema=_grammar(read, limits),
        stream=stream,
        characters=len(inputs),
    )
    read.finish()
    refuse_unsupported(asked, limits, "parameters.", seeded=seed is not None and sampling)
    return asked, options


def refuse_unsupported(asked: Asked, limits: Limits, prefix: str, *, seeded: bool) -> None:
    """Refuse knobs that were turned and that the engine does not have.

    Args:
        asked: the request.
        limits: with what the engine cannot honour.
        prefix: what the contract has before a parameter's name.
        seeded: whether the client chose the seed, and sampling heeds it.

    Raises:
        UnsupportedParameter: naming the first.
    """
    turned = {
        "seed": seeded,
        "typical_p": asked.typical_p < 1,
        "min_p": asked.min_p > 0,
        "repetition_penalty": asked.repetition_penalty != 1,
        "frequency_penalty": asked.frequency_penalty != 0,
        "presence_penalty": asked.presence_penalty != 0,
        "logit_bias": bool(asked.logit_bias),
        "ignore_eos": asked.ignore_eos,
    }
    for name, is_turned in turned.items():
        if is_turned and name in limits.unsupported:
            raise unsupported(prefix + name, name, limits)


def _max_new_tokens(read: Fields, limits: Limits) -> int | None:
    most = limits.max_total_tokens - 1
    found = read.optional_integer("max_new_tokens", low=1, high=most)
    # Null is as many as fit.
    return found if read.has("max_new_tokens") else min(DEFAULT_NEW_TOKENS, most)


def _refuse_unsupported(read: Fields, limits: Limits, *, stream: bool) -> None:
    best_of = read.integer("best_of", 1, low=1, high=limits.max_best_of)
    if best_of > 1 and read.optional_integer("seed", low=0, high=_SEED_HIGH) is not None:
        raise ValidationError(
            "`parameters.best_of` > 1 cannot be used with `seed`", param="parameters.best_of"
        )
    if best_of > 1 and stream:
        raise ValidationError("`parameters.best_of` > 1 cannot be streamed", param="parameters.best_of")
    if read.boolean("decoder_input_details") and stream:
        path = "parameters.decoder_input_details"
        raise ValidationError(f"`{path}` cannot be streamed", param=path)
    asked_for = {
        "best_of": best_of > 1,
        "decoder_input_details": read.boolean("decoder_input_details"),
        "watermark": read.boolean("watermark"),
        "adapter_id": bool(read.text("adapter_id")),
        "top_n_tokens": read.integer("top_n_tokens", 0, low=0, high=limits.max_top_n_tokens) > 0,
    }
    for name, asked in asked_for.items():
        if asked and name in limits.unsupported:
            raise unsupported(f"parameters.{name}", name, limits)


def unsupported(path: str, name: str, limits: Limits) -> UnsupportedParameter:
    """The error for a parameter that the engine cannot honour."""
    return UnsupportedParameter(
        f"`{path}` cannot be honoured by {limits.engine}: {limits.unsupported[name]}; leave it out",
        param=path,
    )


def _grammar(read: Fields, limits: Limits) -> dict[str, Any] | None:
    inner = read.inner("grammar")
    if inner is None:
        return None
    path = "parameters.grammar."
    sort = inner.choice("type", ("json", "json_schema", "regex"))
    value = inner.raw("value", {"type": ["object", "string"]}, example={}, needed=True)
    inner.finish()
    if f"grammar.{sort}" in limits.unsupported:
        raise unsupported(path + "type=" + sort, f"grammar.{sort}", limits)
    if sort == "json_schema" and isinstance(value, dict) and "schema" in value:
        value = value["schema"]
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.MsgspecError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise inner.wrong("value", "a JSON schema")
    return value


class TgiAnswer:
    """Writes TGI's answers.

    The last token of a stream comes together with text and details, so a token that may be the last is held
    until the next event: one without text of its own, or the last that was asked for.
    """

    def __init__(self, options: TgiOptions) -> None:
        self._options = options
        self._index = 0
        self._text: list[str] = [options.inputs] if options.full_text else []
        self._held: TokenEvent | None = None

    def whole(self, events: Sequence[TokenEvent], finished: Finished, timing: Timing) -> bytes:
        """The body of `/generate`, or the list of one of `/`."""
        del timing
        options = self._options
        text = text_of(events) + finished.stop_text
        answer = Generated(options.inputs + text if options.full_text else text)
        if options.details:
            tokens = [_token(event) for event in events]
            if tokens and finished.stop_text:
                tokens[-1].text += finished.stop_text
            answer.details = Details(
                finish_reason=finished.reason,
                generated_tokens=finished.output_tokens,
                seed=options.seed,
                prefill=[],
                tokens=tokens,
                top_tokens=[self._top(event) for event in events] if options.top_n_tokens else msgspec.UNSET,
            )
        return _encode([answer] if options.as_list else answer)

    def begin(self) -> bytes:
        """Nothing: a stream starts with its first token."""
        return b""

    def token(self, event: TokenEvent) -> bytes:
        """The held token, if there is one, and this one unless it is held."""
        written = b""
        if self._held is not None:
            written = self._write(self._held)
            self._held = None
        if event.may_be_last:
            self._held = event
            return written
        return written + self._write(event)

    def end(self, finished: Finished) -> bytes:
        """The last token with text and details."""
        event, self._held = self._held, None
        # Without a held token the engine ended for a reason of its own; the event still needs one.
        token = _token(event) if event else Token(id=0, text="", logprob=0.0, special=True)
        if finished.stop_text:
            token.text += finished.stop_text
        if not token.special:
            self._text.append(token.text)
        details = StreamDetails(
            finished.reason, finished.output_tokens, self._options.seed, finished.input_tokens
        )
        self._index += 1
        last = StreamEvent(
            self._index, token, "".join(self._text), details if self._options.details else None
        )
        if event and self._options.top_n_tokens:
            last.top_tokens = self._top(event)
        return sse(_encode(last))

    def failure(self, error: RequestError) -> bytes:
        """An event with TGI's error body."""
        return sse(failure_body(error))

    def _write(self, event: TokenEvent) -> bytes:
        self._index += 1
        if not event.special:
            self._text.append(event.text)
        said = StreamEvent(self._index, _token(event), None, None)
        if self._options.top_n_tokens:
            said.top_tokens = self._top(event)
        return sse(_encode(said))

    def _top(self, event: TokenEvent) -> list[Token]:
        return [Token(one.id, one.text, one.logprob, special=False) for one in event.top]


def _token(event: TokenEvent) -> Token:
    return Token(event.id, event.text, event.logprob, event.special)
