"""Stand-ins for vLLM, SGLang and TGI, each in a thread of its own.

They need accelerators, which are not here. The stand-ins speak the shapes of vllm 0.30.0, sglang 0.5.20 and
text-generation-inference, as read from their sources, on a real socket; the model behind them is a script.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web
from berth_serving.engines.stops import HeldText

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

Json = dict[str, Any]
ENGINES = ("vllm", "sglang", "tgi")
SLOTS, CONTEXT = 4, 512
EOS = (2, "</s>")
BOS = (1, "<s>")
WORDS = [(11, " Hello"), (12, " world"), (13, "!"), EOS]
SPLIT = [(21, " one"), (22, " E"), (23, "N"), (24, "D"), (25, " two"), EOS]


@dataclass
class Run:
    """What a stand-in was asked, and how it ended."""

    path: str
    asked: Json
    cancelled: bool = False


@dataclass
class Generation:
    """A scripted generation: tokens until the limit, the end, or a stop sequence."""

    tokens: list[tuple[int, str]]
    stop: str = ""
    reason: str = "length"

    @classmethod
    def of(cls, prompt: str, limit: int, stops: list[str]) -> Generation:
        made = cls([])
        for token, text in SPLIT if "SPLIT" in prompt else WORDS:
            if len(made.tokens) == limit:
                break
            made.tokens.append((token, text))
            if (token, text) == EOS:
                made.reason = "eos"
                break
            whole = made.text
            found = [stop for stop in stops if stop and whole.endswith(stop)]
            if found:
                made.stop, made.reason = found[0], "stop"
                break
        return made

    @property
    def text(self) -> str:
        return "".join(text for token, text in self.tokens if (token, text) != EOS)


@dataclass
class StandIn:
    """A stand-in for one of the engines, in a thread of its own."""

    engine: str
    runs: list[Run] = field(default_factory=list)
    port: int = 0
    cumulative: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def asked(self) -> Json:
        return self.runs[-1].asked

    def application(self) -> web.Application:
        made = web.Application(client_max_size=10_000_000)
        routes = {
            "vllm": [
                web.get("/health", self._well),
                web.get("/v1/models", self._models),
                web.post("/tokenize", self._tokenize),
                web.post("/detokenize", self._detokenize),
                web.post("/v1/completions", self._generate),
            ],
            "sglang": [
                web.get("/v1/models", self._models),
                web.post("/tokenize", self._tokenize),
                web.post("/detokenize", self._detokenize),
                web.post("/generate", self._generate),
            ],
            "tgi": [
                web.get("/health", self._well),
                web.get("/info", self._info),
                web.post("/tokenize", self._tgi_tokenize),
                web.post("/chat_tokenize", self._tgi_chat),
                web.post("/generate_stream", self._generate),
            ],
        }
        made.add_routes(routes[self.engine])
        return made

    async def _well(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def _models(self, _request: web.Request) -> web.Response:
        card = {"id": "a-stand-in", "object": "model", "max_model_len": CONTEXT, "owned_by": self.engine}
        return web.json_response({"object": "list", "data": [card]})

    async def _info(self, _request: web.Request) -> web.Response:
        return web.json_response({"max_total_tokens": CONTEXT, "max_concurrent_requests": 12, "version": "3"})

    async def _tokenize(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if "messages" in asked:
            if any("NOTEMPLATE" in str(message["content"]) for message in asked["messages"]):
                return web.json_response(
                    {"error": {"message": "no chat template", "type": "BadRequestError", "code": 400}},
                    status=400,
                )
            ids = [BOS[0], *(200 + len(str(message["content"])) for message in asked["messages"])]
        else:
            ids = [BOS[0], *range(100, 100 + len(asked["prompt"].split()))]
        return web.json_response({"count": len(ids), "max_model_len": CONTEXT, "tokens": ids})

    async def _detokenize(self, request: web.Request) -> web.Response:
        names = dict([EOS, BOS])
        text = "".join(names[token] for token in (await request.json())["tokens"])
        return web.json_response({"prompt": text} if self.engine == "vllm" else {"text": text})

    def _pieces(self, text: str, *, add_special: bool) -> list[Json]:
        body = text.removeprefix(BOS[1])
        pieces = [BOS] if text.startswith(BOS[1]) else []
        if add_special:
            pieces = [BOS, *pieces]
        start = len(text) - len(body)
        made = [{"id": token, "text": name, "start": 0, "stop": start} for token, name in pieces]
        for word in body.split(" "):
            made.append({"id": 100 + len(word), "text": word, "start": start, "stop": start + len(word)})
            start += len(word) + 1
        return made

    async def _tgi_tokenize(self, request: web.Request) -> web.Response:
        return web.json_response(self._pieces((await request.json())["inputs"], add_special=True))

    async def _tgi_chat(self, request: web.Request) -> web.Response:
        asked = await request.json()
        text = BOS[1] + " ".join(f"[{one['role']}] {one['content']}" for one in asked["messages"])
        if "NOTEMPLATE" in text:
            error = {"error": "Input validation error: no chat template", "error_type": "template_error"}
            return web.json_response(error, status=422)
        pieces = self._pieces(text, add_special=False)
        return web.json_response({"tokenize_response": pieces, "templated_text": text})

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        run = Run(request.path, asked)
        prompt = str(
            asked.get("prompt") or asked.get("text") or asked.get("inputs") or asked.get("input_ids")
        )
        if prompt != "Hello":  # what the gateway proves it with
            self.runs.append(run)
        if "REFUSE" in prompt and self.engine != "tgi":
            error = {"message": "it is too odd", "code": 400}
            return web.json_response({"error": error}, status=400)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            async for event in self._events(prompt, asked):
                await response.write(b"data: " + event + b"\n\n")
                if "BREAK" in prompt and request.transport is not None:
                    request.transport.close()
                    return response
                if "HANG" in prompt:
                    await asyncio.sleep(60)
        except (asyncio.CancelledError, ConnectionResetError):
            run.cancelled = True
            raise
        return response

    async def _events(self, prompt: str, asked: Json) -> AsyncIterator[bytes]:
        if "GARBLE" in prompt:
            yield b"{not json"
            return
        if "REFUSE" in prompt:  # TGI has sent its status by then
            yield b'{"error": "Input validation error: it is too odd", "error_type": "validation"}'
            return
        if "ABORT" in prompt:
            yield json.dumps(self._abort()).encode()
            return
        events = {"vllm": self._vllm, "sglang": self._sglang, "tgi": self._tgi}[self.engine]
        for event in events(prompt, asked):
            yield event if isinstance(event, bytes) else json.dumps(event).encode()
            await asyncio.sleep(0)

    def _abort(self) -> Json:
        if self.engine == "tgi":
            return {"error": "Request failed during generation: boom", "error_type": "generation"}
        if self.engine == "sglang":
            reason = {"type": "abort", "message": "boom", "status_code": 500}
            return {"text": "", "output_ids": [], "meta_info": {"finish_reason": reason}}
        return {"error": {"message": "boom", "type": "InternalServerError", "code": 500}}

    def _vllm(self, prompt: str, asked: Json) -> Iterator[Json | bytes]:
        """As vLLM does it: what may be a stop sequence is held back, and cut."""
        made = Generation.of(prompt, asked["max_tokens"], asked["stop"])
        held = HeldText(asked["stop"])
        for index, (token, text) in enumerate(made.tokens):
            last = index == len(made.tokens) - 1
            shown = "" if token == EOS[0] else held.add(text)
            shown += held.end(made.stop) if last else ""
            choice: Json = {"index": 0, "text": shown, "token_ids": [token], "logprobs": None}
            if asked.get("logprobs"):
                top = {text: -0.5, "other": -1.5}
                choice["logprobs"] = {"tokens": [text], "token_logprobs": [-0.5], "top_logprobs": [top]}
            if last:
                choice["finish_reason"] = "length" if made.reason == "length" else "stop"
                choice["stop_reason"] = made.stop or None
            yield {"id": "cmpl-1", "object": "text_completion", "choices": [choice], "usage": None}
        yield {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": len(made.tokens)}}
        yield b"[DONE]"

    def _sglang(self, prompt: str, asked: Json) -> Iterator[Json | bytes]:
        """SGLang sends what it has, and cuts a stop sequence when it is whole."""
        sampling = asked["sampling_params"]
        made = Generation.of(prompt, sampling["max_new_tokens"], sampling["stop"])
        ids: list[int] = []
        text, entries = "", []
        for index, (token, piece) in enumerate(made.tokens):
            last = index == len(made.tokens) - 1
            ids.append(token)
            before = text
            text += "" if token == EOS[0] else piece
            entries.append([-0.5, token, piece])
            reason: Json | None = None
            if last:
                matched = {"stop": made.stop, "eos": EOS[0]}.get(made.reason)
                reason = {"type": "length", "length": len(ids)}
                if matched is not None:
                    reason = {"type": "stop", "matched": matched}
                text = text.removesuffix(made.stop) if made.stop else text
            meta: Json = {"prompt_tokens": 7, "completion_tokens": len(ids), "finish_reason": reason}
            delta = text[len(before) :]
            if asked.get("return_logprob"):
                meta["output_token_logprobs"] = entries if self.cumulative else entries[-1:]
                meta["output_top_logprobs"] = [[[-0.5, token, piece]]]
            yield {
                "text": text if self.cumulative else delta,
                "output_ids": list(ids) if self.cumulative else [token],
                "meta_info": meta,
            }
        yield b"[DONE]"

    def _tgi(self, prompt: str, asked: Json) -> Iterator[Json]:
        """TGI leaves the stop sequence in the text."""
        parameters = asked["parameters"]
        made = Generation.of(prompt, parameters["max_new_tokens"], parameters["stop"])
        for index, (token, text) in enumerate(made.tokens):
            last = index == len(made.tokens) - 1
            event: Json = {
                "index": index + 1,
                "token": {"id": token, "text": text, "logprob": -0.5, "special": token == EOS[0]},
                "generated_text": None,
                "details": None,
            }
            if parameters.get("top_n_tokens"):
                event["top_tokens"] = [{"id": token, "text": text, "logprob": -0.5, "special": False}]
            if last:
                reason = {"stop": "stop_sequence", "eos": "eos_token"}.get(made.reason, "length")
                event["generated_text"] = made.text
                event["details"] = {
                    "finish_reason": reason,
                    "generated_tokens": len(made.tokens),
                    "input_length": 7,
                    "seed": None,
                }
            yield event


@contextlib.contextmanager
def running(stand_in: StandIn) -> Iterator[StandIn]:
    """The stand-in on a port of loopback, in a thread of its own."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(stand_in.application(), handler_cancellation=True, shutdown_timeout=1)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        stand_in.port = runner.addresses[0][1]

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    yield stand_in
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()
