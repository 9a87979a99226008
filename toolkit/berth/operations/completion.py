"""One completion from an endpoint: the proof that a model answers where clients will ask it."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from berth.operations.errors import EndpointRefused, EndpointUnreachable
from berth.operations.tls import trusted

# What an endpoint answers while its pods or their load balancer come up, or while it is busy.
PASSING = frozenset({429, 502, 503, 504})
_OK, _UNAUTHORIZED = 200, 401
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said.

    Attributes:
        text: the generated text.
        tokens: how many tokens were generated; 0 where the endpoint does not say.
        seconds: from the request that succeeded to its whole answer.
        attempts: requests made, that one included.
        waited_seconds: from the first request to the answer.
    """

    text: str
    tokens: int
    seconds: float
    attempts: int
    waited_seconds: float


def headers(key: str | None) -> dict[str, str]:
    """Return the headers that carry an API key."""
    return {"Authorization": f"Bearer {key}"} if key else {}


async def ask(
    endpoint: str,
    key: str | None,
    prompt: str,
    *,
    max_new_tokens: int = 32,
    wait_seconds: float = 60.0,
    request_seconds: float = 30.0,
    ca: Path | None = None,
    server_name: str = "",
) -> Answer:
    """Ask `POST <endpoint>/v1/chat/completions` until it answers.

    As a chat, since models are tuned for their own template: the bare prompt gets odd answers, or none.

    While nobody listens, or the answer is 429, 502, 503 or 504, it asks again, for `wait_seconds` in all.
    Proxies of the environment are not used: what is asked is this address. An `https` endpoint is believed by
    the authorities in the file `ca`, or those that this machine knows; `server_name` is what its certificate
    must say where that is not the address's host. A certificate that is not believed is refused at once.

    Raises:
        LoadSettingsError: `ca` cannot be used.
        EndpointUnreachable: no completion came within `wait_seconds`; the message says what came instead.
        EndpointRefused: the endpoint refused the request: a wrong key, no such route, an invalid prompt.
    """
    url = endpoint.rstrip("/") + "/v1/chat/completions"
    # Greedy: whoever reads the answer wants the model's best, and the same one each time.
    body = {
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_new_tokens,
        "temperature": 0,
    }
    started = time.monotonic()
    deadline = started + wait_seconds
    attempts, pause = 0, _FIRST_PAUSE
    extensions = {"sni_hostname": server_name} if server_name else None
    async with httpx.AsyncClient(trust_env=False, headers=headers(key), verify=trusted(ca)) as client:
        while True:
            attempts += 1
            asked = time.monotonic()
            retry_after = 0.0
            try:
                async with asyncio.timeout(max(0.05, min(request_seconds, deadline - asked))):
                    response = await client.post(
                        url, json=body, timeout=request_seconds, extensions=extensions
                    )
            except TimeoutError:
                problem = f"no answer within {time.monotonic() - asked:.1f} s"
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise EndpointRefused(f"{endpoint!r} is no address of an endpoint: {error}") from error
            except httpx.HTTPError as error:
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    raise EndpointRefused(
                        f"{url}: its certificate is not believed: {error}. Name its authority's certificates "
                        "with --ca FILE, and the name in it with --server-name NAME"
                    ) from error
                problem = f"{type(error).__name__}: {error}"
            else:
                if response.status_code == _OK:
                    now = time.monotonic()
                    text, tokens = _completion(url, response)
                    return Answer(text, tokens, now - asked, attempts, now - started)
                problem = f"{response.status_code} {excerpt(response.text)}"
                if response.status_code not in PASSING:
                    raise refusal(url, response.status_code, response.text, key)
                retry_after = _seconds(response.headers.get("retry-after"))
            left = deadline - time.monotonic()
            if left <= 0:
                raise EndpointUnreachable(
                    f"{url} gave no completion within {wait_seconds:g} s ({attempts} attempts). "
                    f"The last one: {problem}. Is a model server Ready? Is the address right?"
                )
            await asyncio.sleep(min(left, max(pause, retry_after)))
            pause = min(pause * 2, _LONGEST_PAUSE)


def refusal(url: str, status: int, text: str, key: str | None) -> EndpointRefused:
    """Say why an endpoint's refusal will not pass by itself."""
    if status == _UNAUTHORIZED:
        which = "the API key that was given" if key else "a request without an API key"
        return EndpointRefused(
            f"{url} refused {which} (401): {excerpt(text)}. `./berth key local` prints it."
        )
    return EndpointRefused(f"{url} answered {status}: {excerpt(text)}")


def excerpt(text: str) -> str:
    """Return the beginning of a body, on one line."""
    line = " ".join(text.split())
    return line[:200] + ("…" if len(line) > 200 else "")  # noqa: PLR2004 - what fits a message


def _completion(url: str, response: httpx.Response) -> tuple[str, int]:
    try:
        found: Any = response.json()
        text = found["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError) as error:
        raise EndpointRefused(
            f"{url} answered 200, but not as a model server does (choices[0].message.content is missing): "
            f"{excerpt(response.text)}"
        ) from error
    usage = found.get("usage") or {}
    return str(text or ""), int(usage.get("completion_tokens") or 0)


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.isdigit() else 0.0
