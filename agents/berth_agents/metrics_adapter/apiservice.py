"""The APIService: who owns the external metrics API of this cluster, and by which CA it is trusted."""

import base64
import logging

from berth_agents.errors import ApiRefused
from berth_agents.kube import Json, KubeClient
from berth_agents.metrics_adapter.settings import Settings

log = logging.getLogger(__name__)

NAME = "v1beta1.external.metrics.k8s.io"
FIELD_MANAGER = "berth-metrics-adapter"
_PATH = f"/apis/apiregistration.k8s.io/v1/apiservices/{NAME}"
_NOT_FOUND, _CONFLICT = 404, 409


class Registration:
    """Keeps `spec.caBundle` of our APIService right, and leaves one that is somebody else's alone."""

    def __init__(self, client: KubeClient, settings: Settings) -> None:
        self._client, self._settings = client, settings
        self._state = ""
        self.problem: str | None = None

    async def settle(self, ca_bundle: bytes) -> None:
        """Look at the APIService and correct its caBundle where it is ours.

        `problem` then says what stands in the way.

        Raises:
            KubeError: it can neither be read nor written.
        """
        try:
            found = await self._client.call("GET", _PATH)
        except ApiRefused as error:
            if error.status != _NOT_FOUND:
                raise
            self._say("missing", None, logging.WARNING, f"APIService {NAME} does not exist yet")
            return
        spec = found.get("spec") or {}
        foreign = self._foreign(spec.get("service"))
        if foreign:
            self._say("foreign", foreign, logging.ERROR, foreign)
            return
        if spec.get("insecureSkipTLSVerify"):
            why = (
                f"APIService {NAME} has insecureSkipTLSVerify: true, which Kubernetes does not allow beside "
                "a caBundle. Remove that field: the adapter sets the caBundle itself."
            )
            self._say("insecure", why, logging.ERROR, why)
            return
        wanted = base64.b64encode(ca_bundle).decode()
        if spec.get("caBundle") != wanted and not await self._apply(found, wanted):
            return  # changed in between: the next look decides
        self._say("ours", None, logging.INFO, f"APIService {NAME} trusts this adapter")

    def _foreign(self, service: Json | None) -> str | None:
        ours = f"{self._settings.namespace}/{self._settings.service}"
        theirs = (
            f"{service.get('namespace')}/{service.get('name')}"
            if service
            else "the API server itself (no service)"
        )
        if theirs == ours:
            return None
        return (
            f"APIService {NAME} belongs to {theirs}, not to {ours}: another metrics adapter (KEDA, "
            "prometheus-adapter, another stack's) serves external metrics, and a cluster has one only. "
            f"It was not touched. Remove that adapter and its APIService (kubectl delete apiservice {NAME}), "
            "or let this stack use the existing one."
        )

    async def _apply(self, found: Json, ca_bundle: str) -> bool:
        """Apply caBundle alone. uid and resourceVersion keep it to the very object that was looked at.

        Forced: the Service is ours, so any other CA could only break it.
        """
        body = {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {
                "name": NAME,
                "uid": found["metadata"]["uid"],
                "resourceVersion": found["metadata"]["resourceVersion"],
            },
            "spec": {"caBundle": ca_bundle},
        }
        try:
            await self._client.call(
                "PATCH",
                _PATH,
                params={"fieldManager": FIELD_MANAGER, "force": "true"},
                body=body,
                content_type="application/apply-patch+yaml",
            )
        except ApiRefused as error:
            if error.status in {_CONFLICT, _NOT_FOUND}:
                return False
            raise
        log.info("caBundle set", extra={"apiservice": NAME})
        return True

    def _say(self, state: str, problem: str | None, level: int, message: str) -> None:
        """Log a state when it begins, not at every look."""
        self.problem = problem
        if state != self._state:
            log.log(level, "APIService state", extra={"state": state, "detail": message})
        self._state = state
