"""A small asynchronous Kubernetes client: one API server, retries, deadlines, discovery."""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import ipaddress
import json
import random
import ssl
import urllib.request
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from .errors import CONFLICT, NOT_FOUND, ApiError, Unreachable
from .kubeconfig import Credentials, Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

FIELD_MANAGER = "berth"
CONCURRENCY = 16  # requests at once: as many as API Priority and Fairness gives one client without queueing
_UNAUTHORIZED, _TOO_MANY, _SERVER_ERROR = 401, 429, 500
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)  # seconds per attempt
_BUDGET = 60.0  # seconds for one call with all its retries
_FIRST_BUDGET = 4.0  # seconds until the very first call gives up: a wrong address should say so soon
_BACKOFF = (0.1, 0.3, 0.8, 2.0, 4.0, 8.0)  # seconds between attempts, with jitter
_PAGE = 500  # objects per list page
_RESERVED = ipaddress.ip_network("198.18.0.0/15")  # benchmark addresses: never beyond this machine
_SCHEMA_ERRORS = ("failed to create typed patch object", "failed to create manager for existing fields")


class Kind(NamedTuple):
    """One resource type as the API server serves it."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool

    @property
    def base(self) -> str:
        """The path of its group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str = "", name: str = "") -> str:
        """The path of one object, of one namespace's list, or of the list of all."""
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{self.base}{scope}/{self.plural}" + (f"/{name}" if name else "")


SECRETS = Kind("", "v1", "Secret", "secrets", namespaced=True)
NAMESPACES = Kind("", "v1", "Namespace", "namespaces", namespaced=False)
LEASES = Kind("coordination.k8s.io", "v1", "Lease", "leases", namespaced=True)
EVENTS = Kind("", "v1", "Event", "events", namespaced=True)
PODS = Kind("", "v1", "Pod", "pods", namespaced=True)
ENDPOINT_SLICES = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", namespaced=True)
STORAGE_CLASSES = Kind("storage.k8s.io", "v1", "StorageClass", "storageclasses", namespaced=False)


