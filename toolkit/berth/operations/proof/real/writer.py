"""Applying and deleting the few kinds of objects that a proof makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from berth.operations.errors import ClusterReadError
from berth.operations.kube import KubeReader

if TYPE_CHECKING:
    from berth.operations.kubeconfig import Access

Json = dict[str, Any]
_MANAGER = "berth-prove"
_FIRST_FAILURE, _NOT_FOUND = 400, 404
_PATHS = {
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers",
    "Namespace": "/api/v1/namespaces",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets",
    "Secret": "/api/v1/namespaces/{namespace}/secrets",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
}
KINDS = frozenset(_PATHS)


def path_of(manifest: Json) -> str:
    """Where an object is at the API server."""
    metadata = manifest["metadata"]
    folder = _PATHS[manifest["kind"]].format(namespace=metadata.get("namespace", ""))
    return f"{folder}/{metadata['name']}"


class KubeWriter(KubeReader):
    """Reads a cluster, and writes what a proof makes. Use as an async context manager."""

    def __init__(self, access: Access) -> None:
        super().__init__(access)
        self._server = access.server

    async def apply(self, manifest: Json) -> None:
        """Apply an object server-side.

        Raises:
            ClusterReadError: the API server refused it, or did not answer.
        """
        await self._send(
            "PATCH",
            f"{path_of(manifest)}?fieldManager={_MANAGER}&force=true",
            manifest,
            "application/apply-patch+yaml",
        )

    async def patch(self, path: str, body: Json) -> None:
        """Merge into an object.

        Raises:
            ClusterReadError: the API server refused it, or did not answer.
        """
        await self._send("PATCH", path, body, "application/merge-patch+json")

    async def delete(self, path: str) -> None:
        """Delete an object; one that is not there is no error.

        Raises:
            ClusterReadError: the API server refused it, or did not answer.
        """
        await self._send("DELETE", path, None, "application/json")

    async def _send(self, method: str, path: str, body: Json | None, content: str) -> None:
        try:
            response = await self._client.request(method, path, json=body, headers={"Content-Type": content})
        except httpx.HTTPError as error:
            raise ClusterReadError(
                f"{method} {path} at {self._server}: {type(error).__name__}: {error}"
            ) from error
        if response.status_code >= _FIRST_FAILURE and not (
            method == "DELETE" and response.status_code == _NOT_FOUND
        ):
            raise ClusterReadError(f"{method} {path}: {response.status_code}: {response.text[:500]}")
