"""A stand-in engine without work: llama.cpp's shapes for the gateway, OpenAI's for its peers.

    python -m serving_parts.engine <port>

A prompt that begins with `hold` gets one token and then silence; every other as many as it asks for, as fast
as the connection takes them, one event each.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import uvloop

_CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_PROPS = {
    "default_generation_settings": {"n_ctx": 4096},
    "total_slots": 4096,
    "bos_token": "",
    "eos_token": "",
}
_AT_ONCE = 16


def _event(payload: dict[str, object]) -> bytes:
    return _chunk(b"data: " + json.dumps(payload).encode() + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _llama_token(index: int) -> bytes:
    return _event(
        {"index": 0, "content": " word", "tokens": [7], "stop": False, "tokens_predicted": index + 1}
    )


def _llama_end(count: int) -> bytes:
    return _event(
        {
            "content": "",
            "tokens": [],
            "stop": True,
            "stop_type": "limit",
            "tokens_predicted": count,
            "tokens_evaluated": 3,
        }
    )


def _openai(choice: dict[str, object], kind: str) -> dict[str, object]:
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    head = {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "stand-in", "choices": [choice]}
    return {**head, **({"usage": usage} if kind == "chat.completion" else {})}


class Engine(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._rest = b""
        self._flow = asyncio.Event()
        self._flow.set()
        self._task: asyncio.Task[None] | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._flow.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._flow.clear()

    def resume_writing(self) -> None:
        self._flow.set()

    def data_received(self, data: bytes) -> None:
        self._rest += data
        head, found, body = self._rest.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        length = 0
        if (at := lower.find(b"content-length:")) >= 0:
            length = int(lower[at + 15 :].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self._rest = body[length:]
        self._answer(head.split(b" ", 2)[1].decode(), body[:length])

    def _answer(self, path: str, body: bytes) -> None:
        if path == "/completion":
            asked = json.loads(body)
            count = int(asked["n_predict"])
            tokens = [_llama_token(index) for index in range(count)]
            hold = str(asked["prompt"]).startswith("hold")
            self._stream(tokens[:1] if hold else tokens, [] if hold else [_llama_end(count)])
        elif path.endswith("/chat/completions"):
            asked = json.loads(body)
            if not asked.get("stream"):
                message = {"role": "assistant", "content": "word"}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                self._json(_openai(choice, "chat.completion"))
                return
            delta = {"index": 0, "delta": {"role": "assistant", "content": " word"}, "finish_reason": None}
            last = {"index": 0, "delta": {}, "finish_reason": "stop"}
            tokens = [_event(_openai(delta, "chat.completion.chunk"))] * int(asked["max_tokens"])
            hold = asked["messages"][0]["content"].startswith("hold")
            end = [_event(_openai(last, "chat.completion.chunk")), _chunk(b"data: [DONE]\n\n")]
            self._stream(tokens[:1] if hold else tokens, [] if hold else end)
        else:
            self._json(_PROPS if path == "/props" else {"status": "ok", "tokens": [1], "prompt": "x"})

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)

    def _stream(self, tokens: list[bytes], end: list[bytes]) -> None:
        if len(tokens) <= _AT_ONCE:
            self._transport.write(b"".join([_CHUNKED, *tokens, *end, *([b"0\r\n\r\n"] if end else [])]))
            return
        self._task = asyncio.get_running_loop().create_task(self._slowly(tokens, end))

    async def _slowly(self, tokens: list[bytes], end: list[bytes]) -> None:
        self._transport.write(_CHUNKED)
        for token in tokens:
            self._transport.write(token)
            await self._flow.wait()
            await asyncio.sleep(0)
        self._transport.write(b"".join([*end, b"0\r\n\r\n"]))


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(
        Engine, "127.0.0.1", int(sys.argv[1]), backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
