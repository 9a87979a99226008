"""What a cluster knows of a model: its pods, which of them are ready, and what their gateways say."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from berth_agents.hybrid.documents import Served
from berth_agents.kube import Json, KubeClient
from berth_agents.metrics_adapter.gateways import Gateway, gateway_of
from berth_agents.metrics_adapter.names import METRICS
from berth_agents.metrics_adapter.readings import GatewayReader
from berth_agents.reflector import Reflector
from berth_agents.router.endpoints import Slice, reduce

_WAITING, _RUNNING = METRICS


@dataclass(frozen=True, slots=True)
class Pod:
    """What is kept of a pod.

    Attributes:
        costs: it is on a node and has not finished; one that ends costs until it has.
        ports: its containers' ports by name.
    """

    gateway: Gateway
    costs: bool
    ports: Mapping[str, int]


def pod_of(item: Json) -> Pod:
    """Reduce a pod to what is needed of it."""
    spec, status = item.get("spec") or {}, item.get("status") or {}
    # Gateways may run as init containers that stay: native sidecars.
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    ports = {
        str(port["name"]): int(port["containerPort"])
        for container in containers
        for port in container.get("ports") or []
        if port.get("name")
    }
    finished = status.get("phase") in {"Succeeded", "Failed"}
    return Pod(gateway_of(item), bool(spec.get("nodeName")) and not finished, ports)


class Census:
    """Follows the pods and EndpointSlices of a namespace, and counts.

    Args:
        reader: asks gateways; it forgets those that are gone.
    """

    def __init__(self, client: KubeClient, namespace: str, reader: GatewayReader) -> None:
        self._reader = reader
        self.pods: Reflector[Pod] = Reflector(
            client, f"/api/v1/namespaces/{namespace}/pods", {}, pod_of, reader.forget
        )
        self.slices: Reflector[Slice] = Reflector(
            client,
            f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
            {},
            reduce,
            lambda _: None,
        )

    @property
    def problem(self) -> str | None:
        """Why what is known is not to be told; None while it is."""
        return self.pods.problem or self.slices.problem

    async def of(self, model: Served) -> dict[str, int | float]:
        """The numbers of a model, as the reporter tells them."""
        pods = [
            pod
            for pod in self.pods.objects.values()
            if all(pod.gateway.labels.get(name) == value for name, value in model.selector.items())
        ]
        readings, silent = await self._reader.read([*_gateways(pods, model.port)])
        now = time.monotonic()
        unplaced = sum(pod.gateway.ready for pod in pods) - len(readings) - len(silent)
        addresses = {
            address
            for part in self.slices.objects.values()
            if part.service == model.service
            for address in part.addresses
        }
        return {
            "waiting": sum(reading.values[_WAITING] for reading in readings),
            "running": sum(reading.values[_RUNNING] for reading in readings),
            "slots": sum(reading.slots for reading in readings),
            # Of a Service of both families each pod has an address of either.
            "ready": max(sum(":" in one for one in addresses), sum(":" not in one for one in addresses)),
            "billed": sum(pod.costs for pod in pods),
            "unread": len(silent) + unplaced,
            "ageSeconds": round(max((now - reading.asked_at for reading in readings), default=0.0), 3),
        }


def _gateways(pods: Sequence[Pod], port: str | int) -> list[Gateway]:
    """The ready ones, with where they are asked; one without such a port is left out."""
    found = []
    for pod in pods:
        number = port if isinstance(port, int) else pod.ports.get(port)
        if pod.gateway.ready and number is not None:
            found.append(replace(pod.gateway, port=number))
    return found
