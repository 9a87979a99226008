"""The gateways of the cluster, as its pods say."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from berth_agents.kube import Json, KubeClient
from berth_agents.metrics_adapter.selectors import Selector, matches
from berth_agents.reflector import Reflector

SELECTED = "berth.dev/queue-metrics=true"


@dataclass(frozen=True, slots=True)
class Gateway:
    """What is kept of a pod.

    Attributes:
        ready: condition Ready, an address, and not terminating.
        port: where it answers `/load`; None: where the reader asks.
    """

    uid: str
    namespace: str
    name: str
    address: str
    ready: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None


def gateway_of(pod: Json) -> Gateway:
    """Reduce a pod to what is needed of it."""
    metadata, status = pod["metadata"], pod.get("status") or {}
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
        ready=is_ready and bool(address) and not metadata.get("deletionTimestamp"),
        labels=metadata.get("labels") or {},
    )


class Gateways:
    """All pods of all namespaces that carry `berth.dev/queue-metrics=true`.

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
        ready = sum(gateway.ready for gateway in self._reflector.objects.values())
        return ready, len(self._reflector.objects) - ready

    def matching(self, namespace: str, selector: Selector) -> list[Gateway]:
        """Return the gateways of a namespace whose pod's labels the selector takes, Ready or not."""
        return [
            gateway
            for gateway in self._reflector.objects.values()
            if gateway.namespace == namespace and matches(selector, gateway.labels)
        ]
