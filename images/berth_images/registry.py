"""The OCI distribution protocol, as far as pushing and pinning need it.

Of PyPI's clients only ``oras`` is alive; it is made for artifacts, would bring requests and
jsonschema beside httpx, and leaves manifest, retries and errors to us all the same
(docs/decisions/0005). These are the routes of one page of the specification.
"""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import time
from typing import TYPE_CHECKING, Self
from urllib.parse import urljoin, urlsplit

import httpx

from berth_images.errors import (
    ForbiddenError,
    NotFoundError,
    RegistryError,
    UnauthorizedError,
    UnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path
    from types import TracebackType

    from berth_images.credentials import Credentials
    from berth_images.references import Reference

MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_TIMEOUT = httpx.Timeout(60.0, connect=15.0)
_CHUNK = 1 << 20
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


class RegistryClient:
    """One repository of one registry. Not thread-safe; close it, or use it with ``with``.

    Args:
        reference: names the registry and the repository; tag and digest are not used.
        credentials: None to ask anonymously.
        insecure: also speak HTTP, where the registry does not speak TLS. On loopback that is
            always so; nothing else is ever tried without TLS.
        verify: a TLS context; the system's certificates (and $SSL_CERT_FILE) where None.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        credentials: Credentials | None = None,
        insecure: bool = False,
        verify: ssl.SSLContext | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._reference = reference
        self._credentials = credentials
        self._sleep = sleep
        self._plain_allowed = insecure or reference.is_loopback
        self._base = f"https://{reference.api_host}"
        # Whether the registry said of the last manifest that it keeps what that one refers to.
        self.lists_referrers = False
        self._scheme_known = not self._plain_allowed
        self._authorization = ""
        self._http = httpx.Client(
            timeout=_TIMEOUT,
            verify=verify or ssl.create_default_context(),
            headers={"User-Agent": "berth-images"},
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    # ---- what callers ask ------------------------------------------------------------------

    def manifest_digest(self, name: str) -> tuple[str, str]:
        """The digest and the media type of what a tag or digest names.

        Raises:
            NotFoundError: no such repository, or no such tag in it.
        """
        headers = {"Accept": ", ".join(MANIFEST_TYPES)}
        path = f"manifests/{name}"
        # GET, not HEAD: the digest is computed from the bytes, so a proxy cannot make one up.
        answer = self._call("GET", self._url(path), "read", headers=headers, missing=f"tag {name}")
        digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        claimed = answer.headers.get("Docker-Content-Digest", digest)
        expected = name if name.startswith("sha256:") else claimed
        if claimed.startswith("sha256:") and (claimed != digest or expected != digest):
            raise self._error(
                RegistryError, f"says that {name} has digest {claimed}, but sent content with {digest}"
            )
        return digest, answer.headers.get("Content-Type", "").partition(";")[0]

    def has_blob(self, digest: str) -> bool:
        """Whether the repository holds a blob."""
        answer = self._send("HEAD", self._url(f"blobs/{digest}"), actions="pull,push")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return False
        if answer.is_redirect:
            return True  # it is kept elsewhere; only what exists is pointed at
        self._raise_for(answer, "look for a blob in")
        return True

    def upload_blob(self, digest: str, size: int, source: bytes | Path) -> None:
        """Upload a blob: one streamed PATCH, then PUT with its digest, as docker does it.

        Some registries refuse chunks with ranges and some refuse a lone PUT; this form all take.
        A failure that may pass is tried again from the beginning of the blob.
        """

        def attempt() -> httpx.Response:
            opened = self._send("POST", self._url("blobs/uploads/"), actions="pull,push", content=b"")
            if opened.status_code in _TRANSIENT:
                return opened
            self._raise_for(opened, "begin an upload to", allowed=(202,))
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
            sent = self._send(
                "PATCH",
                self._location(opened),
                actions="pull,push",
                headers=headers,
                content=lambda: _blocks(source),
            )
            if sent.status_code in _TRANSIENT:
                return sent
            self._raise_for(sent, "upload to", allowed=(202, 204))
            place = self._location(sent)
            finish = f"{place}{'&' if urlsplit(place).query else '?'}digest={digest}"
            return self._send("PUT", finish, actions="pull,push", content=b"")

        self._raise_for(self._patiently(attempt), "finish an upload to", allowed=(201, 204))

    def put_manifest(self, tag: str, media_type: str, content: bytes) -> str:
        """Store a manifest under a tag; returns its digest."""
        answer = self._call(
            "PUT",
            self._url(f"manifests/{tag}"),
            "push to",
            headers={"Content-Type": media_type},
            content=content,
        )
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        stored = str(answer.headers.get("Docker-Content-Digest", digest))
        if stored != digest:
            raise self._error(RegistryError, f"stored {tag} as {stored}, not as {digest}, which was sent")
        self.lists_referrers = "OCI-Subject" in answer.headers
        return digest

    # ---- requests --------------------------------------------------------------------------

    def _url(self, path: str) -> str:
        if not self._scheme_known:
            self._find_scheme()
        return f"{self._base}/v2/{self._reference.repository}/{path}"

    def _find_scheme(self) -> None:
        """TLS where it is spoken, and only else HTTP; a wrong certificate is no reason to go without."""
        try:
            self._http.get(f"{self._base}/v2/")
        except httpx.TransportError as error:
            if _is_hopeless(error):
                raise self._unreachable(error) from error
            self._base = self._base.replace("https://", "http://", 1)
        self._scheme_known = True

    def _location(self, answer: httpx.Response) -> str:
        location = str(answer.headers.get("Location", ""))
        if not location:
            raise self._error(
                RegistryError, "opened an upload and did not say where; it does not follow the protocol"
            )
        place = urljoin(str(answer.request.url), location)
        if urlsplit(place).scheme != "https" and not self._plain_allowed:
            raise self._error(
                RegistryError, "wants the upload at an address without TLS; nothing was sent there"
            )
        return place

    def _call(
        self,
        method: str,
        url: str,
        doing: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        missing: str = "",
    ) -> httpx.Response:
        actions = "pull" if method == "GET" else "pull,push"
        answer = self._patiently(
            lambda: self._send(method, url, actions=actions, headers=headers, content=content)
        )
        self._raise_for(answer, doing, missing=missing)
        return answer

    def _patiently(self, attempt: Callable[[], httpx.Response]) -> httpx.Response:
        """Try again what may pass: no connection, 408, 429, 5xx. Anything else is the answer."""
        pause = _FIRST_PAUSE_SECONDS
        for number in range(1, _ATTEMPTS + 1):
            try:
                answer = attempt()
            except httpx.TransportError as error:
                if number == _ATTEMPTS or _is_hopeless(error) or _speaks_no_tls(error):
                    raise self._unreachable(error) from error
                wait = pause
            else:
                if answer.status_code not in _TRANSIENT or number == _ATTEMPTS:
                    return answer
                wait = _retry_after(answer, pause)
            self._sleep(min(wait, _LONGEST_PAUSE_SECONDS))
            pause *= 2
        raise AssertionError("the last attempt returns or raises")  # pragma: no cover

    def _send(
        self,
        method: str,
        url: str,
        *,
        actions: str,
        headers: Mapping[str, str] | None = None,
        content: bytes | Callable[[], Iterable[bytes]] | None = None,
    ) -> httpx.Response:
        """One request; where the registry asks who we are, the answer to that and the request once more."""
        for last in (False, True):
            sent = dict(headers or {})
            # A location elsewhere (a store behind the registry) has its own signature in its address.
            if self._authorization and self._is_ours(url):
                sent["Authorization"] = self._authorization
            body = content() if callable(content) else content
            answer = self._http.request(method, url, headers=sent, content=body)
            if answer.status_code != httpx.codes.UNAUTHORIZED or last or not self._is_ours(url):
                return answer
            if not self._log_in(answer, actions):
                return answer
        raise AssertionError("the second round returns")  # pragma: no cover

    def _is_ours(self, url: str) -> bool:
        ours, other = urlsplit(self._base), urlsplit(url)
        return (ours.scheme, ours.netloc) == (other.scheme, other.netloc)

    # ---- who we are ------------------------------------------------------------------------

    def _log_in(self, refused: httpx.Response, actions: str) -> bool:
        """Answer the registry's challenge; False where there is nothing (more) to answer with."""
        challenge = refused.headers.get("WWW-Authenticate", "")
        scheme, _, rest = challenge.partition(" ")
        before = self._authorization
        if scheme.lower() == "basic":
            if self._credentials is None or not self._credentials.username:
                return False
            self._authorization = self._credentials.basic
        elif scheme.lower() == "bearer":
            self._authorization = f"Bearer {self._token(dict(_CHALLENGE.findall(rest)), actions)}"
        else:
            return False
        return self._authorization != before

    def _token(self, challenge: Mapping[str, str], actions: str) -> str:
        realm = challenge.get("realm", "")
        if urlsplit(realm).scheme != "https" and not (
            self._plain_allowed and urlsplit(realm).scheme == "http"
        ):
            raise self._error(
                UnauthorizedError,
                f"asks for credentials at {realm!r}, which is not https; nothing was sent there",
            )
        scope = challenge.get("scope") or f"repository:{self._reference.repository}:{actions}"
        asked = {"service": challenge.get("service", ""), "scope": scope}
        known = self._credentials
        if known is not None and known.identity_token:
            form = {
                **asked,
                "grant_type": "refresh_token",
                "client_id": "berth",
                "refresh_token": known.identity_token,
            }
            answer = self._patiently(lambda: self._http.post(realm, data=form))
        else:
            headers = {"Authorization": known.basic} if known is not None and known.username else {}
            answer = self._patiently(lambda: self._http.get(realm, params=asked, headers=headers))
        self._raise_for(answer, "get a token for")
        try:
            body = json.loads(answer.content)
            token = str(body.get("token") or body.get("access_token") or "")
        except (ValueError, AttributeError):
            token = ""
        if not token:
            raise self._error(UnauthorizedError, f"answered at {realm} without a token; log in again")
        return token

    # ---- errors ----------------------------------------------------------------------------

    def _error(self, kind: type[RegistryError], what: str) -> RegistryError:
        named = self._reference
        message = f"registry {named.registry}, repository {named.repository}: {what}"
        return kind(message, registry=named.registry, repository=named.repository)

    def _unreachable(self, error: httpx.TransportError) -> RegistryError:
        where = urlsplit(self._base)
        remedy = "check its name, the network and any proxy, then run this again"
        if _is_hopeless(error):
            remedy = (
                "its certificate is not trusted here: name the file of your certificate authority "
                "in SSL_CERT_FILE and run this again"
            )
        elif _speaks_no_tls(error):
            remedy = "it does not speak TLS; inside a network that you trust, say so with insecure"
        return self._error(
            UnreachableError,
            f"{where.scheme}://{where.netloc} cannot be reached ({error or type(error).__name__}); {remedy}",
        )

    def _raise_for(
        self,
        answer: httpx.Response,
        doing: str,
        *,
        allowed: tuple[int, ...] = (200, 201, 202),
        missing: str = "",
    ) -> None:
        if answer.status_code in allowed:
            return
        said = _reason(answer)
        login = f"docker login {self._reference.registry}"
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            who = (
                "the credentials found for it were refused"
                if self._credentials
                else "no credentials were found for it"
            )
            raise self._error(
                UnauthorizedError,
                f"401, not allowed to {doing} it: {who}{said}. Log in ({login}) and run this again",
            )
        if answer.status_code == httpx.codes.FORBIDDEN:
            who = (
                self._credentials.username
                if self._credentials and self._credentials.username
                else "this account"
            )
            raise self._error(
                ForbiddenError,
                f"403, {who} may not {doing} it{said}. Ask its owner for that right, or use another account",
            )
        if answer.status_code == httpx.codes.NOT_FOUND:
            what = f"{missing} is not there" if missing else "the repository is not there"
            raise self._error(
                NotFoundError,
                f"404, {what}{said}. Check the name; some registries want the repository made first",
            )
        if answer.status_code in _TRANSIENT:
            raise self._error(
                UnreachableError,
                f"{answer.status_code} after {_ATTEMPTS} tries to {doing} it{said}. Try again later",
            )
        raise self._error(RegistryError, f"{answer.status_code} when asked to {doing} it{said}")


def _is_hopeless(error: httpx.TransportError) -> bool:
    """Whether another try cannot help: a certificate stays wrong."""
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


def _speaks_no_tls(error: httpx.TransportError) -> bool:
    return "WRONG_VERSION_NUMBER" in str(error)


def _retry_after(answer: httpx.Response, otherwise: float) -> float:
    try:
        return max(float(answer.headers.get("Retry-After", "")), 0.0)
    except ValueError:
        return otherwise


def _blocks(source: bytes | Path) -> Iterable[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as stream:
        while block := stream.read(_CHUNK):
            yield block


def _reason(answer: httpx.Response) -> str:
    """What the registry said, in the protocol's form; nothing where it said something else."""
    try:
        errors = json.loads(answer.content)["errors"]
        return "".join(f"; it said {item['code']}: {item.get('message', '')}" for item in errors[:2])
    except (ValueError, KeyError, TypeError, httpx.ResponseNotRead):
        return ""
