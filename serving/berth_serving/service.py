"""From a validated request to tokens: admission, tokenizing, a slot, the engine, and what is measured."""

from __future__ import annotations

import time
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from berth_serving.contracts.model import Asked, Limits
from berth_serving.engines.protocol import (
    EngineError,
    EngineGarbled,
    EngineRefused,
    EngineRequest,
    Finished,
    Progress,
    TokenEvent,
)
from berth_serving.errors import GenerationFailed, NotReady, Overloaded, ValidationError
from berth_serving.filters import rules
from berth_serving.filters.chain import Filters
from berth_serving.filters.streams import OutputFilter
from berth_serving.interrupt import Interruptible
from berth_serving.monitor import EngineMonitor
from berth_serving.records import Records

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence

    from berth_serving.admission import Admission, Place
    from berth_serving.call import Call
    from berth_serving.engines.protocol import Engine, Piece
    from berth_serving.keys import Key
    from berth_serving.metrics import GatewayMetrics
    from berth_serving.records import Record
    from berth_serving.settings import GatewaySettings

# A tokenizer makes at most one token of a byte, and adds a few of its own.
_EXTRA_TOKENS = 8
_CUT_SHORT = "Input data was truncated"


class Service:
    """One model behind one engine."""

    def __init__(
        self, settings: GatewaySettings, engine: Engine, admission: Admission, metrics: GatewayMetrics
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.admission = admission
        self.metrics = metrics
        self.monitor = EngineMonitor(
            engine, settings, on_ready=self._on_ready, on_lost=self._on_lost, has_place=self._has_place
        )
        metrics.engine_loading.set(1)
        metrics.engine_wedged.set_function(lambda: self.monitor.wedged)
        self.limits = Limits(
            model_id=settings.model_id,
            max_input_tokens=settings.max_input_tokens,
            max_total_tokens=settings.max_total_tokens,
            max_stop_sequences=settings.max_stop_sequences,
            unsupported=engine.unsupported,
            engine=engine.name,
        )
        self.filters = Filters(
            rules.load(settings.filters_file) if settings.filters_file else (), metrics, settings
        )
        self.records = Records(settings, metrics)
        self._on_engine: set[Interruptible] = set()
        self._running: dict[str, int] = {}

    @asynccontextmanager
    async def generation(self, asked: Asked, call: Call) -> AsyncIterator[Generation]:
        """Admit a request and hold a slot of the engine for it.

        Raises:
            NotReady: the engine is not there; nothing was started.
            Overloaded: no place, no slot in time, or the key has as many in flight as it may.
            ContentBlocked: a filter blocks the prompt.
            ValidationError: what only the tokenizer could tell.
            GenerationFailed: raised into the body when the engine is lost meanwhile.
        """
        self.monitor.require_ready()
        with self._one_more_of(call.key), self.admission.enter(call.key.name) as place:
            record = self.records.begin(call, asked)
            try:
                await self._filter_prompt(asked, call)
                request = await self._prepare(asked)
                record.timing.validated = time.monotonic()
                try:
                    await place.take_slot(self.settings.queue_timeout)
                finally:
                    self.metrics.queue_wait.observe(time.monotonic() - record.timing.validated)
                # The engine may have been lost while this one waited for a slot of its own accord.
                self.monitor.require_ready()
                record.timing.started = time.monotonic()
                record.engine_begins()
                async with Interruptible() as scope:
                    self._on_engine.add(scope)
                    try:
                        yield Generation(self, request, place, record)
                    finally:
                        self._on_engine.discard(scope)
            except BaseException as error:
                record.error = type(error).__name__
                raise
            finally:
                record.end()

    @contextmanager
    def _one_more_of(self, key: Key) -> Iterator[None]:
        """Count a key's generations in flight, where it may have only so many."""
        if not key.max_concurrent:
            yield
            return
        running = self._running.get(key.name, 0)
        if running >= key.max_concurrent:
            raise Overloaded(
                f"key {key.name}: at most {key.max_concurrent} requests may be in flight",
                retry_after=self.admission.retry_after(),
                code="rate_limit_exceeded",
            )
        self._running[key.name] = running + 1
        try:
            yield
        finally:
            self._running[key.name] -= 1
            if not self._running[key.name]:
                del self._running[key.name]

    async def _filter_prompt(self, asked: Asked, call: Call) -> None:
        """Let the filters look at the prompt, and change it where one redacts."""
        if not self.filters.inputs:
            return
        if asked.messages is not None:
            texts = [message.get("content") for message in asked.messages]
            places = [index for index, text in enumerate(texts) if isinstance(text, str)]
            made = await self.filters.check_input([str(texts[index]) for index in places], call)
            changed = dict(zip(places, made, strict=True))
            asked.messages = [
                {**message, "content": changed[index]} if index in changed else message
                for index, message in enumerate(asked.messages)
            ]
        elif isinstance(asked.prompt, str):
            (asked.prompt,) = await self.filters.check_input([asked.prompt], call)
        else:
            raise ValidationError("`prompt` must be text: filters cannot read token ids", param="prompt")

    async def pieces(
        self, asked: str | Sequence[Mapping[str, Any]], key: str, *, add_special: bool
    ) -> tuple[str, Sequence[Piece]]:
        """The tokens of a text, or of a chat as its template renders it; and that text.

        Raises:
            NotReady, Overloaded, ValidationError, GenerationFailed: as `generation` does.
        """
        self.monitor.require_ready()
        with self.admission.enter(key), self._preparing():
            text = asked if isinstance(asked, str) else await self._render(asked)
            if not isinstance(text, str):
                raise ValidationError("the engine renders chats into token ids only")
            return text, await self.engine.pieces(text, add_special=add_special)

    @contextmanager
    def _preparing(self) -> Iterator[None]:
        """What an engine may say about a prompt, in the words of a client's error."""
        try:
            yield
        except EngineRefused as error:
            raise ValidationError(f"the engine refused the prompt: {error}") from None
        except EngineGarbled as error:
            self.monitor.doubt()
            raise GenerationFailed(f"Request failed before generation: {error}") from None
        except EngineError as error:
            self.monitor.lose(str(error))
            raise NotReady(f"Model is not ready: {error}", retry_after=1) from None

    async def _prepare(self, asked: Asked) -> EngineRequest:
        """Render, tokenize where it is needed, and check lengths."""
        schema = self._checked_schema(asked)
        with self._preparing():
            prompt, count = await self._prompt(asked)
        most_new = asked.max_new_tokens
        if count is not None:
            most_new = self._checked_length(asked, count)
        if most_new is None:
            raise ValidationError("the request has no length")
        return _engine_request(asked, prompt, most_new, schema)

    async def _prompt(self, asked: Asked) -> tuple[str | Sequence[int], int | None]:
        """The prompt with its length in tokens: text and None where its length needs no look.

        Else token ids, truncated if asked for; or text still, for an engine that takes no ids and truncates
        by itself.
        """
        prompt: str | Sequence[int] | None = asked.prompt
        if asked.messages is not None:
            prompt = await self._render(asked.messages)
        if prompt is None:
            raise ValidationError("the request has no prompt")
        if isinstance(prompt, str):
            if not self._needs_count(asked, prompt):
                return prompt, None
            ids: Sequence[int] = await self.engine.tokenize(prompt)
        else:
            ids = prompt
        if asked.truncate is not None:
            ids = ids[-asked.truncate :]
        return (ids if self.engine.takes_token_ids else prompt), len(ids)

    def _checked_schema(self, asked: Asked) -> dict[str, Any] | None:
        try:
            return None if asked.json_schema is None else self.engine.check_schema(asked.json_schema)
        except EngineRefused as error:
            raise ValidationError(f"the JSON schema cannot be followed: {error}", param="schema") from None

    async def _render(self, messages: Sequence[object]) -> str | Sequence[int]:
        try:
            return await self.engine.render_chat(messages)  # type: ignore[arg-type]
        except EngineRefused as error:
            raise ValidationError(
                f"`messages` do not fit the model's chat template: {error}",
                param="messages",
                error_type="template_error",
            ) from None

    def _needs_count(self, asked: Asked, prompt: str) -> bool:
        """Whether the prompt has to be tokenized before the engine does it: not if its bytes alone fit."""
        if asked.max_new_tokens is None or asked.truncate is not None:
            return True
        bound = len(prompt.encode()) + _EXTRA_TOKENS
        limits = self.limits
        return bound > limits.max_input_tokens or bound + asked.max_new_tokens > limits.max_total_tokens

    def _checked_length(self, asked: Asked, count: int) -> int:
        limits = self.limits
        if count > limits.max_input_tokens:
            raise ValidationError(
                f"the prompt has {count} tokens; at most {limits.max_input_tokens} are taken "
                "(MAX_INPUT_TOKENS)",
                code="context_length_exceeded",
            )
        total = asked.max_length or limits.max_total_tokens
        if asked.max_new_tokens is None:
            if count >= total:
                raise ValidationError(
                    f"`max_length` must be larger than the prompt's {count} tokens, got {total}",
                    param="max_length",
                )
            return total - count
        if count + asked.max_new_tokens > total:
            raise ValidationError(
                f"the prompt has {count} tokens and {asked.max_new_tokens} new ones are asked for; "
                f"together at most {total} fit (MAX_TOTAL_TOKENS)",
                code="context_length_exceeded",
            )
        return asked.max_new_tokens

    def _has_place(self) -> bool:
        running = self.admission.running
        return not running or (self.engine.answers_beside and running < self.admission.slots)

    def _on_ready(self) -> None:
        self.metrics.engine_ready.set(1)
        self.metrics.engine_loading.set(0)

    def _on_lost(self, reason: str) -> None:
        self.metrics.engine_ready.set(0)
        self.metrics.engine_losses.inc()
        self.admission.fail_waiting(lambda: NotReady(f"Model is not ready: {reason}", retry_after=1))
        for scope in tuple(self._on_engine):
            scope.interrupt(
                GenerationFailed(f"Request failed during generation: the engine was lost ({reason})")
            )


class Generation:
    """One request in a slot of the engine. Iterate `tokens()` once; then `finished` is set."""

    def __init__(self, service: Service, request: EngineRequest, place: Place, record: Record) -> None:
        self._service = service
        self._request = request
        self._place = place
        self._record = record
        self.timing = record.timing

    @property
    def finished(self) -> Finished | None:
        """The end of the engine's answer, once it is there."""
        return self._record.finished

    def tokens(self) -> AsyncGenerator[TokenEvent, None]:
        """Every token, as it comes, or as filters let it. The slot is free once the engine is done.

        Raises:
            ValidationError: the engine refused the request.
            GenerationFailed: it did not finish it.
            ContentBlocked: a filter blocks the answer.
        """
        return self._filtered() if self._service.filters.outputs else self._from_engine()

    async def _filtered(self) -> AsyncGenerator[TokenEvent, None]:
        filters = self._service.filters
        judgement = filters.judge_output(self._record.call)
        output = OutputFilter(filters, judgement)
        try:
            async with aclosing(self._from_engine()) as events:
                async for event in events:
                    for sure in await output.feed(event):
                        yield sure
            for sure in await output.end():
                yield sure
        finally:
            filters.finish(judgement)

    async def _from_engine(self) -> AsyncGenerator[TokenEvent, None]:
        metrics, monitor, record = self._service.metrics, self._service.monitor, self._record
        timing = record.timing
        previous = 0.0
        follows = _SchemaCheck() if self._request.json_schema is not None else None
        try:
            async with aclosing(self._service.engine.generate(self._request)) as events:
                async for event in events:
                    now = time.monotonic()
                    monitor.progressed()
                    if isinstance(event, TokenEvent):
                        if previous:
                            metrics.between_tokens.observe(now - previous)
                        else:
                            timing.first_token = now
                            metrics.first_token.labels(record.call.route).observe(now - timing.received)
                        previous = now
                        record.said(event)
                        if follows is not None:
                            follows.add(event)
                        yield event
                    elif isinstance(event, Progress):
                        continue
                    else:
                        if follows is not None:
                            follows.at_end(event)
                        self._place.free_slot(served=True)
                        record.engine_ended(event, now, self._request.max_new_tokens)
        except EngineRefused as error:
            raise ValidationError(f"the engine refused the request: {error}") from None
        except EngineGarbled as error:
            # This request's own failure until a check says otherwise: the others go on meanwhile.
            monitor.doubt()
            raise GenerationFailed(f"Request failed during generation: {error}") from None
        except EngineError as error:
            monitor.lose(str(error))
            raise GenerationFailed(f"Request failed during generation: {error}") from None


def _engine_request(
    asked: Asked, prompt: str | Sequence[int], max_new_tokens: int, schema: dict[str, Any] | None
) -> EngineRequest:
    return EngineRequest(
        prompt=prompt,
        max_new_tokens=max_new_tokens,
        truncate=asked.truncate if isinstance(prompt, str) else None,
        temperature=asked.temperature if asked.sampling else 0.0,
        top_k=max(asked.top_k, 0),
        top_p=asked.top_p,
        min_p=asked.min_p,
        typical_p=asked.typical_p,
        repetition_penalty=asked.repetition_penalty,
        frequency_penalty=asked.frequency_penalty,
        presence_penalty=asked.presence_penalty,
        seed=asked.seed,
        stop=asked.stop,
        logprobs=asked.logprobs,
        json_schema=schema,
        ignore_eos=asked.ignore_eos,
        logit_bias=asked.logit_bias,
    )


class _SchemaCheck:
    """Whether an answer that had to fit a schema is JSON at all.

    Engines have been seen to drop a grammar that they could not compile without saying so. What is refused
    beforehand should leave nothing of that kind; this finds the rest.
    """

    def __init__(self) -> None:
        self._text: list[str] = []

    def add(self, event: TokenEvent) -> None:
        """Take a token's text."""
        if not event.special:
            self._text.append(event.text)

    def at_end(self, finished: Finished) -> None:
        """Look at the whole.

        Raises:
            GenerationFailed: it is no JSON, nor the beginning of any.
        """
        text = "".join(self._text).strip()
        try:
            msgspec.json.decode(text)
        except msgspec.MsgspecError as error:
            cut = finished.reason != "eos_token" and (
                not text or str(error) == _CUT_SHORT or text[-1] in ".eE+-"
            )
            if not cut:
                raise GenerationFailed(
                    "Request failed during generation: the engine did not follow the JSON schema"
                ) from None
