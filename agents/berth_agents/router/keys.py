"""Whose API key may wake a model: read from the Secret that its gateways read, in the gateways' own form.

A folder of files, each the key alone or JSON with `key` and what it may (docs/router.md). The gateway is the
one that decides about a request; this only keeps whoever it would send away from starting a replica.
"""

import hashlib
import hmac
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

log = logging.getLogger(__name__)

_USUAL = frozenset({"generate", "read", "feedback"})
_SCOPES = _USUAL | {"admin"}
_FIELDS = frozenset({"key", "scopes", "requests_per_minute", "max_concurrent"})
_LOOK_AGAIN_SECONDS = 1.0
_MAX_FILE_BYTES = 8192
_MAX_KEY_BYTES = 4096
_MAX_KEYS = 10_000
# A Secret's own rule for the names of its entries.
_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")

_Signature = tuple[tuple[str, int, int, int], ...]


class KeyFolder:
    """The keys of one model, looked at again at most once a second.

    Args:
        folder: one file per key; None, or one that is not there, has none.
        clock: monotonic seconds.
    """

    def __init__(self, folder: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._looked = float("-inf")
        self._signature: _Signature | None = None
        self._scopes: dict[bytes, frozenset[str]] = {}

    def __repr__(self) -> str:
        return f"KeyFolder({len(self._scopes)} keys)"

    def scopes(self, authorization: str | None) -> frozenset[str] | None:
        """What the key in an Authorization header may do; None where it is no key.

        Compared in constant time: every stored digest with the given one, whichever matches.
        """
        self._look_again()
        scheme, _, value = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        # aiohttp gives bytes that are no UTF-8 as surrogates.
        given = hashlib.sha256(value.strip().encode("utf-8", "surrogateescape")).digest()
        found = None
        for digest, scopes in self._scopes.items():
            if hmac.compare_digest(digest, given):
                found = scopes
        return found

    def _look_again(self) -> None:
        now = self._clock()
        if now - self._looked < _LOOK_AGAIN_SECONDS:
            return
        self._looked = now
        signature = self._sign()
        if signature != self._signature:
            self._signature, self._scopes = signature, self._read()
            log.info("Keys read", extra={"folder": str(self._folder), "keys": len(self._scopes)})

    def _files(self) -> list[Path]:
        if self._folder is None:
            return []
        try:
            # What starts with a dot belongs to the mount.
            found = [path for path in self._folder.iterdir() if not path.name.startswith(".")]
        except OSError:
            return []
        return sorted(found)[:_MAX_KEYS]

    def _sign(self) -> _Signature:
        return tuple(self._signed())

    def _signed(self) -> Iterator[tuple[str, int, int, int]]:
        for path in self._files():
            try:
                status = path.stat()
            except OSError:
                continue
            yield path.name, status.st_ino, status.st_mtime_ns, status.st_size

    def _read(self) -> dict[bytes, frozenset[str]]:
        found: dict[bytes, frozenset[str]] = {}
        for path in self._files():
            try:
                if not path.is_file():
                    continue
                with path.open("rb") as file:
                    content = file.read(_MAX_FILE_BYTES + 1)
            except OSError:
                continue
            key = _key(path.name, content)
            if key is None:
                # The gateway, which reads the same, says in its log what is wrong with it.
                log.warning("A key is ignored", extra={"key": ascii(path.name)})
            else:
                found.setdefault(*key)
        return found


def _key(name: str, content: bytes) -> tuple[bytes, frozenset[str]] | None:
    """A key's digest, and what it may; None for a file that is no key."""
    if not _NAME.fullmatch(name) or len(content) > _MAX_FILE_BYTES:
        return None
    content = content.strip()
    if not content.startswith(b"{"):
        return _digested(content, _USUAL)
    try:
        read = json.loads(content)
    except (ValueError, RecursionError):
        return None
    scopes = read.get("scopes", sorted(_USUAL))
    limits = (read.get("requests_per_minute", 0), read.get("max_concurrent", 0))
    fits = (
        read.keys() <= _FIELDS
        and isinstance(read.get("key"), str)
        and isinstance(scopes, list)
        and all(isinstance(one, str) and one in _SCOPES for one in scopes)
        and all(type(limit) is int and limit >= 0 for limit in limits)
    )
    return (
        _digested(read["key"].encode("utf-8", "surrogatepass"), frozenset(scopes))
        if fits and scopes
        else None
    )


def _digested(key: bytes, scopes: frozenset[str]) -> tuple[bytes, frozenset[str]] | None:
    if not key or len(key) > _MAX_KEY_BYTES or key.split() != [key]:
        return None
    return hashlib.sha256(key).digest(), scopes
