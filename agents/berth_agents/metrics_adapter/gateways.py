"""The gateways of the cluster, as its pods say."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from berth_agents.kube import Json, KubeClient
from berth_agents.metrics_adapter.selectors import Selector, matches
from berth_agents.reflector import Reflector

LABEL = "berth.dev/queue-metrics"
ROUTER = "router"
"""The label's value of a router that holds requests for models that sleep; a gateway's is `true`."""
SELECTED = f"{LABEL} in (true,{ROUTER})"
_LOAD = "load"


@dataclass(frozen=True, slots=True)
class Gateway:
    """What is kept of a pod.

    Attributes:
        ready: condition Ready, an address, and not terminating.
        port: where it answers `/load`; None: where the reader asks, and of a router nowhere.
        leaving: it terminates or has finished, so it will not be Ready again.
    """

    uid: str
    namespace: str
    name: str
    address: str
    ready: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None
    leaving: bool = False

    @property
    def routes(self) -> bool:
        """Whether it is a router, not a gateway."""
        return self.labels.get(LABEL) == ROUTER


def gateway_of(pod: Json) -> Gateway:
    """Reduce a pod to what is needed of it."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    labels = metadata.get("labels") or {}
    gone = bool(metadata.get("deletionTimestamp"))
    address = status.get("podIP") or ""
    is_ready = any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in status.get("conditions") or []
    )
    return Gateway(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        address=address,
        ready=is_ready and bool(address) and not gone,
        labels=labels,
        # A gateway's port is the adapter's setting; a router says its own.
        port=_load_port(pod) if labels.get(LABEL) == ROUTER else None,
        leaving=gone or status.get("phase") in {"Succeeded", "Failed"},
    )


def _load_port(pod: Json) -> int | None:
    containers = (pod.get("spec") or {}).get("containers") or []
    ports = (port for container in containers for port in container.get("ports") or [])
    return next((int(port["containerPort"]) for port in ports if port.get("name") == _LOAD), None)


class Gateways:
    """All pods of all namespaces that carry the label `berth.dev/queue-metrics`: gateways and routers.

    Args:
        on_gone: told the uid of each pod that is deleted or no longer carries the label.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        client: KubeClient,
        on_gone: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reflector = Reflector(
            client, "/api/v1/pods", {"labelSelector": SELECTED}, gateway_of, on_gone, clock=clock
        )

    async def run(self) -> None:
        """Keep them current until cancelled."""
        await self._reflector.run()

    @property
    def problem(self) -> str | None:
        """Why the pods are not known, yet or any more; `None` while they are."""
        return self._reflector.problem

    def count(self) -> tuple[int, int]:
        """How many gateways there are: Ready, and not."""
        ready = [one.ready for one in self._reflector.objects.values() if not one.routes]
        return sum(ready), len(ready) - sum(ready)

    def matching(self, namespace: str, selector: Selector) -> list[Gateway]:
        """Return the gateways of a namespace whose pod's labels the selector takes, Ready or not."""
        return [
            gateway
            for gateway in self._reflector.objects.values()
            if gateway.namespace == namespace and not gateway.routes and matches(selector, gateway.labels)
        ]

    def routers(self, namespace: str) -> list[Gateway]:
        """Return the Ready routers of a namespace that hold requests for models that sleep."""
        return [
            one
            for one in self._reflector.objects.values()
            if one.namespace == namespace and one.routes and one.ready
        ]
