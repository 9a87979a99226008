"""How OpenAI's answers, chunks and errors are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from berth_serving.contracts.model import sse, text_of
from berth_serving.contracts.tools import CallText, Offered, message_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from berth_serving.contracts.model import Timing
    from berth_serving.engines.protocol import Finished, TokenEvent
    from berth_serving.errors import RequestError

_encode = msgspec.json.Encoder().encode
_DONE = b"data: [DONE]\n\n"


class OpenAiOptions(msgspec.Struct):
    """What shapes the answer, apart from what is generated."""

    id: str
    object: str
    created: int
    model: str
    include_usage: bool
    logprobs: bool = False
    top_logprobs: int = 0
    echo: str = ""
    fingerprint: str = ""
    tools: Offered | None = None


def failure_body(error: RequestError) -> bytes:
    """OpenAI's error body."""
    return _encode(
        {
            "error": {
                "message": error.message,
                "type": error.openai_type,
                "param": error.param,
                "code": error.code,
            }
        }
    )


def _usage(finished: Finished) -> dict[str, int]:
    return {
        "prompt_tokens": finished.input_tokens,
        "completion_tokens": finished.output_tokens,
        "total_tokens": finished.input_tokens + finished.output_tokens,
    }


def _reason(finished: Finished) -> str:
    return "length" if finished.reason == "length" else "stop"


class _Writer:
    """What both kinds of answer share: the envelope, the end of a stream, failures."""

    chunk_object = ""

    def __init__(self, options: OpenAiOptions) -> None:
        self._options = options
        head = {
            "id": options.id,
            "object": self.chunk_object,
            "created": options.created,
            "model": options.model,
            "system_fingerprint": options.fingerprint,
            # A client that asked for usage finds the key in every chunk, null but in the last.
            **({"usage": None} if options.include_usage else {}),
        }
        # A chunk is this, its choice, and closing brackets: only the choice is encoded per token.
        self._head = _encode(head)[:-1] + b',"choices":['

    def _envelope(self, choice: dict[str, Any], finished: Finished) -> bytes:
        options = self._options
        return _encode(
            {
                "id": options.id,
                "object": options.object,
                "created": options.created,
                "model": options.model,
                "system_fingerprint": options.fingerprint,
                "choices": [choice],
                "usage": _usage(finished),
            }
        )

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        return sse(self._head + _encode(choice) + b"]}")

    def _last(self, choice: dict[str, Any], finished: Finished) -> bytes:
        written = self._chunk(choice)
        if self._options.include_usage:
            options = self._options
            usage = {
                "id": options.id,
                "object": self.chunk_object,
                "created": options.created,
                "model": options.model,
                "system_fingerprint": options.fingerprint,
                "choices": [],
                "usage": _usage(finished),
            }
            written += sse(_encode(usage))
        return written + _DONE

    def failure(self, error: RequestError) -> bytes:
        """An event with OpenAI's error body; no [DONE] follows."""
        return sse(failure_body(error))


class ChatWriter(_Writer):
    """Writes `/v1/chat/completions`."""

    chunk_object = "chat.completion.chunk"

    def __init__(self, options: OpenAiOptions) -> None:
        super().__init__(options)
        self._calls = None if options.tools is None else CallText()

    def whole(self, events: Sequence[TokenEvent], finished: Finished, timing: Timing) -> bytes:
        """A chat completion."""
        del timing
        called, said = False, {"content": text_of(events)}
        if self._options.tools is not None:
            said, called = message_of(text_of(events))
        choice = {
            "index": 0,
            "message": {"role": "assistant", "refusal": None, "annotations": [], **said},
            "logprobs": self._logprobs(events),
            "finish_reason": self._why(finished, called=called),
        }
        return self._envelope(choice, finished)

    def _why(self, finished: Finished, *, called: bool) -> str:
        tools = self._options.tools
        if called and tools is not None and not tools.named and finished.reason != "length":
            return "tool_calls"
        return _reason(finished)

    def begin(self) -> bytes:
        """The role."""
        delta = {"role": "assistant", "content": ""}
        return self._chunk({"index": 0, "delta": delta, "logprobs": None, "finish_reason": None})

    def token(self, event: TokenEvent) -> bytes:
        """A chunk, unless there is nothing to say."""
        if event.special or (not event.text and not self._options.logprobs):
            return b""
        deltas: list[dict[str, Any]] = [{"content": event.text}]
        if self._calls is not None:
            deltas = self._calls.add(event.text)
        if not deltas and self._options.logprobs:
            deltas = [{}]
        logprobs = self._logprobs([event])
        written = b""
        for delta in deltas:
            choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": None}
            written += self._chunk(choice)
            logprobs = None
        return written

    def end(self, finished: Finished) -> bytes:
        """Reason, usage if asked for, and [DONE]."""
        reason = self._why(finished, called=self._calls is not None and self._calls.called)
        choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": reason}
        return self._last(choice, finished)

    def _logprobs(self, events: Sequence[TokenEvent]) -> dict[str, Any] | None:
        if not self._options.logprobs:
            return None
        most = self._options.top_logprobs
        content = [
            {
                **_logprob(event.text, event.logprob),
                "top_logprobs": [_logprob(one.text, one.logprob) for one in event.top[:most]],
            }
            for event in events
            if not event.special
        ]
        return {"content": content, "refusal": None}


class CompletionWriter(_Writer):
    """Writes `/v1/completions`."""

    chunk_object = "text_completion"

    def __init__(self, options: OpenAiOptions) -> None:
        super().__init__(options)
        self._offset = len(options.echo)

    def whole(self, events: Sequence[TokenEvent], finished: Finished, timing: Timing) -> bytes:
        """A text completion."""
        del timing
        choice = {
            "index": 0,
            "text": self._options.echo + text_of(events),
            "logprobs": self._logprobs(events),
            "finish_reason": _reason(finished),
        }
        return self._envelope(choice, finished)

    def begin(self) -> bytes:
        """The prompt, if it is to be echoed."""
        return self._piece(self._options.echo, None) if self._options.echo else b""

    def token(self, event: TokenEvent) -> bytes:
        """A chunk, unless there is nothing to say."""
        if event.special or (not event.text and not self._options.logprobs):
            return b""
        return self._piece(event.text, self._logprobs([event]))

    def end(self, finished: Finished) -> bytes:
        """Reason, usage if asked for, and [DONE]."""
        choice = {"index": 0, "text": "", "logprobs": None, "finish_reason": _reason(finished)}
        return self._last(choice, finished)

    def _piece(self, text: str, logprobs: dict[str, Any] | None) -> bytes:
        return self._chunk({"index": 0, "text": text, "logprobs": logprobs, "finish_reason": None})

    def _logprobs(self, events: Sequence[TokenEvent]) -> dict[str, Any] | None:
        if not self._options.logprobs:
            return None
        shown = [event for event in events if not event.special]
        offsets = []
        for event in shown:
            offsets.append(self._offset)
            self._offset += len(event.text)
        most = self._options.top_logprobs
        top = [{one.text: one.logprob for one in event.top[:most]} for event in shown]
        return {
            "tokens": [event.text for event in shown],
            "token_logprobs": [event.logprob for event in shown],
            "top_logprobs": top if most else None,
            "text_offset": offsets,
        }


def _logprob(text: str, logprob: float | None) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}
