"""A mounted certificate that counts when it is renewed, without a restart."""

import asyncio
import logging
import ssl
from pathlib import Path

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0


class MountedCertificate:
    """Gives a listener one context for its life; each handshake is handed to the newest behind it.

    Args:
        folder: with tls.crt and tls.key, as Kubernetes mounts a Secret.

    Raises:
        OSError, ssl.SSLError: they cannot be read, or do not belong together.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = self._stamp()
        self._current = self._built()
        self.listener = self._built()
        self.listener.sni_callback = self._exchange

    def _exchange(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current

    def _stamp(self) -> tuple[tuple[int, int], ...]:
        found = ((self._folder / name).stat() for name in ("tls.crt", "tls.key"))
        return tuple((one.st_mtime_ns, one.st_ino) for one in found)

    def _built(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._folder / "tls.crt", self._folder / "tls.key")
        return context

    async def follow(self) -> None:
        """Take renewed files over until cancelled; where they are wrong, the ones before stay."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                stamp = self._stamp()
                if stamp != self._seen:
                    self._seen, self._current = stamp, self._built()
                    log.info("The certificate was renewed")
            except OSError as error:  # ssl.SSLError is one
                log.warning("The certificate cannot be read", extra={"error": str(error)})
