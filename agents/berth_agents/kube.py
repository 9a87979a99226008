"""A small client of the API server, for a pod that runs under its service account.

It does what our agents need and no more: calls that return JSON, paged lists, watches. Token and CA are files
that Kubernetes renews; they are read again when they change.
"""

import asyncio
import contextlib
import json
import os
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp

from berth_agents.errors import ApiRefused, ApiUnreachable, SettingsError

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")

# Short watches: a connection that died silently (a NAT forgot it) hides changes for no longer than this.
WATCH_SECONDS = 60
# The largest line of a watch that is accepted: etcd refuses objects above 1.5 MiB, their JSON is larger.
MAX_EVENT_BYTES = 8 * 1024 * 1024
PAGE = 500

Json = dict[str, Any]
Params = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """Where the API server is and which files prove who we are."""

    url: str
    token_file: Path
    ca_file: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "ClusterAccess":
        """Read what Kubernetes gives every pod.

        `BERTH_SERVICE_ACCOUNT_DIR` names another folder with `token` and `ca.crt`: for a run outside a pod.

        Raises:
            SettingsError: a variable or a file is missing.
        """
        host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
        if not host or not port:
            raise SettingsError(
                "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set. Kubernetes sets them in "
                "every pod; outside of one, give the API server's address and port in them."
            )
        folder = Path(environ.get("BERTH_SERVICE_ACCOUNT_DIR") or SERVICE_ACCOUNT_DIR)
        access = cls(
            f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
            folder / "token",
            folder / "ca.crt",
        )
        for file in (access.token_file, access.ca_file):
            if not file.is_file():
                raise SettingsError(
                    f"{file} does not exist. The pod needs its service account's token: set "
                    "automountServiceAccountToken: true in its spec."
                )
        return access


class KubeClient:
    """Calls to one API server. Use as an async context manager."""

    def __init__(self, access: ClusterAccess, *, timeout_seconds: float = 10) -> None:
        self._access = access
        self._timeout = timeout_seconds
        self._session: aiohttp.ClientSession | None = None
        self._tls: tuple[int, ssl.SSLContext] | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=16, keepalive_timeout=30), trust_env=False
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    def _credentials(self) -> tuple[dict[str, str], ssl.SSLContext]:
        """Read the token (a tiny file on a tmpfs), and the CA where its file changed."""
        try:
            token = self._access.token_file.read_text().strip()
            changed = self._access.ca_file.stat().st_mtime_ns
            if self._tls is None or self._tls[0] != changed:
                context = ssl.create_default_context(cafile=str(self._access.ca_file))
                # Python 3.13 asks for more than Kubernetes' own clients: many CAs lack key identifiers.
                context.verify_flags &= ~ssl.VERIFY_X509_STRICT
                self._tls = (changed, context)
        except OSError as error:
            raise ApiUnreachable(
                f"The service account's file {error.filename} cannot be read: {error.strerror}"
            ) from error
        return {"Authorization": f"Bearer {token}", "Accept": "application/json"}, self._tls[1]

    @contextlib.asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        params: Params | None,
        *,
        read_seconds: float,
        body: Json | None = None,
        content_type: str = "",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            raise RuntimeError("KubeClient is used outside of its context")
        headers, tls = self._credentials()
        call = f"{method} {path}"
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self._timeout, connect=self._timeout, sock_read=read_seconds
        )
        try:
            async with self._session.request(
                method,
                self._access.url + path,
                params=params,
                data=None if body is None else json.dumps(body),
                headers=headers if body is None else {**headers, "Content-Type": content_type},
                ssl=tls,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                if response.status >= 300:  # noqa: PLR2004 - the first status that is no success
                    raise await _refused(call, response)
                yield response
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiUnreachable(
                f"{call} at {self._access.url}: {type(error).__name__}: {error or 'timed out'}"
            ) from error

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> Json:
        """Make one call and return the object it answers with.

        Raises:
            ApiRefused: the API server answered with a failure.
            ApiUnreachable: it did not answer, or not with a JSON object.
        """
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._answer(
                    method, path, params, read_seconds=self._timeout, body=body, content_type=content_type
                ) as response,
            ):
                found = json.loads(await response.read())
        except TimeoutError as error:
            raise ApiUnreachable(f"{method} {path}: no answer within {self._timeout:g} s") from error
        except ValueError as error:
            raise ApiUnreachable(f"{method} {path}: the answer is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise ApiUnreachable(f"{method} {path}: the answer is not a JSON object")
        return found

    async def list_pages(self, path: str, params: Params) -> AsyncIterator[Json]:
        """Yield the pages of a list, at most `PAGE` objects each."""
        page: Json = {}
        while True:
            token = page.get("metadata", {}).get("continue")
            page = await self.call(
                "GET", path, params={**params, "limit": str(PAGE), **({"continue": token} if token else {})}
            )
            yield page
            if not page.get("metadata", {}).get("continue"):
                return

    async def watch(
        self, path: str, params: Params, resource_version: str, on_open: Callable[[], None]
    ) -> AsyncIterator[Json]:
        """Yield watch events, bookmarks among them, until the API server ends it after `WATCH_SECONDS`.

        `on_open` is called once the API server has accepted the watch, which may be long before an event.
        """
        query = {
            **params,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        async with self._answer("GET", path, query, read_seconds=WATCH_SECONDS + 15) as response:
            on_open()
            async for line in _lines(response.content):
                try:
                    event = json.loads(line)
                except ValueError as error:
                    raise ApiUnreachable(f"GET {path}: an event of the watch is not JSON: {error}") from error
                if isinstance(event, dict):
                    yield event


async def _refused(call: str, response: aiohttp.ClientResponse) -> ApiRefused:
    text = (await response.content.read(64 * 1024)).decode(errors="replace")
    try:
        status = json.loads(text)
        return ApiRefused(
            call, response.status, str(status.get("reason", "")), str(status.get("message", text))
        )
    except (ValueError, AttributeError):
        return ApiRefused(call, response.status, "", text[:300])


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Split a stream into lines. aiohttp's own readline refuses lines above 64 KiB; a pod may be larger."""
    rest = bytearray()
    async for chunk in stream.iter_any():
        searched = len(rest)
        rest += chunk
        while (end := rest.find(b"\n", searched)) >= 0:
            yield bytes(rest[:end])
            del rest[: end + 1]
            searched = 0
        if len(rest) > MAX_EVENT_BYTES:
            raise ApiUnreachable(f"an event of the watch is above {MAX_EVENT_BYTES} bytes")
