"""The TLS side of the listener: its certificate and whom it trusts change while it listens."""

import os
import ssl
from typing import Any

from berth_agents.metrics_adapter.certificate import Material
from berth_agents.metrics_adapter.frontproxy import Trust


class _Context(ssl.SSLContext):
    """A context that knows which front proxy it verifies."""

    trust: Trust | None = None


class ServingTls:
    """Gives the listener one context for its life; each handshake is handed to the newest one behind it.

    A context cannot forget a CA, so a changed one means a new context. `sni_callback` runs in every
    handshake, with or without a server name, and may exchange it.
    """

    def __init__(self, material: Material) -> None:
        self._material = material
        self._trust: Trust | None = None
        self._current = _build(material, None)
        self.listener = _build(material, None)
        self.listener.sni_callback = self._exchange

    def _exchange(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current

    @property
    def material(self) -> Material:
        """What is served now."""
        return self._material

    @property
    def trust(self) -> Trust | None:
        """Whom new connections are verified against; `None`: nobody yet."""
        return self._trust

    def update(self, *, material: Material | None = None, trust: Trust | None = None) -> bool:
        """Take new material or a new front proxy; say whether either differs from before."""
        material, trust = material or self._material, trust or self._trust
        if material == self._material and trust == self._trust:
            return False
        self._current = _build(material, trust)
        self._material, self._trust = material, trust
        return True

    def verified(self, connection: ssl.SSLObject) -> bool:
        """Say whether the connection's client certificate was verified against today's CA."""
        then = connection.context.trust if isinstance(connection.context, _Context) else None
        return then is not None and self._trust is not None and then.ca == self._trust.ca


def _build(material: Material, trust: Trust | None) -> _Context:
    context = _Context(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A resumed session is not verified again, so there are none.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    # Optional: probes come without a certificate, and a call without one deserves a Status that says so.
    context.verify_mode = ssl.CERT_OPTIONAL
    if trust is not None:
        context.load_verify_locations(cadata=trust.ca)
    context.trust = trust
    _load(context, material)
    return context


def _load(context: ssl.SSLContext, material: Material) -> None:
    """Load the key through a file in memory: `ssl` takes files only, and the pod's root is read-only."""
    descriptor = os.memfd_create("serving-certificate", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(material.certificate + material.key)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")


def common_name(peer: dict[str, Any] | None) -> str | None:
    """Return the common name of `getpeercert()`, or `None` where no certificate was shown or it has none."""
    for part in (peer or {}).get("subject", ()):
        for key, value in part:
            if key == "commonName":
                return str(value)
    return None
