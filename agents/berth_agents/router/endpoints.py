"""Which pods are ready, from the EndpointSlices of the namespaces that a document names."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from berth_agents.kube import Json, KubeClient
from berth_agents.reflector import Reflector
from berth_agents.router.document import Document, Host, Service

_SERVICE = "kubernetes.io/service-name"


@dataclass(frozen=True)
class Slice:
    """One EndpointSlice: ports by name, and the addresses that are ready."""

    service: str
    ports: tuple[tuple[str, int], ...]
    addresses: tuple[str, ...]


def reduce(item: Json) -> Slice | None:
    """What matters of an EndpointSlice; None where it belongs to no Service."""
    service = (item["metadata"].get("labels") or {}).get(_SERVICE)
    if not service or item.get("addressType") == "FQDN":
        return None
    ready = (
        address
        for endpoint in item.get("endpoints") or []
        # Absent counts as ready, by the API's own word.
        if (endpoint.get("conditions") or {}).get("ready") is not False
        for address in endpoint.get("addresses") or []
    )
    ports = (
        (str(port.get("name") or ""), int(port["port"]))
        for port in item.get("ports") or []
        if port.get("port") is not None
    )
    return Slice(str(service), tuple(ports), tuple(ready))


class ReadyEndpoints:
    """Follows the namespaces of a document.

    Args:
        changed: called when what is ready may have changed.
    """

    def __init__(self, client: KubeClient, changed: Callable[[], None]) -> None:
        self._client, self._changed = client, changed
        self._followed: dict[str, tuple[Reflector[Slice], asyncio.Task[None]]] = {}

    def follow(self, document: Document) -> None:
        """Follow the namespaces that it names, and no others."""
        wanted = {one.service.namespace for one in document.backends.values() if one.service is not None}
        for namespace in self._followed.keys() - wanted:
            self._followed.pop(namespace)[1].cancel()
        for namespace in wanted - self._followed.keys():
            reflector = Reflector(
                self._client,
                f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
                {},
                reduce,
                lambda _: None,
                on_change=self._changed,
            )
            self._followed[namespace] = (reflector, asyncio.create_task(reflector.run()))

    def stop(self) -> None:
        """Follow nothing."""
        for _, task in self._followed.values():
            task.cancel()
        self._followed.clear()

    @property
    def problem(self) -> str | None:
        """Why what is known is not to be trusted."""
        problems = (reflector.problem for reflector, _ in self._followed.values())
        return next((problem for problem in problems if problem), None)

    @property
    def known(self) -> bool:
        """Whether every namespace was listed; what is known stays in force when the API server is lost."""
        return all(reflector.listed for reflector, _ in self._followed.values())

    def ready(self, document: Document) -> dict[str, list[Host]]:
        """Ready endpoints by backend."""
        return {
            name: [*self._of(backend.service)]
            for name, backend in document.backends.items()
            if backend.service is not None
        }

    def _of(self, service: Service) -> Iterable[Host]:
        reflector, _ = self._followed[service.namespace]
        found = {
            (address, port)
            for part in reflector.objects.values()
            if part.service == service.name
            for name, port in part.ports
            if name == service.port
            for address in part.addresses
        }
        return (Host(address, port) for address, port in sorted(found))
