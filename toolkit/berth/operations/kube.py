"""A read-only client of a cluster: get one object, or follow a collection."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import httpx

from berth.operations.errors import ClusterReadError, ClusterRefused
from berth.operations.kubeconfig import Access

Json = dict[str, Any]
_GONE, _FIRST_FAILURE = 410, 400
_PAUSE_SECONDS = 1.0
_WATCH_SECONDS = 240
_PAGE = 500


class KubeReader:
    """Reads a cluster. Use as an async context manager."""

    def __init__(self, access: Access) -> None:
        self._client = httpx.AsyncClient(
            base_url=access.server,
            verify=access.tls,
            headers={**access.headers, "Accept": "application/json"},
            trust_env=False,
            timeout=httpx.Timeout(10),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Json:
        """Return what is at `path`.

        Raises:
            ClusterRefused: the API server answered with a failure.
            ClusterReadError: it did not answer, or not with a JSON object.
        """
        try:
            response = await self._client.get(path, params=params)
            _raise_for(path, response.status_code, response.text)
            found = response.json()
        except httpx.HTTPError as error:
            raise _unreachable(path, self._client.base_url, error) from error
        except ValueError as error:
            raise ClusterReadError(f"GET {path}: the answer is not JSON") from error
        if not isinstance(found, dict):
            raise ClusterReadError(f"GET {path}: the answer is not a JSON object")
        return found

    async def text(self, path: str, params: Mapping[str, str] | None = None) -> str:
        """Return what is at `path` as text: a log, or what is behind the API server's proxy.

        Raises:
            ClusterRefused: the API server, or who is behind it, answered with a failure.
            ClusterReadError: it did not answer.
        """
        try:
            response = await self._client.get(path, params=params, headers={"Accept": "*/*"})
        except httpx.HTTPError as error:
            raise _unreachable(path, self._client.base_url, error) from error
        _raise_for(path, response.status_code, response.text)
        return response.text

    async def list(self, path: str, params: Mapping[str, str] | None = None) -> list[Json]:
        """Return a whole collection, read page by page, since there may be thousands of objects.

        Raises:
            ClusterRefused: the API server refused.
            ClusterReadError: it did not answer.
        """
        query = {"limit": str(_PAGE), **(params or {})}
        items: list[Json] = []
        while True:
            answer = await self.get(path, query)
            items += answer.get("items") or []
            following = (answer.get("metadata") or {}).get("continue")
            if not following:
                return items
            query["continue"] = str(following)

    async def follow(self, path: str, params: Mapping[str, str]) -> AsyncIterator[dict[str, Json]]:
        """Yield the objects of a collection by uid: all of them, and again after every change, for ever.

        An API server that is away is asked again every second; `ClusterRefused` (no permission) ends it.
        """
        while True:
            try:
                listed = await self.get(path, params)
                objects: dict[str, Json] = {
                    item["metadata"]["uid"]: item for item in listed.get("items") or []
                }
                yield dict(objects)
                async for event in self._watch(path, params, listed["metadata"]["resourceVersion"]):
                    item = event["object"]
                    if event["type"] == "DELETED":
                        objects.pop(item["metadata"]["uid"], None)
                    elif event["type"] != "BOOKMARK":
                        objects[item["metadata"]["uid"]] = item
                    yield dict(objects)
            except ClusterRefused:
                raise
            except ClusterReadError:
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _watch(self, path: str, params: Mapping[str, str], version: str) -> AsyncIterator[Json]:
        query = {**params, "watch": "true", "resourceVersion": version, "timeoutSeconds": str(_WATCH_SECONDS)}
        timeout = httpx.Timeout(10, read=_WATCH_SECONDS + 30)
        try:
            async with self._client.stream("GET", path, params=query, timeout=timeout) as response:
                if response.status_code >= _FIRST_FAILURE:
                    _raise_for(path, response.status_code, (await response.aread()).decode(errors="replace"))
                rest = b""
                async for chunk in response.aiter_bytes():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            raise ClusterReadError(f"WATCH {path}: {event['object'].get('message')}")
                        yield event
        except httpx.HTTPError as error:
            raise _unreachable(path, self._client.base_url, error) from error
        except (ValueError, KeyError) as error:
            raise ClusterReadError(f"WATCH {path}: an event cannot be read: {error}") from error


def _raise_for(path: str, status: int, text: str) -> None:
    if status < _FIRST_FAILURE:
        return
    try:
        message = json.loads(text).get("message") or text
    except (ValueError, AttributeError):
        message = text
    error = ClusterReadError if status >= 500 or status == _GONE else ClusterRefused  # noqa: PLR2004 - server errors
    raise error(f"GET {path}: {status}: {' '.join(str(message).split())[:300]}")


def _unreachable(path: str, server: httpx.URL, error: httpx.HTTPError) -> ClusterReadError:
    return ClusterReadError(f"GET {path} at {server}: {type(error).__name__}: {error}")
