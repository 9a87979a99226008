"""API keys from a folder of files: the file's name is the key's name, its content the key.

The folder is what a mounted Kubernetes Secret looks like; entries that start
with a dot belong to the mount and are no keys. It is looked at again at most
once a second, so a rotated Secret counts without a restart.

A file holds the key alone, one word, or JSON:

    {"key": "…", "scopes": ["generate"], "requests_per_minute": 60, "max_concurrent": 4}

A key alone has every scope but `admin`, and no limits of its own. Of two files
with the same key the first by name counts. A file that is half written opens
nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from berth_serving.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

log = logging.getLogger("berth.keys")

SCOPES = ("generate", "read", "feedback", "admin")
"""What a key may do: generate; read (tokenize, `/info`, `/v1/models`); send feedback; use the admin port."""
_USUAL_SCOPES = frozenset({"generate", "read", "feedback"})
_LOOK_AGAIN_SECONDS = 1.0
_MAX_FILE_BYTES = 8192
_MAX_KEY_BYTES = 4096
_MAX_KEYS = 10_000
# A Secret's own rule for the names of its entries.
_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")
_SECONDS_PER_MINUTE = 60.0

_Signature = tuple[tuple[str, int, int, int], ...]


class KeysError(ValueError):
    """The folder of keys cannot serve; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Key:
    """Who asks, and what they may.

    Attributes:
        name: the file's name.
        scopes: of `SCOPES`.
        requests_per_minute: 0 is no limit; as many may come at once.
        max_concurrent: generations in flight together; 0 is no limit.
    """

    name: str
    scopes: frozenset[str] = _USUAL_SCOPES
    requests_per_minute: int = 0
    max_concurrent: int = 0


ANONYMOUS = Key("anonymous")
NOBODY = Key("")
"""Whoever a managed cloud let in: it asked for a key of its own."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    scopes: list[str] = msgspec.field(default_factory=lambda: sorted(_USUAL_SCOPES))
    requests_per_minute: int = 0
    max_concurrent: int = 0


@dataclass(slots=True)
class _Bucket:
    """Requests that a key may still send; refills steadily."""

    left: float
    at: float


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
        self._keys = self._read()
        self._buckets: dict[str, _Bucket] = {}
        self._anonymous = allow_anonymous and not self._keys
        if needed and not self._keys and not allow_anonymous:
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
        return f"KeyRing({len(self._keys)} keys)"

    def several(self) -> bool:
        """Whether there is more than one key to be fair between."""
        return len(self._keys) > 1

    @property
    def keys(self) -> tuple[Key, ...]:
        """Every key's name, scopes and limits; never its value."""
        return tuple(sorted(self._keys.values(), key=lambda key: key.name))

    def whose(self, authorization: str | None) -> Key | None:
        """The key in an Authorization header, or None where it opens nothing.

        Compared in constant time: every stored digest with the given one, whichever matches.
        """
        self._look_again()
        if self._anonymous:
            return ANONYMOUS
        scheme, _, value = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        given = hashlib.sha256(value.strip().encode("latin-1", "replace")).digest()
        found = None
        for digest, key in self._keys.items():
            if hmac.compare_digest(digest, given):
                found = key
        return found

    def charge(self, key: Key) -> None:
        """Count one request of a key.

        Raises:
            Overloaded: it is over its requests per minute; carries Retry-After.
        """
        rate = key.requests_per_minute
        if not rate:
            return
        now = self._clock()
        bucket = self._buckets.setdefault(key.name, _Bucket(rate, now))
        bucket.left = min(rate, bucket.left + (now - bucket.at) * rate / _SECONDS_PER_MINUTE)
        bucket.at = now
        if bucket.left < 1:
            wait = (1 - bucket.left) * _SECONDS_PER_MINUTE / rate
            raise Overloaded(
                f"key {key.name}: at most {rate} requests per minute are allowed",
                retry_after=max(1, int(wait + 0.999)),
                code="rate_limit_exceeded",
            )
        bucket.left -= 1

    def _look_again(self) -> None:
        now = self._clock()
        if now - self._looked < _LOOK_AGAIN_SECONDS:
            return
        self._looked = now
        signature = self._sign()
        if signature == self._signature:
            return
        self._signature = signature
        self._keys = self._read()
        named = {key.name for key in self._keys.values()}
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if name in named}
        # Once there were keys, their absence closes the door: a Secret emptied by mistake must not open it.
        self._anonymous = self._anonymous and not self._keys
        log.info("api keys reread", extra={"keys": sorted(named)})

    def _files(self) -> list[Path]:
        if self._folder is None:
            return []
        try:
            found = [path for path in self._folder.iterdir() if not path.name.startswith(".")]
        except OSError:
            return []
        return sorted(found)[:_MAX_KEYS]

    def _sign(self) -> _Signature:
        found = []
        for path in self._files():
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((path.name, status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(found)

    def _read(self) -> dict[bytes, Key]:
        found: dict[bytes, Key] = {}
        for path in self._files():
            name = ascii(path.name)[1:-1]
            try:
                if not path.is_file():
                    continue
                with path.open("rb") as file:
                    content = file.read(_MAX_FILE_BYTES + 1)
                digest, key = _parse(path.name, content)
            except OSError as error:
                log.warning("api key unreadable", extra={"key": name, "error": error.strerror})
                continue
            except KeysError as error:
                log.warning("api key ignored", extra={"key": name, "reason": str(error)})
                continue
            if digest in found:
                log.warning(
                    "api key ignored: another file holds the same",
                    extra={"key": name, "as": found[digest].name},
                )
                continue
            found[digest] = key
        return found


def _parse(name: str, content: bytes) -> tuple[bytes, Key]:
    """A key's digest, and what it may.

    Raises:
        KeysError: the file is no key; the message has nothing of its content but names of fields and scopes.
    """
    if not _NAME.fullmatch(name):
        raise KeysError("its name must be of A-Z a-z 0-9 . _ -, as a Secret's entries are")
    if len(content) > _MAX_FILE_BYTES:
        raise KeysError(f"the file must have at most {_MAX_FILE_BYTES} bytes")
    content = content.strip()
    if not content.startswith(b"{"):
        return _digest(content), Key(name)
    try:
        read = msgspec.json.decode(content, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # Half written, or wrong: what it meant to allow is not guessed. msgspec's message may quote it.
        raise KeysError(
            "what begins with { must be JSON: key, and at most scopes, requests_per_minute, max_concurrent"
        ) from None
    if unknown := sorted(set(read.scopes) - set(SCOPES)):
        raise KeysError(f"scopes must be of {', '.join(SCOPES)}, got {', '.join(map(ascii, unknown))[:80]}")
    if not read.scopes or read.requests_per_minute < 0 or read.max_concurrent < 0:
        raise KeysError("scopes must not be empty, and limits must not be negative")
    key = Key(name, frozenset(read.scopes), read.requests_per_minute, read.max_concurrent)
    return _digest(read.key.encode()), key


def _digest(key: bytes) -> bytes:
    if not key or len(key) > _MAX_KEY_BYTES or len(key.split()) != 1 or key.split()[0] != key:
        raise KeysError("the key must be one word")
    return hashlib.sha256(key).digest()


def describe(keys: tuple[Key, ...]) -> list[Mapping[str, object]]:
    """Keys as JSON for the admin port."""
    return [
        {
            "name": key.name,
            "scopes": sorted(key.scopes),
            "requests_per_minute": key.requests_per_minute,
            "max_concurrent": key.max_concurrent,
        }
        for key in keys
    ]