class Api:
    """One API server as one user.

    Args:
        target: where it is and who we are.
        on_retry: told one sentence whenever a call is tried again.
    """

    def __init__(self, target: Target, on_retry: Callable[[str], None] | None = None) -> None:
        self.target = target
        self.credentials = Credentials(target)
        self._on_retry = on_retry or (lambda _: None)
        self._http: httpx.AsyncClient | None = None
        self._opening = asyncio.Lock()
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._reached = False
        self._skew = dt.timedelta()
        self._kinds: dict[tuple[str, str], dict[str, Kind]] = {}
        self._finding = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    def now(self) -> dt.datetime:
        """The API server's clock, to a second, by the last answer."""
        return dt.datetime.now(dt.UTC) + self._skew

    async def _client(self) -> httpx.AsyncClient:
        async with self._opening:
            if self._http is None:
                target = self.target
                self._http = httpx.AsyncClient(
                    base_url=target.server,
                    verify=await self.credentials.tls(),
                    timeout=_TIMEOUT,
                    limits=httpx.Limits(
                        max_connections=CONCURRENCY + 4, max_keepalive_connections=CONCURRENCY
                    ),
                    proxy=target.proxy or _proxy_for(target.server),
                    trust_env=False,
                    headers=[("User-Agent", "berth-deployer"), *target.impersonate],
                )
            return self._http

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """One request with retries; returns the JSON answer, with `_created` true after a 201.

        429 (after Retry-After), 5xx, resets and timeouts are tried again until the call has taken 60 s;
        every other error is final.

        Raises:
            ApiError: the API server refused.
            Unreachable: no answer in time.
        """
        response = await self._send(method, path, params, body, content_type)
        try:
            answer: dict[str, Any] = response.json() if response.content else {}
        except ValueError:
            answer = {"message": response.text[:300]}
        if response.is_success:
            answer["_created"] = response.status_code == httpx.codes.CREATED
            return answer
        raise ApiError(response.status_code, answer, f"{method} {path}")

    async def text(self, path: str, params: Mapping[str, str]) -> str:
        """The plain text that a path such as a pod's log answers with."""
        response = await self._send("GET", path, params, None, "application/json")
        if not response.is_success:
            raise ApiError(response.status_code, {"message": response.text[:300]}, f"GET {path}")
        return response.text

    async def _send(
        self, method: str, path: str, params: Mapping[str, str] | None, body: Any, content_type: str
    ) -> httpx.Response:
        content = None if body is None else json.dumps(body).encode()
        loop = asyncio.get_running_loop()
        give_up = loop.time() + (_BUDGET if self._reached else _FIRST_BUDGET)
        asked_again = False
        attempt = 0
        while True:
            response, problem = await self._attempt(method, path, params, content, content_type)
            if response is not None and response.status_code == _UNAUTHORIZED and not asked_again:
                asked_again = True
                if self.credentials.forget():
                    await self.close()  # a plugin may give another certificate
                    continue
            if response is not None and not _worth_retrying(response):
                return response
            pause = _pause(response, attempt)
            attempt += 1
            if loop.time() + pause > give_up:
                if response is not None:
                    return response
                raise Unreachable(self._unreachable(problem))
            self._on_retry(f"{self.target.label}: {problem}; trying again in {pause:.1f} s")
            await asyncio.sleep(pause)

    async def _attempt(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        content: bytes | None,
        content_type: str,
    ) -> tuple[httpx.Response | None, str]:
        """One try: the response, or None; and what was wrong with it in words."""
        http = await self._client()
        headers = {**await self.credentials.headers(), "Accept": "application/json"}
        if content is not None:
            headers["Content-Type"] = content_type
        name = self.target.tls_server_name
        try:
            async with self._slots:
                response = await http.request(
                    method,
                    path,
                    params=params,
                    content=content,
                    headers=headers,
                    extensions={"sni_hostname": name} if name else None,
                )
        except (httpx.TransportError, ssl.SSLError) as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise Unreachable(self._unreachable(_describe(error))) from None
            return None, _describe(error)
        self._reached = True
        if stamp := response.headers.get("Date"):
            self._skew = email.utils.parsedate_to_datetime(stamp) - dt.datetime.now(dt.UTC)
        return response, f"the API server answered {response.status_code}"

    def _unreachable(self, problem: str) -> str:
        source = self.target.source
        where = f" (kubeconfig: {source})" if source else ""
        return (
            f"cannot reach the cluster of {self.target.label}{where}: {problem}. Check that it runs, that "
            "the address is right, and that this machine may connect to it."
        )

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        """The object, or None where there is none."""
        try:
            return await self.call("GET", kind.path(namespace, name))
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def list(
        self, kind: Kind, namespace: str = "", labels: str = "", fields: str = ""
    ) -> AsyncIterator[dict[str, Any]]:
        """Every matching object, page by page, with `apiVersion` and `kind` filled in."""
        params = {"limit": str(_PAGE)}
        params |= {"labelSelector": labels} if labels else {}
        params |= {"fieldSelector": fields} if fields else {}
        while True:
            page = await self.call("GET", kind.path(namespace), params=params)
            version = f"{kind.group}/{kind.version}" if kind.group else kind.version
            for item in page.get("items") or []:
                yield {"apiVersion": version, "kind": kind.kind, **item}
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return
            params = {**params, "continue": token}

    async def apply(
        self, kind: Kind, manifest: Mapping[str, Any], *, dry_run: bool, force: bool = False
    ) -> dict[str, Any]:
        """Server-side apply as field manager `berth`, with strict validation."""
        metadata = manifest["metadata"]
        params = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", "force": str(force).lower()}
        if dry_run:
            params["dryRun"] = "All"
        path = kind.path(metadata.get("namespace", ""), metadata["name"])
        return await self.call(
            "PATCH", path, params=params, body=manifest, content_type="application/apply-patch+yaml"
        )

    async def create(self, kind: Kind, namespace: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """POST: fails with a 409 where the object exists."""
        return await self.call("POST", kind.path(namespace), body=manifest)

    async def replace(self, kind: Kind, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """PUT: fails with a 409 where the resourceVersion in the manifest is stale."""
        metadata = manifest["metadata"]
        path = kind.path(metadata.get("namespace", ""), metadata["name"])
        return await self.call("PUT", path, body=manifest)

    async def merge(self, kind: Kind, namespace: str, name: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """A JSON merge patch."""
        return await self.call(
            "PATCH",
            kind.path(namespace, name),
            body=patch,
            params={"fieldManager": FIELD_MANAGER},
            content_type="application/merge-patch+json",
        )

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        preconditions: Mapping[str, str] | None = None,
        propagation: str = "Foreground",
    ) -> bool:
        """Ask for deletion; false where there was nothing to delete, or not what the preconditions name."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        options = {**body, "preconditions": dict(preconditions)} if preconditions else body
        try:
            await self.call("DELETE", kind.path(namespace, name), body=options)
        except ApiError as error:
            if error.status == NOT_FOUND or (error.status == CONFLICT and preconditions):
                return False
            raise
        return True

    async def kind(self, api_version: str, kind: str) -> Kind | None:
        """How the API server serves this kind, or None where it does not."""
        group, _, version = api_version.rpartition("/")
        async with self._finding:
            known = self._kinds.get((group, version))
            if known is None:
                known = await self._discover(group, version)
                if known:
                    self._kinds[group, version] = known
        return known.get(kind)

    async def preferred_kind(self, group: str, kind: str) -> Kind | None:
        """The kind in the version that the API server prefers, or in any that has it."""
        if not group:
            return await self.kind("v1", kind)
        try:
            answer = await self.call("GET", f"/apis/{group}")
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise
        versions = [answer.get("preferredVersion") or {}, *(answer.get("versions") or [])]
        for version in versions:
            found = await self.kind(version.get("groupVersion") or "", kind)
            if found:
                return found
        return None

    def forget_kinds(self, group: str) -> None:
        """Ask again next time: a CustomResourceDefinition of this group was just established."""
        self._kinds = {key: kinds for key, kinds in self._kinds.items() if key[0] != group}

    async def _discover(self, group: str, version: str) -> dict[str, Kind]:
        base = f"/apis/{group}/{version}" if group else f"/api/{version}"
        try:
            answer = await self.call("GET", base)
        except ApiError as error:
            if error.status == NOT_FOUND:
                return {}
            raise
        return {
            item["kind"]: Kind(
                group, version, item["kind"], item["name"], namespaced=bool(item["namespaced"])
            )
            for item in answer.get("resources") or []
            if "/" not in item["name"]
        }


def _worth_retrying(response: httpx.Response) -> bool:
    if response.status_code == _TOO_MANY:
        return True
    if response.status_code < _SERVER_ERROR or response.status_code == httpx.codes.NOT_IMPLEMENTED:
        return False
    # Server-side apply reports a wrong type as a 500; trying it again cannot help.
    return not any(words in response.text for words in _SCHEMA_ERRORS)


def _pause(response: httpx.Response | None, attempt: int) -> float:
    wanted = response.headers.get("Retry-After", "") if response is not None else ""
    if wanted.isdigit():
        return float(wanted)
    step = _BACKOFF[min(attempt, len(_BACKOFF) - 1)]
    return step * random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries out, protects nothing


def _describe(error: Exception) -> str:
    text = str(error)
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "its certificate is not signed by the kubeconfig's CA, or is for another name"
    if isinstance(error, httpx.ConnectError):
        return f"no connection ({text or 'refused'})"
    return text or type(error).__name__


def _proxy_for(server: str) -> str | None:
    """The environment's proxy for this address, but none for addresses that never leave the machine."""
    parts = urlsplit(server)
    host = parts.hostname or ""
    try:
        address = ipaddress.ip_address(host)
        local = address.is_loopback or address in _RESERVED
    except ValueError:
        local = host == "localhost"
    if local or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(parts.scheme)
