"""Envoy's administration, over its socket in the shared folder."""

import re
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from berth_agents.errors import AgentError

_SECONDS = 5.0


class EnvoySilent(AgentError):  # noqa: N818 - a state, not an error of anybody's making
    """Envoy's administration does not answer, or not with 200."""


class Envoy:
    """The Envoy in the same pod. Use as an async context manager."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "admin.sock"
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=str(self._socket)),
            timeout=aiohttp.ClientTimeout(total=_SECONDS),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def is_live(self) -> bool:
        """Whether it serves."""
        try:
            await self._call("GET", "/ready")
        except EnvoySilent:
            return False
        return True

    async def stats(self, pattern: str) -> dict[str, str]:
        """Statistics whose names match, as text.

        Raises:
            EnvoySilent: it does not answer.
        """
        body = await self._call("GET", "/stats", {"filter": pattern})
        lines = (line.partition(": ") for line in body.splitlines())
        return {name: value.strip().strip('"') for name, _, value in lines}

    async def active_requests(self) -> int:
        """Requests of clients in flight."""
        name = "http.clients.downstream_rq_active"
        return int((await self.stats(f"^{re.escape(name)}$")).get(name, "0"))

    async def fail_health(self) -> None:
        """Ask every client, with its next answer, to close its connection."""
        await self._call("POST", "/healthcheck/fail")

    async def pass_health(self) -> None:
        """Undo `fail_health`."""
        await self._call("POST", "/healthcheck/ok")

    async def _call(self, method: str, path: str, params: dict[str, str] | None = None) -> str:
        if self._session is None:
            raise RuntimeError("Envoy is used outside of its context")
        try:
            async with self._session.request(method, f"http://envoy{path}", params=params) as response:
                body = await response.text()
                if response.status != 200:  # noqa: PLR2004 - HTTP's OK
                    raise EnvoySilent(f"Envoy answers {method} {path} with {response.status}: {body[:200]}")
                return body
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise EnvoySilent(f"Envoy does not answer {method} {path}: {error}") from error
