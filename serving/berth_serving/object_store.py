"""Weights from an object store: S3 or what speaks its API, or Google Cloud Storage, by obstore.

Credentials come from where the cloud's own tools look: variables, a file, a web identity, the instance. Only
bytes are taken from the store; what they must be says the manifest.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from berth_serving.hub import HubError, checked_address

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMES = {"s3": "s3", "gcs": "gs"}
"""Source → scheme of its URLs."""
_CHUNK = 4 * 1024 * 1024
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 20.0
_READ_SECONDS = 30
# Of a single request; whatever outlasts them is tried again here, until the deadline.
_RETRIES = {"max_retries": 2}


def checked_url(source: str, url: str) -> str:
    """A store's URL, `s3://bucket/prefix` or `gs://bucket/prefix`, without a slash at its end.

    Raises:
        HubError: it is none.
    """
    parts = urlsplit(url)
    if (
        parts.scheme != SCHEMES[source]
        or not parts.netloc
        or "@" in parts.netloc
        or parts.query
        or parts.fragment
    ):
        raise HubError(f"{url!r}: must be {SCHEMES[source]}://<bucket>/<prefix>")
    return url.rstrip("/")


class ObjectStore:
    """A folder in a bucket.

    Args:
        source: `s3` or `gcs`.
        url: see `checked_url`.
        endpoint: another server that speaks the API; https, or http on loopback. "" is the cloud's.
        anonymous: ask without credentials, as for a public bucket.
        deadline: monotonic time until when transient failures are tried again.

    Raises:
        HubError: the URL is none, or the credentials that there are cannot be read.
    """

    def __init__(
        self, source: str, url: str, *, endpoint: str = "", anonymous: bool = False, deadline: float
    ) -> None:
        # A fetcher of another source needs nothing of it.
        from obstore.exceptions import BaseError  # noqa: PLC0415
        from obstore.store import GCSStore, S3Store  # noqa: PLC0415

        self.url = checked_url(source, url)
        self._deadline = deadline
        parts = urlsplit(self.url)
        client = {"read_timeout": f"{_READ_SECONDS}s", "connect_timeout": "10s", "timeout": "365days"}
        options: dict[str, Any] = {"skip_signature": True} if anonymous else {}
        if endpoint:
            endpoint = checked_address(endpoint)
            client["allow_http"] = "true" if endpoint.startswith("http://") else "false"
            options["endpoint" if source == "s3" else "base_url"] = endpoint
        make: Any = S3Store if source == "s3" else GCSStore
        try:
            self._store = make(
                parts.netloc,
                prefix=parts.path.strip("/") or None,
                client_options=client,
                retry_config=_RETRIES,
                **options,
            )
        except (BaseError, ValueError) as error:
            raise HubError(f"{self.url}: {_why(error)}") from None

    def __repr__(self) -> str:
        return f"ObjectStore({self.url!r})"

    def read(self, path: str, sha256: str, start: int) -> Iterator[bytes]:
        """The bytes of a file from an offset on, across interruptions.

        Raises:
            HubError: it is not there, not given, or transient failures went on until the deadline.
        """
        del sha256
        import obstore  # noqa: PLC0415 - as above
        from obstore import exceptions  # noqa: PLC0415

        final = (
            *(FileNotFoundError, PermissionError),
            *(exceptions.PermissionDeniedError, exceptions.UnauthenticatedError),
        )
        pause = _FIRST_PAUSE
        while True:
            before = start
            try:
                asked = obstore.get(self._store, path, options={"range": {"offset": start}})
                for piece in asked.stream(min_chunk_size=_CHUNK):
                    start += len(piece)
                    yield bytes(piece)
            except final as error:
                raise HubError(f"{self.url}/{path}: {_why(error)}") from None
            except (exceptions.BaseError, OSError) as error:
                # What came was progress: the pauses begin anew.
                pause = _FIRST_PAUSE if start > before else pause
                if time.monotonic() + pause > self._deadline:
                    raise HubError(
                        f"{self.url}/{path}: tried until the time was over; last: {_why(error)}"
                    ) from None
                time.sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)
            else:
                return


def _why(error: Exception) -> str:
    """What went wrong in one short line; obstore's messages go on with a dump of every field."""
    kind = type(error).__name__
    known = {
        "FileNotFoundError": "no such bucket or file",
        "PermissionError": "not allowed for these credentials",
        "PermissionDeniedError": "not allowed for these credentials",
        "UnauthenticatedError": "credentials are needed, or these are not valid",
    }
    said = str(error).split("\n", 1)[0][:200]
    # A signed request's address may hold a signature.
    return known.get(kind) or f"{kind}: {said.partition('?')[0]}"
