"""One request of a load: what is sent on each route, and how its answer is read."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx

from berth.operations.load.outcomes import BACKEND_HEADER, Outcome
from berth.operations.load.settings import LoadSettings

Json = dict[str, Any]
_OK = 200


class BadAnswer(Exception):  # noqa: N818 - a kind of failure, not of error
    """The answer is not what the route's contract says. Its text is the kind under which it is counted."""


def body_of(route: str, prompt: str, max_new_tokens: int) -> Json:
    """Return what is sent."""
    if route == "/v1/chat/completions":
        return {
            "model": "tgi",
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_new_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    return {"inputs": prompt, "parameters": {"max_new_tokens": max_new_tokens, "details": True}}


class Requester:
    """Sends requests, each over a connection of its own.

    A Service balances connections, not requests: a client that keeps its connections would never reach a new
    replica. Many clients of their own do not keep them either.
    """

    def __init__(self, client: httpx.AsyncClient, settings: LoadSettings) -> None:
        self._client, self._route = client, settings.route
        self._url = settings.endpoint.rstrip("/") + settings.route
        self._max_new_tokens, self._seconds = settings.max_new_tokens, settings.request_seconds
        self._extensions = {"sni_hostname": settings.server_name} if settings.server_name else None

    async def send(self, prompt: str, began: float, now: Callable[[], float], stall: float = 0.0) -> Outcome:
        """Send one request; every failure is an outcome.

        Args:
            prompt: what is asked.
            began: when it should have begun.
            now: the clock that says so.
            stall: for how many seconds its client reads nothing once the first token is there; its own time,
                which does not count towards the longest that a request may take.
        """
        outcome = Outcome()
        try:
            async with asyncio.timeout(self._seconds + stall):
                await self._exchange(prompt, outcome, began, now, stall)
        except (TimeoutError, httpx.TimeoutException):
            outcome.error = "timeout"
        except httpx.ConnectError:
            outcome.error = "connect"
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            outcome.error = "disconnected"
        except httpx.HTTPError as error:
            outcome.error = type(error).__name__
        except BadAnswer as error:
            outcome.error = str(error)
        outcome.latency = now() - began
        return outcome

    async def _exchange(
        self, prompt: str, outcome: Outcome, began: float, now: Callable[[], float], stall: float
    ) -> None:
        body = body_of(self._route, prompt, self._max_new_tokens)
        async with self._client.stream("POST", self._url, json=body, extensions=self._extensions) as response:
            outcome.status = response.status_code
            outcome.backend = response.headers.get(BACKEND_HEADER, "")
            if response.status_code != _OK:
                await response.aread()
                raise BadAnswer(f"status {response.status_code}")
            if self._route == "/generate":
                _whole(await response.aread(), outcome)
            elif self._route == "/generate_stream":
                await _stream(response, outcome, began, now, _tgi_event, stall=stall)
            else:
                await _stream(response, outcome, began, now, _chat_event, stall=stall)


def _whole(body: bytes, outcome: Outcome) -> None:
    try:
        found = json.loads(body)
        found["generated_text"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadAnswer("not a completion") from error
    outcome.tokens = int((found.get("details") or {}).get("generated_tokens") or 0)


async def _stream(
    response: httpx.Response,
    outcome: Outcome,
    began: float,
    now: Callable[[], float],
    read: Callable[[Mapping[str, Any], Outcome], tuple[bool, bool]],
    *,
    stall: float,
) -> None:
    """Read server-sent events. `read` says of one whether it brought a token and whether it was the last."""
    last_token, complete = 0.0, False
    async for data in _events(response):
        if data == b"[DONE]":
            break
        try:
            event = json.loads(data)
        except ValueError as error:
            raise BadAnswer("an event is not JSON") from error
        if not isinstance(event, dict):
            raise BadAnswer("an event is not an object")
        if "error" in event:
            raise BadAnswer(f"stream error: {event.get('error_type') or 'unnamed'}")
        brought_token, is_last = read(event, outcome)
        if brought_token:
            moment = now()
            if outcome.first_token is None:
                outcome.first_token = moment - began
                if stall:
                    # Nothing is taken from the socket meanwhile, so what the server sends piles up.
                    outcome.stalled = True
                    await asyncio.sleep(stall)
            else:
                outcome.gaps.append(moment - last_token)
            last_token = moment
        complete = complete or is_last
    if not complete:
        raise BadAnswer("incomplete stream")


async def _events(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the data of each event. httpx' own line splitter also splits at U+2028, which JSON may hold."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


def _tgi_event(event: Mapping[str, Any], outcome: Outcome) -> tuple[bool, bool]:
    is_last = event.get("generated_text") is not None
    brought = "token" in event
    outcome.tokens += brought
    generated = (event.get("details") or {}).get("generated_tokens")
    if is_last and generated:
        outcome.tokens = int(generated)
    return brought, is_last


def _chat_event(event: Mapping[str, Any], outcome: Outcome) -> tuple[bool, bool]:
    usage = event.get("usage") or {}
    choices = event.get("choices") or [{}]
    brought = bool((choices[0].get("delta") or {}).get("content"))
    outcome.tokens += brought
    outcome.prompt_tokens = int(usage.get("prompt_tokens") or outcome.prompt_tokens)
    if usage.get("completion_tokens"):
        outcome.tokens = int(usage["completion_tokens"])
    return brought, choices[0].get("finish_reason") is not None
