"""Writing an answer, whole or as it comes, with TGI's headers."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from berth_serving.errors import GenerationFailed
from berth_serving.gateway.exchange import JSON

if TYPE_CHECKING:
    from berth_serving.contracts.model import Answer, Asked, Timing
    from berth_serving.engines.protocol import Finished
    from berth_serving.gateway.exchange import Exchange, Headers
    from berth_serving.service import Generation

_NO_BUFFERING = (b"x-accel-buffering", b"no")


async def write(
    exchange: Exchange, asked: Asked, answer: Answer, generation: Generation, device: str
) -> None:
    """Generate, and write what comes in the words of a contract.

    Raises:
        RequestError: what went wrong; a stream may have begun by then.
    """
    begins = [_NO_BUFFERING, *_compute_headers(asked, device)]
    events = []
    async with aclosing(generation.tokens()) as tokens:
        async for event in tokens:
            if not asked.stream:
                events.append(event)
                continue
            data = answer.token(event)
            if not exchange.status:
                # Only now: what is refused before the first token gets a status of its own.
                await exchange.start(begins)
                data = answer.begin() + data
            if data:
                await exchange.write(data)
    finished = generation.finished
    if finished is None:
        raise GenerationFailed("Request failed during generation: the engine's answer has no end")
    _note(exchange, finished, generation.timing)
    if not asked.stream:
        body = answer.whole(events, finished, generation.timing)
        await exchange.respond(200, body, [JSON, *_tgi_headers(asked, finished, generation.timing, device)])
        return
    last = answer.end(finished)
    if not exchange.status:
        await exchange.start(begins)
        last = answer.begin() + last
    await exchange.end(last)


def _note(exchange: Exchange, finished: Finished, timing: Timing) -> None:
    first = round(timing.first_token - timing.received, 4) if timing.first_token else None
    exchange.facts.update(
        input_tokens=finished.input_tokens,
        output_tokens=finished.output_tokens,
        finish_reason=finished.reason,
        queue_seconds=round(timing.started - timing.validated, 4),
        first_token_seconds=first,
    )


def _compute_headers(asked: Asked, device: str) -> Headers:
    return [(b"x-compute-type", device.encode()), (b"x-compute-characters", b"%d" % asked.characters)]


def _tgi_headers(asked: Asked, finished: Finished, timing: Timing, device: str) -> Headers:
    total = timing.ended - timing.received
    inference = timing.ended - timing.started
    milliseconds = {
        b"x-total-time": total,
        b"x-validation-time": timing.validated - timing.received,
        b"x-queue-time": timing.started - timing.validated,
        b"x-inference-time": inference,
        b"x-time-per-token": inference / max(1, finished.output_tokens),
    }
    return [
        *_compute_headers(asked, device),
        (b"x-compute-time", f"{total:.6f}".encode()),
        *((name, b"%d" % round(seconds * 1000)) for name, seconds in milliseconds.items()),
        (b"x-prompt-tokens", b"%d" % finished.input_tokens),
        (b"x-generated-tokens", b"%d" % finished.output_tokens),
    ]
