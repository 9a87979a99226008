"""What is asked: the prompts that come with this package, a user's own, and long ones put together."""

import json
import random
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import httpx

from berth.operations.errors import LoadSettingsError

LONG_PROMPTS = 16
LONG_SHARE = 0.8
"""Of the input limit: a chat template and another tokenizer's mood still fit."""
_FEWEST_CHARACTERS_PER_TOKEN = 3.0
"""Of English in the tokenizers of today's models; where the server counts, its own figure is used."""
_OK = 200


def packaged_prompts() -> tuple[str, ...]:
    """Return the prompts that come with this package (prompts.json says under which licence)."""
    return tuple(_packaged()["prompts"])


def long_prompts(characters: int, seed: int) -> tuple[str, ...]:
    """Return prompts of at most so many characters, nearly all of them that long.

    Passages come in another order in each, so that no server can answer from the cache of a common
    beginning. They begin anew where there are too few of them.
    """
    found, draw = _packaged(), random.Random(seed)  # noqa: S311 - a load, not a secret
    prompts = []
    for _ in range(LONG_PROMPTS):
        question = draw.choice(found["questions"])
        room, parts = characters - len(question) - 2, list[str]()
        while room > 0:
            for passage in draw.sample(found["passages"], len(found["passages"])):
                parts.append(passage[: max(0, room)])
                room -= len(passage) + 2
        prompts.append("\n\n".join([*filter(None, parts), question])[-characters:])
    return tuple(prompts)


async def prompts_near_limit(
    client: httpx.AsyncClient, endpoint: str, seed: int, server_name: str = ""
) -> tuple[str, ...]:
    """Return long prompts for the input limit that the server itself names (`GET /info`).

    How many characters a token has is asked of the server too (`POST /tokenize`), where it answers that.

    Raises:
        LoadSettingsError: the server names no limit.
    """
    base = endpoint.rstrip("/")
    info = await _json(client, "GET", f"{base}/info", None, server_name)
    limit = info.get("max_input_tokens") if isinstance(info, Mapping) else None
    if not isinstance(limit, int) or limit < 1:
        raise LoadSettingsError(
            f"profile long-context: {base}/info names no max_input_tokens; give prompts of your own "
            "(--prompts)"
        )
    sample = "\n\n".join(_packaged()["passages"])
    # Within the limit of any server, which refuses to count what it would refuse to answer.
    sample = sample[: int(limit * _FEWEST_CHARACTERS_PER_TOKEN * LONG_SHARE)]
    counted = await _json(client, "POST", f"{base}/tokenize", {"inputs": sample}, server_name)
    ratio = len(sample) / len(counted) if isinstance(counted, list) and counted else None
    return long_prompts(int(limit * LONG_SHARE * (ratio or _FEWEST_CHARACTERS_PER_TOKEN)), seed)


def read_prompts(path: Path) -> tuple[str, ...]:
    """Read prompts of the user's: a JSON list of strings, or a text file with one on each line.

    Raises:
        LoadSettingsError: the file cannot be read, or holds no prompt.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LoadSettingsError(f"The prompts' file {path} cannot be read: {error}") from error
    try:
        found = json.loads(text) if text.lstrip().startswith("[") else text.splitlines()
    except ValueError as error:
        raise LoadSettingsError(
            f"The prompts' file {path} begins with '[' but is no JSON list: {error}"
        ) from error
    if not all(isinstance(prompt, str) for prompt in found):
        raise LoadSettingsError(f"The prompts' file {path} must hold strings only")
    prompts = tuple(prompt.strip() for prompt in found if prompt.strip())
    if not prompts:
        raise LoadSettingsError(f"The prompts' file {path} holds no prompt")
    return prompts


def _packaged() -> dict[str, Any]:
    text = resources.files("berth.operations.load").joinpath("prompts.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


async def _json(client: httpx.AsyncClient, method: str, url: str, body: object, server_name: str) -> Any:
    """Return what is answered, None where nothing of use is."""
    extensions = {"sni_hostname": server_name} if server_name else None
    try:
        response = await client.request(method, url, json=body, extensions=extensions)
        return response.json() if response.status_code == _OK else None
    except (httpx.HTTPError, ValueError):
        return None
