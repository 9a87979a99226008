"""A model hub over its HTTP API, as far as weights need it: which commit, which files, and their bytes.

Shapes as huggingface_hub 2.4.0 reads them (hf_api.py, utils/_pagination.py, utils/_http.py), 2026-11-23:

    /api/models/<repo>/revision/<revision>  says the commit
    /api/models/<repo>/tree/<commit>        lists files, large ones with SHA-256, in linked pages
    /<repo>/resolve/<commit>/<path>         gives bytes, mostly by a redirect to another host

Standard library only: the fetcher's image carries no client.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import Message
    from typing import IO

HUB = "https://huggingface.co"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SOCKET_SECONDS = 30.0
_REDIRECTS = 5
_CHUNK = 1024 * 1024
_MOST_ANSWER = 32 * 1024 * 1024
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="next"')
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 20.0
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


class HubError(Exception):
    """The hub cannot or will not give it; the message names what, why, and what to do. Never a token."""


class Transient(Exception):  # noqa: N818 - caught by whoever fetches, and tried again
    """Worth trying again."""

    def __init__(self, why: str, pause: float | None = None) -> None:
        super().__init__(why)
        self.pause = pause


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a commit: its SHA-256 where the hub says it (large files), else its git blob id."""

    path: str
    size: int
    sha256: str | None
    blob: str


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never carries the token to another host, nor goes from TLS to plain HTTP."""

    max_redirections = _REDIRECTS

    def redirect_request(  # noqa: PLR0917 - the signature is urllib's
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The request that follows, or an error."""
        made = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        if made is None:
            return None
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        if before.scheme == "https" and after.scheme != "https":
            raise HubError(f"{before.hostname} redirects to {after.scheme}://{after.hostname}, without TLS")
        if (before.scheme, before.netloc) != (after.scheme, after.netloc):
            made.remove_header("Authorization")
        return made


class Hub:
    """One hub.

    Args:
        url: its address; https, or http on loopback.
        token: for what is not open to everybody; "" for none.
        deadline: monotonic time until when transient failures are tried again.
    """

    def __init__(self, url: str = HUB, *, token: str = "", deadline: float) -> None:
        self.url = checked_address(url)
        self._token = token
        self._deadline = deadline
        self._opener = urllib.request.build_opener(Redirects())

    def __repr__(self) -> str:
        return f"Hub({self.url!r})"

    def commit(self, repo: str, revision: str) -> str:
        """The commit that a revision is now: 40 hexadecimal digits.

        Raises:
            HubError: there is none, or it is not given to this caller.
        """
        found = self._json(f"/api/models/{repo}/revision/{quote(revision, safe='')}")[0]
        sha = found.get("sha") if isinstance(found, dict) else None
        if not isinstance(sha, str) or not re.fullmatch(r"[0-9a-f]{40}", sha):
            raise HubError(f"{self.url}: {repo} at {revision}: the hub says no commit, but {sha!r}")
        return sha

    def files(self, repo: str, commit: str) -> list[HubFile]:
        """The files of a commit, of all folders.

        Raises:
            HubError: as `commit`.
        """
        path: str | None = f"/api/models/{repo}/tree/{commit}?recursive=true"
        found: list[HubFile] = []
        while path is not None:
            page, following = self._json(path)
            if not isinstance(page, list):
                raise HubError(f"{self.url}: {repo} at {commit}: the hub's list of files is no list")
            found += [_file(one) for one in page if isinstance(one, dict) and one.get("type") == "file"]
            path = following
        return found

    def small_file(self, repo: str, commit: str, path: str) -> bytes:
        """The bytes of a small file.

        Raises:
            HubError: as `commit`; or it is larger than 32 MiB.
        """
        pieces = bytearray()
        for piece in self.read(repo, commit, path, 0):
            pieces += piece
            if len(pieces) > _MOST_ANSWER:
                raise HubError(f"{self.url}: {repo}/{path} is larger than {_MOST_ANSWER} bytes")
        return bytes(pieces)

    def read(self, repo: str, commit: str, path: str, start: int) -> Iterator[bytes]:
        """The bytes of a file from an offset on, across interruptions of the connection.

        Raises:
            HubError: as `commit`; or transient failures went on until the deadline.
        """
        where = f"/{repo}/resolve/{commit}/{quote(path)}"
        yield from across_interruptions(functools.partial(self._bytes, where), start, self._pause)

    def _bytes(self, path: str, start: int) -> Iterator[bytes]:
        with self._open(path, {"Range": f"bytes={start}-"} if start else {}) as response:
            yield from body_from(response, start)

    def _json(self, path: str) -> tuple[Any, str | None]:
        """A JSON answer, and the path of the page that follows."""
        pause = _FIRST_PAUSE
        while True:
            try:
                with self._open(path, {"Accept": "application/json"}) as response:
                    body = response.read(_MOST_ANSWER + 1)
                    following = _NEXT.search(response.headers.get("Link") or "")
                if len(body) > _MOST_ANSWER:
                    raise HubError(
                        f"{self.url}{path.partition('?')[0]}: an answer above {_MOST_ANSWER} bytes"
                    )
                return json.loads(body), self._same_host(following[1]) if following else None
            except (Transient, OSError, http.client.HTTPException) as error:
                self._pause(error, pause)
                pause = min(_LONGEST_PAUSE, pause * 2)
            except ValueError:
                raise HubError(f"{self.url}{path.partition('?')[0]}: the answer is no JSON") from None

    def _same_host(self, url: str) -> str:
        parts = urlsplit(url)
        if parts.netloc and f"{parts.scheme}://{parts.netloc}" != self.url:
            raise HubError(f"{self.url}: the next page of a list is at another host, {parts.netloc}")
        return parts.path + (f"?{parts.query}" if parts.query else "")

    @contextlib.contextmanager
    def _open(self, path: str, headers: dict[str, str]) -> Iterator[Any]:
        request = urllib.request.Request(self.url + path, headers={"User-Agent": "berth", **headers})  # noqa: S310 - https, or http on loopback: checked
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        where = path.partition("?")[0]
        try:
            response = self._opener.open(request, timeout=_SOCKET_SECONDS)
        except urllib.error.HTTPError as error:
            with error:
                raise self._failure(where, error) from None
        except urllib.error.URLError as error:
            raise Transient(f"{self.url}: {error.reason}") from None
        except (OSError, http.client.HTTPException) as error:
            raise Transient(f"{self.url}: {type(error).__name__}") from None
        with response:
            yield response

    def _failure(self, where: str, error: urllib.error.HTTPError) -> Exception:
        if error.code in _TRANSIENT:
            after = error.headers.get("Retry-After") or ""
            return Transient(
                f"{self.url}{where}: status {error.code}", float(after) if after.isdigit() else None
            )
        if error.code < 400:  # noqa: PLR2004 - redirects that were followed as often as is sensible
            return HubError(f"{self.url}{where}: redirects in circles, or more than {_REDIRECTS} times")
        said = error.headers.get("X-Error-Code") or ""
        if said == "GatedRepo" or error.code in (401, 403):
            how = (
                "the token's account was not let in: accept the model's licence at the hub"
                if self._token
                else "give a token of an account that was let in, and accept the model's licence at the hub"
            )
            return HubError(f"{self.url}{where}: status {error.code} {said}: not open to everybody; {how}")
        hint = {
            "RepoNotFound": "no such repository, or a private one",
            "RevisionNotFound": "no such revision",
            "EntryNotFound": "no such file at this revision",
        }.get(said, "the hub does not have it")
        return HubError(f"{self.url}{where}: status {error.code}: {hint}")

    def _pause(self, error: Exception, usual: float) -> None:
        """Wait before another try.

        Raises:
            HubError: the deadline is over by then.
        """
        pause = max(usual, getattr(error, "pause", None) or 0)
        if time.monotonic() + pause > self._deadline:
            raise HubError(
                f"{self.url}: tried until the time was over; last: {error or type(error).__name__}"
            ) from None
        time.sleep(pause)


