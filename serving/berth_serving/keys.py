"""API keys from a folder of files: the file's name is the key's name, its content the key.

The folder is what a mounted Kubernetes Secret looks like; entries that start
with a dot belong to the mount and are no keys. It is looked at again at most
once a second, so a rotated Secret counts without a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger("berth.keys")

_LOOK_AGAIN_SECONDS = 1.0
_MAX_KEY_BYTES = 4096
ANONYMOUS = "anonymous"

_Signature = tuple[tuple[str, int, int, int], ...]


class KeysError(ValueError):
    """The folder of keys cannot serve; the message says what to do."""


class KeyRing:
    """Knows which key is whose.

    Args:
        folder: one file per key, or None.
        allow_anonymous: whether no key at all is fine. With keys present, they are asked for all the same.
        needed: whether there has to be a key; without one, every route that asks for one is closed.
        clock: monotonic seconds.

    Raises:
        KeysError: no usable key, and anonymous access is not allowed.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        allow_anonymous: bool,
        needed: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._looked = clock()
        self._signature = self._sign()
        self._digests = self._read()
        self._anonymous = allow_anonymous and not self._digests
        if needed and not self._digests and not allow_anonymous:
            where = (
                f"BERTH_API_KEYS_DIR={str(folder)!r} holds no key"
                if folder
                else "BERTH_API_KEYS_DIR is unset"
            )
            raise KeysError(
                f"{where}: put one file per key there (its name is the key's name), "
                "or set BERTH_ALLOW_ANONYMOUS=true to serve everybody"
            )

    def __repr__(self) -> str:
        return f"KeyRing({len(self._digests)} keys)"

    def several(self) -> bool:
        """Whether there is more than one key to be fair between."""
        return len(self._digests) > 1

    def whose(self, authorization: str | None) -> str | None:
        """The name of the key in an Authorization header, or None where it opens nothing.

        Every key is compared, each in constant time, so that time tells nothing about any of them.
        """
        self._look_again()
        if self._anonymous:
            return ANONYMOUS
        scheme, _, given = (authorization or "").partition(" ")
        digest = hashlib.sha256(given.strip().encode()).digest()
        found: str | None = None
        for name, known in self._digests.items():
            if hmac.compare_digest(digest, known):
                found = name
        return found if scheme.lower() == "bearer" else None

    def _look_again(self) -> None:
        now = self._clock()
        if self._folder is None or now - self._looked < _LOOK_AGAIN_SECONDS:
            return
        self._looked = now
        signature = self._sign()
        if signature == self._signature:
            return
        self._signature = signature
        self._digests = self._read()
        # Once there were keys, their absence closes the door: a Secret emptied by mistake must not open it.
        self._anonymous = self._anonymous and not self._digests
        log.info("api keys reread", extra={"keys": sorted(self._digests)})

    def _files(self) -> list[Path]:
        if self._folder is None or not self._folder.is_dir():
            return []
        return sorted(path for path in self._folder.iterdir() if not path.name.startswith("."))

    def _sign(self) -> _Signature:
        found = []
        for path in self._files():
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((path.name, status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(found)

    def _read(self) -> dict[str, bytes]:
        digests = {}
        for path in self._files():
            try:
                key = path.read_bytes()[: _MAX_KEY_BYTES + 1].strip() if path.is_file() else b""
            except OSError as error:
                log.warning("api key unreadable", extra={"key": path.name, "error": error.strerror})
                continue
            if not key or len(key) > _MAX_KEY_BYTES or len(key.split()) != 1:
                log.warning("api key ignored: it must be one word", extra={"key": path.name})
                continue
            digests[path.name] = hashlib.sha256(key).digest()
        return digests
