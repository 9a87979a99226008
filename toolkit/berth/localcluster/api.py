"""The few calls to a cluster's API server that starting and healing it takes.

kubectl would do, but each call of it costs half a second of a processor.
"""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .addresses import API_PORT, Plan
from .errors import ApiError
from .pki import CLUSTER, Pki

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]

_FIELD_MANAGER = "berth-localcluster"

# Where the kinds live that we apply: API prefix, plural, whether namespaced.
_KINDS: Mapping[str, tuple[str, str, bool]] = {
    "APIService": ("apis/apiregistration.k8s.io/v1", "apiservices", False),
    "ClusterRole": ("apis/rbac.authorization.k8s.io/v1", "clusterroles", False),
    "ClusterRoleBinding": ("apis/rbac.authorization.k8s.io/v1", "clusterrolebindings", False),
    "ConfigMap": ("api/v1", "configmaps", True),
    "Deployment": ("apis/apps/v1", "deployments", True),
    "Node": ("api/v1", "nodes", False),
    "RoleBinding": ("apis/rbac.authorization.k8s.io/v1", "rolebindings", True),
    "Secret": ("api/v1", "secrets", True),
    "Service": ("api/v1", "services", True),
    "ServiceAccount": ("api/v1", "serviceaccounts", True),
    "StorageClass": ("apis/storage.k8s.io/v1", "storageclasses", False),
}

_NOT_FOUND = 404


def path_of(manifest: Mapping[str, Any]) -> str:
    """The path of an object at the API server."""
    prefix, plural, namespaced = _KINDS[manifest["kind"]]
    metadata = manifest["metadata"]
    within = f"/namespaces/{metadata['namespace']}" if namespaced else ""
    return f"/{prefix}{within}/{plural}/{metadata['name']}"


@dataclass(frozen=True)
class Api:
    """Calls to one API server, as the administrator."""

    plan: Plan
    pki: Pki
    timeout: float = 10.0

    def request(
        self,
        method: Literal["GET", "POST", "PATCH", "DELETE"],
        path: str,
        body: Json | list[Json] | None = None,
        content_type: str = "application/json",
    ) -> str:
        """Return the answer's text.

        Raises:
            ApiError: no answer within ``timeout`` seconds, or one that is no success.
        """
        context = ssl.create_default_context(cafile=str(self.pki.certificate(CLUSTER)))
        context.load_cert_chain(self.pki.certificate("admin"), self.pki.key("admin"))
        connection = http.client.HTTPSConnection(
            str(self.plan.gateway), API_PORT, timeout=self.timeout, context=context
        )
        try:
            connection.request(
                method,
                path,
                body=None if body is None else json.dumps(body),
                headers={"Content-Type": content_type, "Accept": "application/json"},
            )
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"{method} {self.plan.server}{path}: no answer: {error}") from None
        finally:
            connection.close()
        if response.status >= http.client.BAD_REQUEST:
            raise ApiError(
                f"{method} {self.plan.server}{path}: {response.status}: {_said(text)}", response.status
            )
        return text

    def get(self, path: str) -> Json | None:
        """The object at ``path``, None where there is none."""
        try:
            answer: Json = json.loads(self.request("GET", path))
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise
        return answer

    def apply(self, manifest: Json) -> Json:
        """Apply an object server-side, taking over fields that somebody else had changed."""
        answer: Json = json.loads(
            self.request(
                "PATCH",
                f"{path_of(manifest)}?fieldManager={_FIELD_MANAGER}&force=true",
                manifest,
                "application/apply-patch+yaml",  # JSON is YAML
            )
        )
        return answer

    def patch(self, path: str, body: Json) -> None:
        """Merge ``body`` into the object at ``path``."""
        self.request("PATCH", path, body, "application/merge-patch+json")

    def ready(self) -> bool:
        """Whether the API server says that it is ready, etcd included."""
        try:
            self.request("GET", "/readyz")
        except ApiError:
            return False
        return True


def _said(text: str) -> str:
    """The message of a Kubernetes `Status`, or the text as it is."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()[:500]
