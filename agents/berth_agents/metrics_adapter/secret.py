"""Where the certificate lives: a Secret beside the adapter, which only the adapter writes.

Several replicas may start at once: whoever creates the Secret first has made the certificate, the others take
it.
"""

import base64
import binascii
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from berth_agents.errors import ApiRefused, KubeError
from berth_agents.kube import Json, KubeClient
from berth_agents.metrics_adapter import certificate
from berth_agents.metrics_adapter.certificate import Material
from berth_agents.metrics_adapter.settings import Settings

log = logging.getLogger(__name__)

_KEYS = {"ca_bundle": "ca.crt", "ca_key": "ca.key", "certificate": "tls.crt", "key": "tls.key"}
_NOT_FOUND, _CONFLICT = 404, 409
_ATTEMPTS = 5


class CertificateSecret:
    """Reads, creates, mends and renews the Secret."""

    def __init__(
        self,
        client: KubeClient,
        settings: Settings,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client, self._settings, self._clock = client, settings, clock
        self._collection = f"/api/v1/namespaces/{settings.namespace}/secrets"
        self._path = f"{self._collection}/{settings.secret}"

    async def settle(self, candidate: Material) -> Material:
        """Return the certificate that all replicas serve, made sure to be valid and not due.

        Args:
            candidate: what is written where there is no Secret: what is served already, or a new one.

        Raises:
            KubeError: the Secret can neither be read nor written.
        """
        for _ in range(_ATTEMPTS):
            found = await self._get()
            if found is None:
                wanted = candidate
            else:
                material, why = self._judge(found)
                if material is None:
                    log.error(
                        "The Secret holds no usable certificate; making a new one",
                        extra={"secret": self._settings.secret, "problem": why},
                    )
                    wanted = certificate.issue(self._settings.server_names, self._clock())
                else:
                    following = certificate.renewed(material, self._settings.server_names, self._clock())
                    if following is None:
                        return material
                    wanted = following
            if await self._write(wanted, found):
                log.info(
                    "Certificate written",
                    extra={"secret": self._settings.secret, "valid_until": certificate.expiry(wanted)},
                )
                if found is None:
                    return wanted
        raise KubeError(
            f"Secret {self._settings.namespace}/{self._settings.secret} was changed by somebody else "
            f"{_ATTEMPTS} times in a row"
        )

    async def _get(self) -> Json | None:
        try:
            return await self._client.call("GET", self._path)
        except ApiRefused as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    def _judge(self, secret: Json) -> tuple[Material | None, str | None]:
        data = secret.get("data") or {}
        try:
            material = Material(**{ours: base64.b64decode(data[key]) for ours, key in _KEYS.items()})
        except KeyError as error:
            return None, f"it has no key {error}"
        except binascii.Error as error:
            return None, str(error)
        why = certificate.problem(material, self._settings.server_names, self._clock())
        return (None, why) if why else (material, None)

    async def _write(self, material: Material, found: Json | None) -> bool:
        """Create the Secret, or replace the one that was found; `False` where somebody else was faster."""
        data = {key: base64.b64encode(getattr(material, ours)).decode() for ours, key in _KEYS.items()}
        try:
            if found is None:
                await self._client.call("POST", self._collection, body=self._new_secret(data))
            else:
                # Its resourceVersion goes along: a change in between is a conflict.
                await self._client.call("PUT", self._path, body={**found, "data": data})
        except ApiRefused as error:
            if error.status in {_CONFLICT, _NOT_FOUND}:
                return False
            raise
        return True

    def _new_secret(self, data: dict[str, str]) -> Json:
        metadata = {
            "name": self._settings.secret,
            "namespace": self._settings.namespace,
            "labels": {"app.kubernetes.io/managed-by": "berth-metrics-adapter"},
        }
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": metadata,
            "data": data,
        }
