"""The server's TLS certificate: read from two files of PEM, and again when they change."""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from typing import TYPE_CHECKING

from berth_serving.environment import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from berth_serving.settings import GatewaySettings

log = logging.getLogger("berth.tls")

_LOOK_SECONDS = 1.0


class Certificate:
    """A certificate chain and its key, as a mounted Secret of type kubernetes.io/tls has them.

    Attributes:
        context: what handshakes use; connections that are open keep what they began with.

    Raises:
        SettingsError: they are not there, no PEM, or do not belong together.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert = cert
        self._key = key
        self._seen = self._sign()
        self.context = _context()
        try:
            self.context.load_cert_chain(cert, key, password=_no_password)
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"BERTH_TLS_CERT_FILE={str(cert)!r}, BERTH_TLS_KEY_FILE={str(key)!r}: {_why(error)}"
            ) from None

    @classmethod
    def of(cls, settings: GatewaySettings) -> Certificate | None:
        """The certificate that the settings name, or None."""
        if settings.tls_cert_file is None or settings.tls_key_file is None:
            return None
        return cls(settings.tls_cert_file, settings.tls_key_file)

    def expires(self) -> float:
        """When the certificate ends, in seconds since 1970; NaN where its file cannot be read any more."""
        try:
            # The one reader of certificates in the standard library; OpenSSL's own, by a private name.
            known = ssl._ssl._test_decode_cert(str(self._cert))  # type: ignore[attr-defined]  # noqa: SLF001
        except (OSError, ValueError):
            return math.nan
        return float(ssl.cert_time_to_seconds(known["notAfter"]))

    async def watch(self) -> None:
        """Look for new files for ever."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.look_again()

    def look_again(self) -> bool:
        """Load the files if they changed and are right; else keep what there is."""
        seen = self._sign()
        if seen == self._seen or not seen:
            return False
        self._seen = seen
        try:
            # In a context of its own first: half a change must not take the one that serves down.
            _context().load_cert_chain(self._cert, self._key, password=_no_password)
            self.context.load_cert_chain(self._cert, self._key, password=_no_password)
        except (OSError, ValueError) as error:
            log.warning("new certificate not taken", extra={"file": str(self._cert), "reason": _why(error)})
            return False
        log.info("certificate reread", extra={"file": str(self._cert)})
        return True

    def _sign(self) -> tuple[tuple[int, int, int], ...]:
        try:
            states = [path.stat() for path in (self._cert, self._key)]
        except OSError:
            return ()
        return tuple((state.st_ino, state.st_mtime_ns, state.st_size) for state in states)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _no_password() -> str:
    """An encrypted key would make OpenSSL ask at the terminal."""
    raise ValueError("the key is encrypted; give one that is not")


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"no certificate with its key in PEM: {error.reason or 'not understood'}"
    return getattr(error, "strerror", None) or str(error)