def across_interruptions(
    bytes_from: Callable[[int], Iterator[bytes]], start: int, wait: Callable[[Transient, float], None]
) -> Iterator[bytes]:
    """What a source gives from a position on, asked again where it stopped.

    Args:
        bytes_from: gives the bytes from a position on; raises Transient where it is worth trying again.
        start: the first position.
        wait: told why and for how long, in seconds; raises where that was long enough.
    """
    pause = _FIRST_PAUSE
    while True:
        before = start
        try:
            for piece in bytes_from(start):
                start += len(piece)
                yield piece
        except Transient as error:
            # What came was progress: the pauses begin anew.
            pause = _FIRST_PAUSE if start > before else pause
            wait(error, pause)
            pause = min(_LONGEST_PAUSE, pause * 2)
        else:
            return


def body_from(response: http.client.HTTPResponse, start: int) -> Iterator[bytes]:
    """The body of an answer from a position on, also from a server that knows no ranges and sends all of it.

    Raises:
        Transient: the connection ended early; what came before was given already.
    """
    skip = start if start and response.status != http.client.PARTIAL_CONTENT else 0
    left = response.length
    while left != 0:
        try:
            # What is there, not a whole chunk: what came before an interruption is kept.
            piece = response.read1(_CHUNK if left is None else min(_CHUNK, left))
        except (OSError, http.client.HTTPException) as error:
            raise Transient(f"the connection ended early: {type(error).__name__}") from None
        if not piece:
            break
        left = None if left is None else left - len(piece)
        if skip >= len(piece):
            skip -= len(piece)
            continue
        yield piece[skip:]
        skip = 0
    if left:
        raise Transient(f"the connection ended {left} bytes early")


def checked_address(url: str) -> str:
    """A hub's address, without a slash at its end.

    Raises:
        HubError: it is neither https nor on loopback.
    """
    parts = urlsplit(url)
    plain = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if (parts.scheme != "https" and not plain) or not parts.hostname or parts.query or parts.username:
        raise HubError(f"hub {url!r}: must be https://<host>; http is for a hub on loopback only")
    return url.rstrip("/")


def _file(one: dict[str, Any]) -> HubFile:
    lfs = one.get("lfs")
    large = lfs if isinstance(lfs, dict) else {}
    sha256 = large.get("oid")
    try:
        return HubFile(
            path=str(one["path"]),
            size=int(large.get("size", one["size"])),
            sha256=str(sha256) if sha256 else None,
            blob=str(one["oid"]),
        )
    except (KeyError, TypeError, ValueError):
        raise HubError(f"the hub lists a file without path, size or id: {one!r}") from None
