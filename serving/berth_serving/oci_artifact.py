"""Weights from an OCI registry: an artifact with one layer per file, as oras and ModelPack push them.

The artifact is named by the digest of its manifest, which names every layer by its SHA-256; so a registry can
give nothing else than what was pinned. Layers that are archives are not unpacked: a file must be a layer.

Routes as the OCI distribution specification 1.1 has them, tokens as docker's registries give them.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import http.client
import json
import re
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from berth_serving.hub import HubError, Redirects, Transient, across_interruptions, body_from

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
TITLE = "org.opencontainers.image.title"
_REFERENCE = re.compile(
    r"oci://(?P<host>[A-Za-z0-9.-]+(:\d{1,5})?|\[[0-9a-f:]+\](:\d{1,5})?)"
    r"/(?P<repository>[a-z0-9]+([._/-]+[a-z0-9]+)*)@(?P<digest>sha256:[0-9a-f]{64})"
)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SOCKET_SECONDS = 30.0
_MOST_MANIFEST = 4 * 1024 * 1024
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 20.0
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_UNAUTHORIZED = 401


def checked_reference(url: str) -> tuple[str, str, str]:
    """Host, repository and manifest digest of `oci://host/repository@sha256:…`.

    Raises:
        HubError: it is none; a tag alone is refused, since it may move.
    """
    found = _REFERENCE.fullmatch(url)
    if found is None:
        raise HubError(f"{url!r}: must be oci://<host>/<repository>@sha256:<64 hexadecimal digits>")
    return found["host"], found["repository"], found["digest"]


class OciArtifact:
    """One artifact.

    Args:
        url: see `checked_reference`. http is spoken on loopback only.
        docker_config: a file as `docker login` writes it, or a Secret of type dockerconfigjson holds it.
        deadline: monotonic time until when transient failures are tried again.
    """

    def __init__(self, url: str, *, docker_config: Path | None = None, deadline: float) -> None:
        self.url = url
        self._host, self._repository, self._digest = checked_reference(url)
        name = urlsplit(f"//{self._host}").hostname
        self._base = f"{'http' if name in _LOOPBACK else 'https'}://{self._host}"
        self._basic = _credentials(docker_config, self._host)
        self._bearer = ""
        self._deadline = deadline
        self._opener = urllib.request.build_opener(Redirects())
        self._layers: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"OciArtifact({self.url!r})"

    def read(self, path: str, sha256: str, start: int) -> Iterator[bytes]:
        """The bytes of the layer that is the file, from an offset on, across interruptions.

        Raises:
            HubError: the artifact does not have it, it is not given, or failures went on until the deadline.
        """
        if not self._layers:
            self._layers = self._read_manifest()
        if sha256 not in self._layers:
            raise HubError(
                f"{self.url}: no layer is {path} with SHA-256 {sha256}; each file must be one, in no archive"
            )
        where = f"/v2/{self._repository}/blobs/sha256:{sha256}"
        yield from across_interruptions(functools.partial(self._bytes, where), start, self._wait)

    def _read_manifest(self) -> dict[str, int]:
        """SHA-256 → size of every layer, from a manifest that is the one pinned."""
        where = f"/v2/{self._repository}/manifests/{self._digest}"
        pause = _FIRST_PAUSE
        while True:
            try:
                with self._open(where, {"Accept": MANIFEST_TYPE}) as response:
                    body = response.read(_MOST_MANIFEST + 1)
                break
            except (Transient, OSError, http.client.HTTPException) as error:
                self._wait(error, pause)
                pause = min(_LONGEST_PAUSE, pause * 2)
        found = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if found != self._digest:
            raise HubError(f"{self.url}: the registry gave another manifest, {found}")
        try:
            layers = json.loads(body)["layers"]
            return {str(one["digest"]).removeprefix("sha256:"): int(one["size"]) for one in layers}
        except (ValueError, KeyError, TypeError):
            raise HubError(f"{self.url}: is no manifest with layers; an index is not taken") from None

    def _bytes(self, where: str, start: int) -> Iterator[bytes]:
        with self._open(where, {"Range": f"bytes={start}-"} if start else {}) as response:
            yield from body_from(response, start)

    @contextlib.contextmanager
    def _open(self, where: str, headers: dict[str, str]) -> Iterator[Any]:
        response = self._ask(where, headers)
        with response:
            yield response

    def _ask(self, where: str, headers: dict[str, str], *, again: bool = True) -> Any:
        request = urllib.request.Request(self._base + where, headers={"User-Agent": "berth", **headers})  # noqa: S310 - https, or http on loopback
        if self._bearer or self._basic:
            request.add_header("Authorization", self._bearer or self._basic)
        try:
            return self._opener.open(request, timeout=_SOCKET_SECONDS)
        except urllib.error.HTTPError as error:
            with error:
                challenge = error.headers.get("WWW-Authenticate") or ""
                if error.code == _UNAUTHORIZED and again and challenge.lower().startswith("bearer"):
                    self._bearer = self._token(challenge)
                    return self._ask(where, headers, again=False)
                raise self._failure(where, error.code) from None
        except (OSError, http.client.HTTPException) as error:
            raise Transient(f"{self._base}: {getattr(error, 'reason', type(error).__name__)}") from None

    def _token(self, challenge: str) -> str:
        """What the registry's token server gives for reading this repository."""
        said = dict(_PARAMETER.findall(challenge))
        realm = said.get("realm", "")
        parts = urlsplit(realm)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise HubError(f"{self._base}: its token server {realm!r} is not https")
        query = {"service": said.get("service", ""), "scope": f"repository:{self._repository}:pull"}
        request = urllib.request.Request(f"{realm}?{urlencode(query, quote_via=quote)}")  # noqa: S310 - checked above
        if self._basic:
            request.add_header("Authorization", self._basic)
        try:
            with self._opener.open(request, timeout=_SOCKET_SECONDS) as response:
                answer = json.loads(response.read(_MOST_MANIFEST))
        except urllib.error.HTTPError as error:
            with error:
                raise self._failure(urlsplit(realm).path, error.code) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Transient(f"{realm}: {type(error).__name__}") from None
        token = answer.get("token") or answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str):
            raise HubError(f"{realm}: gave no token")
        return f"Bearer {token}"

    def _failure(self, where: str, status: int) -> Exception:
        if status in _TRANSIENT:
            return Transient(f"{self._base}{where}: status {status}")
        hint = {
            401: "credentials are needed, or these are not valid: BERTH_WEIGHTS_DOCKER_CONFIG",
            403: "not allowed for these credentials",
            404: "no such artifact, or not for these credentials",
        }.get(status, "the registry does not give it")
        return HubError(f"{self._base}{where}: status {status}: {hint}")

    def _wait(self, error: Exception, pause: float) -> None:
        if time.monotonic() + pause > self._deadline:
            raise HubError(
                f"{self.url}: tried until the time was over; last: {error or type(error).__name__}"
            ) from None
        time.sleep(pause)


def _credentials(config: Path | None, host: str) -> str:
    """The Authorization header for a registry, from docker's configuration, or ""."""
    if config is None:
        return ""
    where = f"BERTH_WEIGHTS_DOCKER_CONFIG={str(config)!r}"
    try:
        known = json.loads(config.read_bytes())["auths"]
        entry = known.get(host) or known.get(f"https://{host}") or {}
        if entry.get("auth"):
            base64.b64decode(entry["auth"], validate=True)
            return f"Basic {entry['auth']}"
        if entry.get("username"):
            pair = f"{entry['username']}:{entry.get('password', '')}"
            return f"Basic {base64.b64encode(pair.encode()).decode()}"
    except OSError as error:
        raise HubError(f"{where}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise HubError(f"{where}: is no docker configuration with `auths`") from None
    return ""
