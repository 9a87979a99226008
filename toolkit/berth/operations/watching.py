"""Where a stack's Prometheus and Alertmanager are, as its output `monitoring` says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Watcher:
    """A part of monitoring.

    Attributes:
        namespace: where it is.
        service: name of its Service.
        port: of that Service.
        url: where this machine reaches it; "" where only the cluster does.
    """

    namespace: str
    service: str
    port: int
    url: str = ""

    @property
    def proxy_path(self) -> str:
        """Its path at the API server, which passes requests on."""
        return f"/api/v1/namespaces/{self.namespace}/services/{self.service}:{self.port}/proxy"


def prometheus_of(outputs: Mapping[str, Any], site: str) -> Watcher | None:
    """Return the Prometheus of a site; None where the stack made none there."""
    return _part(outputs, site, "prometheus")


def alertmanager_of(outputs: Mapping[str, Any], site: str) -> Watcher | None:
    """Return the Alertmanager of a site; None where the stack made none there."""
    return _part(outputs, site, "alertmanager")


def _part(outputs: Mapping[str, Any], site: str, name: str) -> Watcher | None:
    monitoring = outputs.get("monitoring")
    there = monitoring.get(site) if isinstance(monitoring, Mapping) else None
    part = there.get(name) if isinstance(there, Mapping) else None
    if not isinstance(there, Mapping) or not isinstance(part, Mapping) or not part.get("service"):
        return None
    return Watcher(
        namespace=str(there.get("namespace") or ""),
        service=str(part["service"]),
        # Numbers of outputs are floats.
        port=int(part.get("port") or 0),
        url=str(part.get("url") or "").rstrip("/"),
    )
